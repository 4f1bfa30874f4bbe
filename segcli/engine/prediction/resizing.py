"""The resize before the network and behind it, for models that want images of another size."""

from dataclasses import dataclass

import cv2
import numpy as np

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.predictor import Wrapper
from segcli.io.card import Inference
from segcli.io.images import Pixels


@dataclass(frozen=True)
class Resizing(Wrapper):
    """A predictor that shows another one the images at the size the model wants, and resizes the logits back.

    Attributes:
        inference: the size the model wants.
    """

    inference: Inference

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
