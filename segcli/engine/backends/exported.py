"""Exported files at the predictor border, whatever runtime computes them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.engine.arrays import Logits
from segcli.io.card import Contract, ModelCard
from segcli.io.images import Pixels

_CERTAIN = np.float32(20)
"""The logit of a label where a file gives nothing but labels: its probability is 1 up to 1e-8 for each other class."""


@dataclass(frozen=True)
class ExportedFile:
    """Predicts with an exported file.

    Attributes:
        run: computes what the file gives of one batch, in the layout of the contract.
        card: what the file carries.
    """

    run: Callable[[Any], NDArray[Any]]
    card: ModelCard

    @property
    def contract(self) -> Contract:
        """How the file is called."""
        return self.card.contract or Contract()

    @property
    def precision(self) -> str:
        """The number format that the file was exported in."""
        return self.card.precision

    @property
    def batch_size(self) -> int:
        """How many images it computes well at a time."""
        return 1

    @property
    def concurrency(self) -> int:
        """One: the runtime shares each call among its own threads."""
        return 1

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits as numpy's array, of images (N×H×W×3) of a size that the file takes.

        Of a file that gives labels they are those of one that is certain of each.
        """
        number = self.contract.batch
        if number is None or number == len(images):
            return self._logits(self.run(self._laid_out(images)))
        # A file of one batch size gets the images in such batches, the last one filled up with its last image.
        batches = [images[start : start + number] for start in range(0, len(images), number)]
        filled = [np.concatenate([batch, *[batch[-1:]] * (number - len(batch))]) for batch in batches]
        return np.concatenate([self._logits(self.run(self._laid_out(batch))) for batch in filled])[: len(images)]

    def _laid_out(self, images: Pixels) -> NDArray[Any]:
        values: NDArray[Any] = images
        if not self.contract.raw_pixels:
            mean, std = (np.array(channel, np.float32) for channel in (self.card.mean, self.card.std))
            values = (images.astype(np.float32) / 255 - mean) / std
        return np.ascontiguousarray(values if self.contract.layout == "nhwc" else values.transpose(0, 3, 1, 2))

    def _logits(self, output: NDArray[Any]) -> Logits:
        if self.contract.output == "labels":
            classes = np.arange(self.card.task.num_classes).reshape(-1, 1, 1)
            return (output[:, None] == classes) * _CERTAIN
        values = output.transpose(0, 3, 1, 2) if self.contract.layout == "nhwc" else output
        if self.contract.output == "probabilities":
            return np.log(np.maximum(values, np.finfo(np.float32).tiny))
        return values
