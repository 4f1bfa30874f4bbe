"""The predictor border: images in, logits out, as numpy arrays, whatever computes them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from segcli.engine.evaluation.scores import Logits
from segcli.errors import UsageError
from segcli.io.card import Inference, ModelCard
from segcli.io.images import Mask, Pixels


class Predictor(Protocol):
    """Maps images (N×H×W×3 uint8 RGB) to logits (N×C×H×W float32)."""

    @property
    def card(self) -> ModelCard:
        """What the model carries."""

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, at the size of the images."""


@dataclass(frozen=True)
class Resizing:
    """A predictor that shows another one the images at the size the model wants, and resizes the logits back.

    Attributes:
        inner: a predictor that takes any size, such as a backend.
        inference: the size the model wants.
    """

    inner: Predictor
    inference: Inference

    @property
    def card(self) -> ModelCard:
        """The card of the predictor inside."""
        return self.inner.card

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, at the size of the images."""
        height, width = images.shape[1:3]
        size = self.inference.network_size(height, width)
        if size == (height, width):
            return self.inner(images)
        return resize_logits(self.inner(resize_images(images, size)), (height, width))


def resize_images(images: Pixels, size: tuple[int, int]) -> Pixels:
    """Resizes images (N×H×W×3) to a (height, width); averages areas where they shrink."""
    shrinks = size[0] < images.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, size[::-1], interpolation=interpolation) for image in images])


def resize_logits(logits: Logits, size: tuple[int, int]) -> Logits:
    """Resizes logits (N×C×H×W) bilinearly to a (height, width)."""
    resized = [
        [cv2.resize(channel, size[::-1], interpolation=cv2.INTER_LINEAR) for channel in image] for image in logits
    ]
    return np.asarray(resized, np.float32)


def predict_mask(predictor: Predictor, image: Pixels) -> Mask:
    """The class index of every pixel (H×W) of an image (H×W×3)."""
    return label_map(predictor(image[None])[0])


def label_map(logits: Logits) -> Mask:
    """The class with the largest logit (C×H×W) at every pixel: H×W uint8, int32 beyond 256 classes."""
    labels: Mask = logits.argmax(axis=0).astype(np.uint8 if len(logits) <= 256 else np.int32)
    return labels


def load_predictor(model: Path, device: str = "auto", size: int | tuple[int, int] | None = None) -> Predictor:
    """Loads a bundle or an exported file as a predictor.

    Args:
        model: a bundle folder, or an .onnx file.
        device: where a bundle computes: auto, cpu, cuda or mps.
        size: another size than the model's own, as `val.image_size`.

    Raises:
        ModelError: if it is missing or damaged.
    """
    backend = _BACKENDS.get(model.suffix.lower(), _load_torch)(model, device)
    inference = backend.card.inference if size is None else Inference.of(size)
    return Resizing(backend, inference)


def _load_onnx(model: Path, device: str) -> Predictor:
    from segcli.engine.backends.onnxruntime import OnnxBackend

    if device != "auto":
        raise UsageError(f"--device is for bundles; {model} runs on what this onnxruntime offers")
    return OnnxBackend.load(model)


def _load_torch(model: Path, device: str) -> Predictor:
    # Imported here, so that predicting with an exported file never imports torch.
    from segcli.engine.backends.pytorch import TorchBackend

    return TorchBackend.load(model, device)


_BACKENDS: dict[str, Callable[[Path, str], Predictor]] = {".onnx": _load_onnx}
