"""Images of any size for a file that takes only one."""

from dataclasses import dataclass

import numpy as np

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.predictor import Wrapper
from segcli.engine.prediction.resizing import resize_images
from segcli.io.card import Inference
from segcli.io.images import Pixels


@dataclass(frozen=True)
class OneSize(Wrapper):
    """A predictor that shows another one images of its only size.

    A smaller image is padded with the colour that normalisation makes zero; a larger one is made to fit inside first,
    its aspect kept, and its logits resized back.

    Attributes:
        size: height and width.
    """

    size: tuple[int, int]

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, at the size of the images."""
        height, width = images.shape[1:3]
        fits = height <= self.size[0] and width <= self.size[1]
        size = (height, width) if fits else Inference.of(self.size).network_size(height, width)
        shown = images if fits else resize_images(images, size)
        logits = self.inner(self._padded(shown))[..., : size[0], : size[1]]
        return logits if fits else operations(logits).resize(logits, (height, width))

    def _padded(self, images: Pixels) -> Pixels:
        number, height, width = images.shape[:3]
        if (height, width) == self.size:
            return images
        padded = np.empty((number, *self.size, 3), np.uint8)
        padded[:] = np.round(255 * np.array(self.card.mean)).astype(np.uint8)
        padded[:, :height, :width] = images
        return padded
