"""Images of any size for a file that takes only one."""

from dataclasses import dataclass

import numpy as np

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import resize_images
from segcli.io.card import Inference, ModelCard
from segcli.io.images import Pixels


@dataclass(frozen=True)
class OneSize:
    """A predictor that shows another one images of its only size.

    A smaller image is padded with the colour that normalisation makes zero; a larger one is made to fit inside first,
    its aspect kept, and its logits resized back.

    Attributes:
        inner: takes images of the size.
        size: height and width.
    """

    inner: Predictor
    size: tuple[int, int]

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
