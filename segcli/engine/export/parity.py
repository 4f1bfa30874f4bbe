"""Parity: does an exported file give what the model gives that it was made from?"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.engine.arrays import operations
from segcli.engine.backends.exported import ExportedFile
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import Resizing, resize_images
from segcli.errors import ExportError
from segcli.io.card import Contract
from segcli.io.images import Pixels
from segcli.parallel import Progress, silent

LABELS = {"fp32": 0.001, "fp16": 0.005}
"""Share of labels that may differ, by the precision of the file."""

DIFFERENCE = {"fp32": 0.002, "fp16": 0.1}
"""Largest difference of logits, in parts of the largest logit. Rounding stays far below; wrong padding does not."""

RESIZED_LABELS, RESIZED_DIFFERENCE = 0.005, 0.1
"""The same where the file resizes: a pixel that is rounded the other way is 1/255 off."""

BATCH = 3


@dataclass(frozen=True)
class Agreement:
    """How far a file and its model agree on images of one size in batches of one number.

    Attributes:
        size: height and width.
        batch: images at a time.
        num_images: how many were compared.
        labels: share (0…1) of the pixels with the same label.
        difference: largest absolute difference of the logits, or of the probabilities; None where a file gives labels.
        relative: the same in parts of the model's largest.
    """

    size: tuple[int, int]
    batch: int
    num_images: int
    labels: float
    difference: float | None
    relative: float | None


@dataclass(frozen=True)
class Parity:
    """What the check of an exported file found.

    Attributes:
        path: the file.
        precision: in which it computes; the model was computed in fp32.
        tolerance: share of labels that may differ.
        agreements: one for each size and batch.
        images: where the images came from.
        milliseconds: median of an image, of the model and of the file.
        num_bytes: of the file, or of all files in the folder.
        model_bytes: of the model's weights.
        output: what the file gives.
        miou: of the model and of the file, on the same images; None where there are no masks.
        facts: what the target told.
    """

    path: Path
    precision: str
    tolerance: float
    agreements: tuple[Agreement, ...]
    images: str
    milliseconds: tuple[float, float]
    num_bytes: int
    model_bytes: int
    output: str = "logits"
    miou: tuple[float, float] | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        """The file beside the exported one that holds the findings."""
        return self.path.with_name(f"{self.path.name}.parity.json")

    def to_json(self) -> dict[str, Any]:
        """The findings as plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


@dataclass
class _Tally:
    """Adds up one agreement."""

    pixels: int = 0
    equal: int = 0
    difference: float = 0.0
    largest: float = 0.0
    images: int = 0

    def add(self, truth: NDArray[Any], found: NDArray[Any]) -> None:
        self.images += len(truth)
        self.pixels += truth.size // truth.shape[1]
        self.equal += int((truth.argmax(axis=1) == found.argmax(axis=1)).sum())
        self.difference = max(self.difference, float(np.abs(truth - found).max()))
        self.largest = max(self.largest, float(np.abs(truth).max()))


def default_tolerance(precision: str, contract: Contract) -> float:
    """The share of labels that may differ where nobody says another."""
    return max(LABELS[precision], RESIZED_LABELS if contract.resizes else 0.0)


def compare(
    reference: Predictor, file: ExportedFile, images: Sequence[Pixels], progress: Progress = silent
) -> tuple[tuple[Agreement, ...], tuple[float, float]]:
    """Compares a file with its model, at the images' size and at an odd one, one by one and in a batch.

    Args:
        reference: the model, which takes any size and does not resize.
        file: what was exported.
        images: H×W×3 each.
        progress: told of each comparison.

    Returns:
        What was found for each size and batch, and the median milliseconds that the model and the file took for an
        image.

    Raises:
        ExportError: if the file fails, or gives something of another shape.
    """
    model = Resizing(reference, file.card.inference) if file.contract.resizes else reference
    found, times = [], ([], [])  # type: ignore[var-annotated]
    for size, batches in _batches(file, images):
        tally = _Tally()
        for done, batch in enumerate(batches, 1):
            truth, seconds = _timed(model, batch)
            try:
                given, file_seconds = _timed(file, batch)
            except Exception as error:  # each runtime raises classes of its own
                reason = " ".join(str(error).split())[:150]
                raise ExportError(
                    f"the exported file fails on {len(batch)} images of {size[1]}×{size[0]}: {reason}"
                ) from error
            if truth.shape != given.shape:
                raise ExportError(
                    f"the exported file gives an array of {given.shape} where the model gives {truth.shape}"
                )
            tally.add(*_comparable(file.contract.output, truth, given))
            if len(found) == 0:
                times[0].append(seconds)
                times[1].append(file_seconds)
            progress(f"comparing {len(batch)} × {size[1]}×{size[0]}", done, len(batches))
        found.append(_agreement(file.contract.output, size, len(batches[0]), tally))
    return tuple(found), (1000 * statistics.median(times[0]), 1000 * statistics.median(times[1]))


def _batches(file: ExportedFile, images: Sequence[Pixels]) -> Iterator[tuple[tuple[int, int], list[Pixels]]]:
    """The sizes to compare at, with the batches of images in each."""
    contract, own = file.contract, images[0].shape[:2]
    if contract.size is None and not contract.resizes:
        own = file.card.inference.network_size(*own)
    first = contract.size or own
    for size in (first,) if contract.size else (first, odd_size(*first)):
        resized = [resize_images(image[None], size) if image.shape[:2] != size else image[None] for image in images]
        yield size, resized
        if contract.batch is None:
            three = [resized[number % len(resized)] for number in range(BATCH)]
            yield size, [np.concatenate(three)]


def _timed(predictor: Predictor, images: Pixels) -> tuple[NDArray[Any], float]:
    start = time.perf_counter()
    logits = predictor(images)
    return operations(logits).to_numpy(logits), time.perf_counter() - start


def _comparable(output: str, truth: NDArray[Any], given: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both in what the file gives; of labels nothing but the largest counts."""
    if output != "probabilities":
        return truth, given
    return operations(truth).softmax(truth), np.exp(given)


def _agreement(output: str, size: tuple[int, int], batch: int, tally: _Tally) -> Agreement:
    share = tally.equal / tally.pixels
    if output == "labels":
        return Agreement(size, batch, tally.images, share, None, None)
    return Agreement(size, batch, tally.images, share, tally.difference, tally.difference / max(tally.largest, 1e-12))


def refuse_disagreement(parity: Parity, resizes: bool) -> None:
    """Raises ExportError where a file does not give what its model gives."""
    allowed = RESIZED_DIFFERENCE if resizes else DIFFERENCE[parity.precision]
    for agreement in parity.agreements:
        at = f"at {agreement.size[1]}×{agreement.size[0]} in batches of {agreement.batch}"
        if not agreement.labels >= 1 - parity.tolerance:
            raise ExportError(
                f"the file gives other labels than the model on {1 - agreement.labels:.3%} of the pixels {at}, "
                f"more than the {parity.tolerance:.2%} of --tolerance; {parity.path} is not written"
            )
        if agreement.relative is not None and not agreement.relative <= allowed:
            raise ExportError(
                f"the file's logits differ from the model's by {agreement.relative:.2g} of the largest {at}, "
                f"more than {allowed:g}; {parity.path} is not written"
            )


def odd_size(height: int, width: int) -> tuple[int, int]:
    """A size near the given one that is neither square nor divisible by 2."""
    low, wide = round(height * 0.965) | 1, width | 1
    return low, wide + 2 if wide == low else wide
