"""int8 in ONNX: weights per channel to int8, activations to uint8, as pairs of QuantizeLinear and its inverse."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from segcli.engine.backends.exported import ExportedFile
from segcli.engine.backends.onnxruntime import open_session
from segcli.engine.export.conversion import nodes_of_sizes
from segcli.engine.export.int8 import Calibration, Quantised, choose_layers, group_nodes, inputs_of
from segcli.io.card import ModelCard
from segcli.parallel import Progress, silent

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_QUANTISED = (
    *_WEIGHTED, "Add", "Mul", "Concat", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Clip",
)  # fmt: skip
"""Operators that compute in int8. The rest (softmax, cuts, padding, the normalisation) loses much and wins nothing."""


def quantise(
    model: ModelProto, card: ModelCard, calibration: Calibration, progress: Progress = silent
) -> tuple[ModelProto, Quantised]:
    """Quantises a model, but for the layers that lose too much.

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
        quantiser = _OnnxQuantiser(model, card, calibration, Path(folder), progress)
        found = choose_layers(quantiser, card, calibration, progress)
        return onnx.load(quantiser.file(found.computed)), found


class _OnnxQuantiser:
    """Quantises one model in several ways, with the ranges of its activations measured once."""

    def __init__(
        self, model: ModelProto, card: ModelCard, calibration: Calibration, folder: Path, progress: Progress
    ) -> None:
        self.card, self.calibration, self.folder, self.progress = card, calibration, folder, progress
        self.prepared, self.ranges = folder / "prepared.onnx", folder / "ranges.json"
        quant_pre_process(model, str(self.prepared), skip_symbolic_shape=True)
        self.nodes = _quantisable(onnx.load(self.prepared))

    @property
    def groups(self) -> Sequence[str]:
        return list(self.nodes)

    def open(self, names: Sequence[str]) -> ExportedFile:
        session = open_session(self.file(names))
        return ExportedFile(lambda batch: session.run(None, {"image": batch})[0], self.card)

    def file(self, names: Sequence[str]) -> Path:
        """The file in which these groups are quantised."""
        if not names:
            return self.prepared
        file = self.folder / "quantised.onnx"
        reader = _Reader(inputs_of(self.calibration.train, self.card, self.progress))
        nodes = [node for name in names for node in self.nodes[name]]
        quantize_static(
            self.prepared, file, reader, quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=list(_QUANTISED), nodes_to_quantize=nodes, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax, calibration_cache_path=self.ranges,
        )  # fmt: skip
        return file


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the runtime ships no types
    """Images as ONNX Runtime asks for them."""

    def __init__(self, images: Iterator[NDArray[Any]]) -> None:
        self.images = images

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image}


def _quantisable(model: ModelProto) -> Mapping[str, Sequence[str]]:
    """The nodes that int8 is for, in groups."""
    of_sizes = set(nodes_of_sizes(model))
    nodes = [node for node in model.graph.node if node.op_type in _QUANTISED and node.name not in of_sizes]
    return group_nodes([node.name for node in nodes], [node.name for node in nodes if node.op_type in _WEIGHTED])
