"""The predictor border: images in, logits out, in the arrays of whatever computes them."""

from typing import Protocol

from segcli.engine.arrays import Logits, operations
from segcli.io.card import ModelCard
from segcli.io.images import Mask, Pixels


class Predictor(Protocol):
    """Maps images (N×H×W×3 uint8 RGB, numpy's) to logits (N×C×H×W float32) that stay where they were computed."""

    @property
    def card(self) -> ModelCard:
        """What the model carries."""

    @property
    def precision(self) -> str:
        """The number format that it computes in: fp32, bf16 or fp16."""

    @property
    def batch_size(self) -> int:
        """How many images it computes well at a time."""

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, at the size of the images."""


def predict_mask(predictor: Predictor, image: Pixels) -> Mask:
    """The class index of every pixel (H×W uint8, uint16 beyond 256 classes) of an image (H×W×3)."""
    logits = predictor(image[None])
    ops = operations(logits)
    return ops.to_numpy(ops.labels(logits)[0])
