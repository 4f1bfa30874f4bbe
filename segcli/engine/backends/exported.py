"""Exported files at the predictor border, whatever runtime computes them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.engine.arrays import Logits, operations
from segcli.io.card import Contract, ModelCard
from segcli.io.images import Pixels

_CERTAIN = np.float32(20)
"""The logit of a label where a file gives nothing but labels: its probability is 1 up to 1e-8 for each other class."""


_STRIDE = 32
"""Files of others get images padded to a multiple of this, where they take any size."""


@dataclass(frozen=True)
class Stranger:
    """What an ONNX file that seg did not write does not say itself.

    Attributes:
        classes: their names, in the order of its channels.
        mean: normalisation that it wants, in units of pixel / 255; None where it takes raw pixels.
        std: likewise.
    """

    classes: tuple[str, ...]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class ExportedFile:
    """Predicts with an exported file.

    Attributes:
        run: computes what the file gives of one batch, in the layout of the contract.
        card: what the file carries.
        concurrency: how many calls the runtime computes well side by side; 1 where it shares each call among all of
            its threads.
    """

    run: Callable[[Any], NDArray[Any]]
    card: ModelCard
    concurrency: int = 1

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

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits as numpy's array, of images (N×H×W×3) of a size that the file takes.

        Of a file that gives labels they are those of one that is certain of each.
        """
        height, width = images.shape[1:3]
        prepared = self._prepared(images)
        logits = self._batched(prepared)
        padded = prepared.shape[1:3]
        if logits.shape[2:] != padded:  # files of others may stop at their decoder's resolution
            logits = operations(logits).resize(np.ascontiguousarray(logits, np.float32), padded)
        return logits[..., :height, :width]

    def _batched(self, images: NDArray[Any]) -> NDArray[Any]:
        number = self.contract.batch
        if number is None or number == len(images):
            return np.asarray(self._logits(self.run(self._laid_out(images))))
        # A file of one batch size gets the images in such batches, the last one filled up with its last image.
        batches = [images[start : start + number] for start in range(0, len(images), number)]
        filled = [np.concatenate([batch, *[batch[-1:]] * (number - len(batch))]) for batch in batches]
        return np.concatenate([self._logits(self.run(self._laid_out(batch))) for batch in filled])[: len(images)]

    def _prepared(self, images: Pixels) -> NDArray[Any]:
        """The images as they are; for files of others normalised, then padded with zeros."""
        if self.contract.raw_pixels:
            return images
        mean, std = (np.array(channel, np.float32) for channel in (self.card.mean, self.card.std))
        values = (images.astype(np.float32) / 255 - mean) / std
        height, width = (0, 0) if self.contract.size else (-side % _STRIDE for side in images.shape[1:3])
        return np.pad(values, ((0, 0), (0, height), (0, width), (0, 0)))

    def _laid_out(self, images: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(images if self.contract.layout == "nhwc" else images.transpose(0, 3, 1, 2))

    def _logits(self, output: NDArray[Any]) -> Logits:
        if self.contract.output == "labels":
            return certain_logits(output, self.card.task.num_classes)
        values = output.transpose(0, 3, 1, 2) if self.contract.layout == "nhwc" else output
        if self.contract.output == "probabilities":
            return np.log(np.maximum(values, np.finfo(np.float32).tiny))
        return values


def certain_logits(labels: NDArray[Any], num_classes: int) -> Logits:
    """Logits N×C×H×W of one that is certain of each label (N×H×W)."""
    return (labels[:, None] == np.arange(num_classes).reshape(-1, 1, 1)) * _CERTAIN
