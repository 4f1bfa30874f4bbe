"""int8: a network in eight bits, but for the layers whose rounding costs more mIoU than is allowed."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segcli.datasets.dataset import Sample
from segcli.engine.backends.exported import ExportedFile
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.prediction.load import of_any_size
from segcli.engine.prediction.resizing import resize_images
from segcli.errors import ExportError
from segcli.io.card import ModelCard
from segcli.io.images import Pixels
from segcli.parallel import Progress, silent

MARGIN = 0.75
"""The part of the allowed loss that the search spends: a few images measure it roughly, and others judge the file."""

_MOST_GROUPS = 32


@dataclass(frozen=True)
class Calibration:
    """What a quantisation is measured on.

    Attributes:
        train: real images that the network was trained on, which give the range of each activation.
        held_out: others with masks, on which the loss of mIoU is measured.
        max_drop: how many points (0…100) of mIoU may be lost.
    """

    train: Sequence[Sample]
    held_out: Sequence[Sample]
    max_drop: float = 1.0


@dataclass(frozen=True)
class Layers:
    """Layers of one module of the network.

    Attributes:
        name: the module's, or those of the first and the last node where an exporter names no modules.
        error: of the output, where these layers alone are quantised: root of the mean square in parts of the output's
            (of labels the share that differs); None where it was not measured, since all layers could be quantised.
        kept: they compute in float.
    """

    name: str
    error: float | None
    kept: bool


@dataclass(frozen=True)
class Quantised:
    """What a quantisation came to.

    Attributes:
        num_calibration: train images that gave the ranges.
        num_search: other images that mIoU was measured on.
        max_drop: points of mIoU that might be lost.
        miou_float: of the file before.
        miou_all: with every layer in int8.
        miou: as it is.
        layers: worst first where they were ranked, else in the network's order.
    """

    num_calibration: int
    num_search: int
    max_drop: float
    miou_float: float
    miou_all: float
    miou: float
    layers: tuple[Layers, ...]

    @property
    def computed(self) -> list[str]:
        """The names of the layers in int8."""
        return [layer.name for layer in self.layers if not layer.kept]


class Quantiser(Protocol):
    """A file whose layers can be quantised, in one format; the ranges of its activations are measured once."""

    @property
    def groups(self) -> Sequence[str]:
        """The names of its groups of layers, in the network's order."""

    def open(self, names: Sequence[str]) -> ExportedFile:
        """The file in which these groups are quantised; it serves until the next is opened."""


def choose_layers(
    quantiser: Quantiser, card: ModelCard, calibration: Calibration, progress: Progress = silent
) -> Quantised:
    """Finds the layers that can be quantised.

    All are quantised first. Where that loses too much mIoU they are ranked by what each group alone does to the output,
    and the fewest of the worst are kept in float that hold the loss.

    Args:
        quantiser: of the file.
        card: with the contract of the file.
        calibration: real images, and what may be lost.
        progress: told of each step.

    Raises:
        ExportError: if nothing can be quantised without losing more.
    """
    names = list(quantiser.groups)
    if not names:
        raise ExportError(f"{card.architecture} has no layer that int8 is for; export it in fp16")

    def miou_of(quantised: Sequence[str]) -> float:
        predictor = of_any_size(quantiser.open(quantised))
        return evaluate(predictor, calibration.held_out, progress=progress).scores.miou

    allowed = MARGIN * calibration.max_drop / 100
    miou_float, everything = miou_of(()), miou_of(names)
    miou, errors, num_kept = everything, dict[str, float | None].fromkeys(names), 0
    if miou_float - everything > allowed:
        samples = calibration.held_out
        errors |= _errors(quantiser, [as_input(sample.image(), card) for sample in (samples[0], samples[-1])], progress)
        names.sort(key=lambda name: errors[name] or 0.0, reverse=True)
        measured: dict[int, float] = {}

        def holds(number: int) -> bool:
            measured[number] = miou_of(names[number:])
            return miou_float - measured[number] <= allowed

        num_kept = bisect_left(range(len(names)), x=True, lo=1, key=holds)
        if num_kept == len(names):
            raise ExportError(
                f"int8 loses more than {calibration.max_drop:g} points of mIoU wherever it computes (in all layers "
                f"{100 * (miou_float - everything):.1f}); allow more with --max-drop, or export with --fp16"
            )
        miou = measured[num_kept]
    layers = tuple(Layers(name, errors[name], place < num_kept) for place, name in enumerate(names))
    return Quantised(
        len(calibration.train), len(calibration.held_out), calibration.max_drop, miou_float, everything, miou, layers
    )


