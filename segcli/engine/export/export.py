"""seg export: a bundle as a file of a target, checked against the bundle before it appears."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from segcli.datasets.dataset import Sample
from segcli.datasets.layouts import shapes
from segcli.datasets.open import open_for_model
from segcli.engine.arrays import Logits, operations
from segcli.engine.backends.exported import ExportedFile, certain_logits
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.export.int8 import Calibration
from segcli.engine.export.parity import Agreement, Parity, compare, default_tolerance, refuse_disagreement, refuse_loss
from segcli.engine.export.targets import Job, Target
from segcli.engine.prediction.load import of_any_size
from segcli.engine.prediction.one_size import OneSize
from segcli.engine.prediction.predictor import Predictor, Wrapper
from segcli.engine.prediction.resizing import Resizing
from segcli.errors import UsageError
from segcli.io.bundle import load_bundle
from segcli.io.card import Contract, ModelCard
from segcli.io.files import replacing, replacing_folder, write_text
from segcli.io.images import Pixels
from segcli.parallel import Progress, silent

NUM_CHECKED, NUM_JUDGED = 4, 16
"""Images that a file is compared on where nobody says how many, and those that judge the mIoU of int8."""

NUM_CALIBRATION, NUM_SEARCH = 16, 16
"""Train images that give int8 its ranges, and val images that the layers to keep in float are chosen on."""


@dataclass(frozen=True)
class Wanted:
    """What the file is to be, and how it is checked.

    Attributes:
        precision: what it computes in.
        layout: `nchw` or `nhwc`; None is the target's own.
        output: `logits`, `probabilities` or `labels`.
        size: the only height and width that it takes; None takes any.
        resizes: the resize that the model wants goes inside.
        verify: on how many val images it is checked; None is 4, of int8 the mIoU on 16.
        tolerance: share (0…1) of labels that may differ; None is that of the precision.
        data: a dataset whose images serve for the check; None takes the model's own.
        offline: fetch nothing, so that the environment of TensorFlow is made of what uv has kept.
        max_drop: points (0…100) of mIoU that int8 may lose.
    """

    precision: str = "fp32"
    layout: str | None = None
    output: str = "logits"
    size: tuple[int, int] | None = None
    resizes: bool = False
    verify: int | None = None
    tolerance: float | None = None
    data: Path | None = None
    offline: bool = False
    max_drop: float = 1.0


def export_model(
    target: Target, bundle: Path, path: Path, wanted: Wanted | None = None, progress: Progress = silent
) -> Parity:
    """Writes a bundle as a file, checks it, and writes what was found beside it as FILE.parity.json.

    Args:
        target: the kind of file.
        bundle: the model's folder.
        path: the file or folder.
        wanted: what it is to be.
        progress: told of each step.

    Raises:
        UsageError: if the model is an exported file already, what is wanted does not go together, or what the target
            needs is not installed.
        ExportError: if it cannot be converted, or the file disagrees with the model; nothing is written then, and what
            was there before stays.
    """
    wanted = wanted or Wanted()
    if not (bundle / "model.safetensors").is_file():
        raise UsageError(f"{bundle} is an exported file; give the bundle or the run that it was made from")
    _refuse_name(target, path)
    target.format.require()
    network, card = load_bundle(bundle)
    samples, origin, own = _samples(card, wanted)
    contract = _contract(target, card, wanted, samples)
    calibration = _calibration(card, wanted) if wanted.precision == "int8" else None
    card = replace(card, precision=wanted.precision, contract=contract)
    with _staged(target, path) as staged:
        progress("converting", 0, 1)
        facts = target.write(Job(network, card, contract, staged, progress, wanted.offline, calibration))
        progress("converting", 1, 1)
        reference = TorchBackend(network, card, torch.device("cpu"), "fp32")
        found, milliseconds, miou = _check(reference, target.load(staged), samples, own, progress)
        tolerance = default_tolerance(wanted.precision, contract) if wanted.tolerance is None else wanted.tolerance
        parity = Parity(
            path, wanted.precision, tolerance, found, origin, milliseconds, _size(staged),
            _size(bundle / "model.safetensors"), contract.output, miou, {**facts},
            None if calibration is None else calibration.max_drop,
        )  # fmt: skip
        refuse_disagreement(parity, contract.resizes)
        refuse_loss(parity)
    write_text(parity.report, json.dumps(parity.to_json(), indent=2))
    return parity


def _refuse_name(target: Target, path: Path) -> None:
    if target.format.marker is None and path.suffix.lower() != target.format.suffix:
        raise UsageError(f"-o {path}: the file's name must end in {target.format.suffix}")
    if target.format.marker is not None and (path.is_file() or (path.is_dir() and any(path.iterdir()))):
        if path.is_dir() and (path / target.format.marker).is_file():
            return
        raise UsageError(f"-o {path}: is there and no {target.name} folder; give another name")


def _staged(target: Target, path: Path) -> AbstractContextManager[Path]:
    return replacing(path) if target.format.marker is None else replacing_folder(path)


def _contract(target: Target, card: ModelCard, wanted: Wanted, samples: Sequence[Sample]) -> Contract:
    if wanted.precision not in target.precisions:
        raise UsageError(f"{target.name} is exported in {' or '.join(target.precisions)}, not in {wanted.precision}")
    if wanted.resizes and card.inference.size is None:
        raise UsageError("--resize inside: the model wants no resize; leave it out")
    if wanted.size is None and not target.any_size:
        height, width = card.inference.network_size(*samples[0].image().shape[:2])
        raise UsageError(f"{target.name} takes images of one size; give it, such as --size {height}x{width}")
    return Contract(wanted.layout or target.layout, wanted.output, wanted.size, target.batch, wanted.resizes)


def _check(
    reference: Predictor, file: ExportedFile, samples: Sequence[Sample], own: bool, progress: Progress
) -> tuple[tuple[Agreement, ...], tuple[float, float], tuple[float, float] | None]:
    """Agreements, milliseconds, and the mIoU of model and file where the masks are of the model's classes.

    The model sees the images as the file does, and gives as much: what a file loses by its only size, or by giving
    labels where their logits would be enlarged, is not the export's fault.
    """
    compared = samples[:NUM_CHECKED] if file.precision == "int8" else samples
    agreements, milliseconds = compare(reference, file, [sample.image() for sample in compared], progress)
    if not own:
        return agreements, milliseconds, None
    model = _seeing_as(file, reference)
    before, after = (evaluate(predictor, samples).scores.miou for predictor in (model, of_any_size(file)))
    return agreements, milliseconds, (before, after)


def _seeing_as(file: ExportedFile, reference: Predictor) -> Predictor:
    """The model as a predictor of images of any size: it gets them in the file's size, and gives as much."""
    contract, inference = file.contract, file.card.inference
    if contract.output == "labels" and not contract.resizes:
        reference = _Labelling(reference)
    if contract.size is None:
        return Resizing(reference, inference)
    if contract.resizes:
        return OneSize(Resizing(reference, inference), contract.size)
    return Resizing(OneSize(reference, contract.size), inference)


