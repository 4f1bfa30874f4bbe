"""int8: a network in eight bits, but for the layers whose rounding costs more mIoU than is allowed."""

import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from segcli.datasets.dataset import Sample
from segcli.engine.backends.exported import ExportedFile
from segcli.engine.backends.onnxruntime import open_session
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.export.conversion import nodes_of_sizes
from segcli.engine.prediction.load import of_any_size
from segcli.engine.prediction.resizing import resize_images
from segcli.errors import ExportError
from segcli.io.card import ModelCard
from segcli.io.images import Pixels
from segcli.parallel import Progress, silent

MARGIN = 0.75
"""The part of the allowed loss that the search spends: a few images measure it roughly, and others judge the file."""

_MOST_GROUPS = 32

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_QUANTISED = (
    *_WEIGHTED, "Add", "Mul", "Concat", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Clip",
)  # fmt: skip
"""Operators that compute in int8. The rest (softmax, cuts, padding, the normalisation) loses much and wins nothing."""


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


def quantise(
    model: ModelProto, card: ModelCard, calibration: Calibration, progress: Progress = silent
) -> tuple[ModelProto, Quantised]:
    """Quantises a model: weights per channel to int8, activations to uint8, as pairs of QuantizeLinear and its inverse.

    All layers are quantised first. Where that loses too much mIoU they are ranked by what each module alone does to
    the output, and the fewest of the worst are kept in float that hold the loss.

    Activations are unsigned, since ONNX Runtime's kernels for x86 are 1.5 times faster so, and no less exact.

    Args:
        model: from `convert`, in fp32; stays as it is.
        card: with the contract of the file.
        calibration: real images, and what may be lost.
        progress: told of each step.

    Raises:
        ExportError: if nothing can be quantised without losing more.
    """
    with tempfile.TemporaryDirectory() as folder:
        search = _Search(model, card, calibration, Path(folder), progress)
        return search.run()


class _Search:
    """Quantises one model in several ways, with the ranges of its activations measured once."""

    def __init__(
        self, model: ModelProto, card: ModelCard, calibration: Calibration, folder: Path, progress: Progress
    ) -> None:
        self.card, self.calibration, self.folder, self.progress = card, calibration, folder, progress
        self.prepared, self.ranges = folder / "prepared.onnx", folder / "ranges.json"
        quant_pre_process(model, str(self.prepared), skip_symbolic_shape=True)
        self.nodes = _quantisable(onnx.load(self.prepared))
        self.groups = group_nodes(self.nodes)
        if not self.groups:
            raise ExportError(f"{card.architecture} has no layer that int8 is for; export it in fp16")

    def run(self) -> tuple[ModelProto, Quantised]:
        allowed = MARGIN * self.calibration.max_drop / 100
        miou_float = self._miou(self.prepared)
        names = list(self.groups)
        everything = self._miou(self._without(()))
        miou, errors, num_kept = everything, dict.fromkeys(names), 0
        if miou_float - everything > allowed:
            errors = self._errors()
            names.sort(key=lambda name: errors[name] or 0.0, reverse=True)
            measured: dict[int, float] = {}

            def holds(number: int) -> bool:
                measured[number] = self._miou(self._without(names[:number]))
                return miou_float - measured[number] <= allowed

            num_kept = bisect_left(range(len(names)), x=True, lo=1, key=holds)
            if num_kept == len(names):
                raise ExportError(
                    f"int8 loses more than {self.calibration.max_drop:g} points of mIoU wherever it computes (in all "
                    f"layers {100 * (miou_float - everything):.1f}); allow more with --max-drop, or export with --fp16"
                )
            miou = measured[num_kept]
        layers = tuple(Layers(name, errors[name], place < num_kept) for place, name in enumerate(names))
        found = Quantised(
            len(self.calibration.train), len(self.calibration.held_out),
            self.calibration.max_drop, miou_float, everything, miou, layers,
        )  # fmt: skip
        return onnx.load(self._without(names[:num_kept])), found

    def _without(self, kept: Sequence[str]) -> Path:
        """The file in which all but some groups are quantised."""
        float_nodes = {node for name in kept for node in self.groups[name]}
        return self._quantised([node.name for node in self.nodes if node.name not in float_nodes])

    def _quantised(self, names: Sequence[str]) -> Path:
        file = self.folder / "quantised.onnx"
        quantize_static(
            self.prepared, file, _Reader(self._calibration_images()), quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=list(_QUANTISED), nodes_to_quantize=list(names), activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax, calibration_cache_path=self.ranges,
        )  # fmt: skip
        return file

    def _calibration_images(self) -> Iterator[NDArray[Any]]:
        samples = self.calibration.train
        for number, sample in enumerate(samples, 1):
            yield self._as_input(sample.image())
            self.progress("calibrating", number, len(samples))

    def _as_input(self, image: Pixels) -> NDArray[Any]:
        """An image as the file takes it: 1×3×H×W or 1×H×W×3."""
        contract = self.card.contract
        assert contract is not None
        size = contract.size
        if size is None and not contract.resizes:
            size = self.card.inference.network_size(*image.shape[:2])
        images = image[None] if size in (None, image.shape[:2]) else resize_images(image[None], size)
        return np.ascontiguousarray(images if contract.layout == "nhwc" else images.transpose(0, 3, 1, 2))

    def _miou(self, file: Path) -> float:
        session = open_session(file)
        exported = ExportedFile(lambda batch: session.run(None, {"image": batch})[0], self.card)
        return evaluate(of_any_size(exported), self.calibration.held_out, progress=self.progress).scores.miou

    def _errors(self) -> dict[str, float | None]:
        """What each group does to the output where it alone is quantised."""
        samples = self.calibration.held_out
        inputs = [self._as_input(sample.image()) for sample in (samples[0], samples[-1])]
        expected = _outputs(self.prepared, inputs)
        errors: dict[str, float | None] = {}
        for number, (name, nodes) in enumerate(self.groups.items(), 1):
            errors[name] = _difference(_outputs(self._quantised(nodes), inputs), expected)
            self.progress("ranking layers", number, len(self.groups))
        return errors


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the runtime ships no types
    """Images as ONNX Runtime asks for them."""

    def __init__(self, images: Iterator[NDArray[Any]]) -> None:
        self.images = images

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image}


