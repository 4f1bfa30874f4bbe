"""The resize before the network and behind it, for models that want images of another size."""

from dataclasses import dataclass

import cv2
import numpy as np

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.predictor import Predictor
from segcli.io.card import Inference, ModelCard
from segcli.io.images import Pixels


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

    @property
    def precision(self) -> str:
        """The number format of the predictor inside."""
        return self.inner.precision

    @property
    def batch_size(self) -> int:
        """How many images the predictor inside computes well at a time."""
        return self.inner.batch_size

    @property
    def concurrency(self) -> int:
        """How many calls the predictor inside computes well side by side."""
        return self.inner.concurrency

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, at the size of the images."""
        height, width = images.shape[1:3]
        size = self.inference.network_size(height, width)
        if size == (height, width):
            return self.inner(images)
        logits = self.inner(resize_images(images, size))
        return operations(logits).resize(logits, (height, width))


def resize_images(images: Pixels, size: tuple[int, int]) -> Pixels:
    """Resizes images (N×H×W×3) to a (height, width); averages areas where they shrink."""
    shrinks = size[0] < images.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, size[::-1], interpolation=interpolation) for image in images])
