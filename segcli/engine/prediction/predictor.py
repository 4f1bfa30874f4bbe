"""The predictor border: images in, logits out, as numpy arrays, whatever computes them."""

from typing import Protocol

import numpy as np

from segcli.engine.arrays import Logits
from segcli.io.card import ModelCard
from segcli.io.images import Mask, Pixels


class Predictor(Protocol):
    """Maps images (N×H×W×3 uint8 RGB) to logits (N×C×H×W float32)."""

    @property
    def card(self) -> ModelCard:
        """What the model carries."""

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, at the size of the images."""


def predict_mask(predictor: Predictor, image: Pixels) -> Mask:
    """The class index of every pixel (H×W) of an image (H×W×3)."""
    return label_map(predictor(image[None])[0])


def label_map(logits: Logits) -> Mask:
    """The class with the largest logit (C×H×W) at every pixel: H×W uint8, int32 beyond 256 classes."""
    labels: Mask = logits.argmax(axis=0).astype(np.uint8 if len(logits) <= 256 else np.int32)
    return labels