@dataclass(frozen=True)
class _Labelling(Wrapper):
    """A predictor of which nothing but the labels is taken, as of a file that gives labels."""

    def __call__(self, images: Pixels) -> Logits:
        logits = self.inner(images)
        ops = operations(logits)
        return certain_logits(ops.to_numpy(ops.labels(logits)), self.card.task.num_classes)


def _samples(card: ModelCard, wanted: Wanted) -> tuple[Sequence[Sample], str, bool]:
    """A few samples to compare on, where they come from, and whether their masks are of the model's classes."""
    try:
        dataset = open_for_model(card, wanted.data)
        split = next(split for split in ("val", "test", "train") if dataset.splits.get(split))
        samples = _chosen(dataset.splits[split], wanted)
        return samples, f"{len(samples)} images of {dataset.name}, {split} split", True
    except UsageError:
        if wanted.data is not None:
            raise
        # The model has travelled without its data: any picture shows whether the file computes the same.
        samples = shapes.dataset().splits["val"][: wanted.verify or NUM_CHECKED]
        return samples, "the embedded shapes, as the model's own data is not here", False


def _chosen(samples: Sequence[Sample], wanted: Wanted) -> Sequence[Sample]:
    """The images of the check: the first; of int8 those between the ones that its layers are chosen on."""
    if wanted.precision != "int8":
        return samples[: wanted.verify or NUM_CHECKED]
    number = wanted.verify or NUM_JUDGED
    return spread(samples[1::2] if len(samples) >= 2 * number else samples, number)


def _calibration(card: ModelCard, wanted: Wanted) -> Calibration:
    """The images that int8 needs: of the train split for the ranges, of the val split to choose layers on."""
    try:
        dataset = open_for_model(card, wanted.data)
    except UsageError as error:
        raise UsageError(f"--int8 is measured on real images: {error}") from None
    missing = [split for split in ("train", "val") if not dataset.splits.get(split)]
    if missing:
        raise UsageError(
            f"--int8 needs a train and a val split, and {dataset.name} has no {missing[0]}; give a dataset with -d"
        )
    val = dataset.splits["val"]
    held_out = spread(val[::2] if len(val) >= 2 * NUM_SEARCH else val, NUM_SEARCH)
    return Calibration(spread(dataset.splits["train"], NUM_CALIBRATION), held_out, wanted.max_drop)


def spread(samples: Sequence[Sample], number: int) -> list[Sample]:
    """At most so many samples, evenly over all: neighbours in a split are often frames of one video."""
    places = np.linspace(0, len(samples) - 1, min(number, len(samples))).round().astype(int)
    return [samples[place] for place in places]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def default_path(target: Target, folder: Path, precision: str) -> Path:
    """Where a file goes that nobody named."""
    return folder / f"model{'' if precision == 'fp32' else f'-{precision}'}{target.format.suffix}"