def group_nodes(nodes: Sequence[NodeProto]) -> dict[str, tuple[str, ...]]:
    """Names of the nodes with weights, each with those that follow it, by module.

    TorchScript's exporter names a node after its module, `/network/model/decoder/blocks.0/conv1/conv1.0/Conv`; the
    deepest level that makes at most 32 groups is taken. The other one does not, and neighbours make a group.
    """
    weighted = [node.name for node in nodes if node.op_type in _WEIGHTED]
    deepest = max((name.count("/") for name in weighted), default=0)
    for depth in range(deepest, 2, -1):
        modules = {name: _module(name, depth) for name in weighted}
        if 1 < len(set(modules.values())) <= _MOST_GROUPS:
            return _gathered(nodes, modules)
    length = -(-len(weighted) // _MOST_GROUPS)
    parts = [weighted[start : start + length] for start in range(0, len(weighted), max(length, 1))]
    return _gathered(nodes, {name: f"{part[0]} … {part[-1]}" for part in parts for name in part})


def _gathered(nodes: Sequence[NodeProto], groups: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """All nodes by the groups of those with weights: the others go with the last one before them."""
    members: dict[str, list[str]] = {}
    current = next(iter(groups.values()), "")
    for node in nodes:
        current = groups.get(node.name, current)
        members.setdefault(current, []).append(node.name)
    return {name: tuple(names) for name, names in members.items()}


def _module(name: str, depth: int) -> str:
    """The module of a node's name, cut at a depth, without what all have in common."""
    return "/".join(name.split("/")[1:-1][:depth]).removeprefix("network/model/")


def _quantisable(model: ModelProto) -> list[NodeProto]:
    of_sizes = set(nodes_of_sizes(model))
    return [node for node in model.graph.node if node.op_type in _QUANTISED and node.name not in of_sizes]


def _outputs(file: Path, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    session = open_session(file)
    return [session.run(None, {"image": image})[0] for image in inputs]


def _difference(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    if expected[0].dtype.kind in "iu":
        return float(np.mean([np.mean(one != other) for one, other in zip(found, expected, strict=True)]))
    wrong = sum(float(np.square(one - other).sum()) for one, other in zip(found, expected, strict=True))
    return float(np.sqrt(wrong / sum(float(np.square(other).sum()) for other in expected)))