def _errors(quantiser: Quantiser, inputs: Sequence[NDArray[Any]], progress: Progress) -> dict[str, float]:
    """What each group does to the output where it alone is quantised."""

    def outputs(names: Sequence[str]) -> list[NDArray[Any]]:
        run = quantiser.open(names).run
        return [run(image) for image in inputs]

    expected, errors = outputs(()), {}
    for number, name in enumerate(quantiser.groups, 1):
        errors[name] = _difference(outputs([name]), expected)
        progress("ranking layers", number, len(quantiser.groups))
    return errors


def _difference(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    if expected[0].dtype.kind in "iu":
        return float(np.mean([np.mean(one != other) for one, other in zip(found, expected, strict=True)]))
    wrong = sum(float(np.square(one - other).sum()) for one, other in zip(found, expected, strict=True))
    return float(np.sqrt(wrong / sum(float(np.square(other).sum()) for other in expected)))


def inputs_of(samples: Sequence[Sample], card: ModelCard, progress: Progress = silent) -> Iterator[NDArray[Any]]:
    """The images of samples as a file takes them, one at a time; tells that it calibrates."""
    for number, sample in enumerate(samples, 1):
        yield as_input(sample.image(), card)
        progress("calibrating", number, len(samples))


def as_input(image: Pixels, card: ModelCard) -> NDArray[Any]:
    """An image as a file takes it: 1×3×H×W or 1×H×W×3."""
    contract = card.contract
    assert contract is not None
    size = contract.size
    if size is None and not contract.resizes:
        size = card.inference.network_size(*image.shape[:2])
    images = image[None] if size in (None, image.shape[:2]) else resize_images(image[None], size)
    return np.ascontiguousarray(images if contract.layout == "nhwc" else images.transpose(0, 3, 1, 2))


def group_nodes(nodes: Sequence[str], weighted: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Names of the nodes with weights, each with those that follow it, by module.

    TorchScript's exporter names a node after its module, `/network/model/decoder/blocks.0/conv1/conv1.0/Conv`; the
    deepest level that makes at most 32 groups is taken. Others do not, and neighbours make a group.

    Args:
        nodes: names, in the network's order.
        weighted: those of them that have weights.
    """
    deepest = max((name.count("/") for name in weighted), default=0)
    for depth in range(deepest, 2, -1):
        modules = {name: _module(name, depth) for name in weighted}
        if 1 < len(set(modules.values())) <= _MOST_GROUPS:
            return _gathered(nodes, modules)
    length = -(-len(weighted) // _MOST_GROUPS)
    parts = [weighted[start : start + length] for start in range(0, len(weighted), max(length, 1))]
    named = [(part[0] if len(part) == 1 else f"{part[0]} … {part[-1]}", part) for part in parts]
    return _gathered(nodes, {name: title for title, part in named for name in part})


def _gathered(nodes: Sequence[str], groups: Mapping[str, str]) -> dict[str, list[str]]:
    """All nodes by the groups of those with weights: the others go with the last one before them."""
    members: dict[str, list[str]] = {}
    current = next(iter(groups.values()), "")
    for name in nodes:
        current = groups.get(name, current)
        members.setdefault(current, []).append(name)
    return members


def _module(name: str, depth: int) -> str:
    """The module of a node's name, cut at a depth, without what all have in common."""
    return "/".join(name.split("/")[1:-1][:depth]).removeprefix("network/model/")
