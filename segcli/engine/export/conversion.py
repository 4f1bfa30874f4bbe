"""A network as an ONNX file: `image` (uint8) in, `logits`, `probabilities` or `labels` of the same size out."""

import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from segcli.engine.arrays.numpy_arrays import Values
from segcli.engine.export.program import cure, example, first_line, free_axes, to_program
from segcli.errors import ExportError
from segcli.io.card import Contract
from segcli.io.images import Pixels
from segcli.nn.deployed import Deployed

OPSET = 17
"""The first opset with LayerNormalization, which fp16 needs whole; every runtime of today reads it."""

DYNAMO_OPSET = 18
"""The first opset that the exporter built on torch.export writes."""

TORCHSCRIPT, DYNAMO = "TorchScript", "dynamo"
ROUTES = (TORCHSCRIPT, DYNAMO)
"""torch's exporters, the quick one first; it is deprecated, and the other takes over where it fails or is gone."""

CHECKED_SIZES = ((1, 75, 50), (3, 131, 190))
"""Batches, heights and widths: smaller and larger than the traced ones, and no multiples of any stride."""

MOST_BYTES = 2**31 - 2**20
"""Of weights in one ONNX file: what protobuf holds, less a megabyte for the graph."""

FP16_MAX = float(np.finfo(np.float16).max)

TOLERANCE = 1e-3
"""Largest difference from torch, relative to the largest logit. Rounding stays below 1e-4; a frozen size does not."""


def convert(
    network: Deployed, contract: Contract | None = None, routes: Sequence[str] = ROUTES
) -> tuple[ModelProto, str]:
    """Converts a network, and checks the result against it at other sizes than the traced one.

    Args:
        network: what the file is to compute.
        contract: which of its sides are free; None leaves batch, height and width free.
        routes: exporters of torch; the first that is right at every size wins.

    Returns:
        A model with input `image` and an output named after what it gives, and the route.

    Raises:
        ExportError: the network cannot be exported or is too large, or the export is wrong at another size.
    """
    _refuse_size(network)
    contract, reasons = contract or Contract(), []
    for route in routes:
        try:
            model = _trace(network, contract) if route == TORCHSCRIPT else _capture(network, contract)
            difference = max(_difference(network, model, shape) for shape in _checked_shapes(contract))
        except Exception as error:  # torch, onnx and the runtime each raise types of their own, over a dozen in all
            reasons.append(f"{route}: {first_line(error)}")
            continue
        if difference <= TOLERANCE:
            return model, route
        reasons.append(
            f"{route}: at sizes other than the traced one it differs from torch by {difference:.2g} of the largest"
        )
    name = network.network.model.name
    raise ExportError(f"{name} does not export to ONNX ({'; '.join(reasons)}); {cure(network.network, contract)}")


def to_fp16(model: ModelProto, contract: Contract | None = None) -> ModelProto:
    """Halves a model's weights and computes in fp16; `image` stays uint8 and the output what it is.

    What is computed from sizes alone (bins of pooling, positions) stays in fp32: it is tiny, and fp16
    coordinates would put the weights that resample positions 0.9 % off.

    Args:
        model: from `convert`; stays as it is.
        contract: that it was converted with.

    Raises:
        ExportError: a weight, or an activation on random images, is beyond fp16's range.
    """
    from onnxruntime.transformers import float16

    _check_range(model)
    contract = contract or Contract()
    copy = ModelProto()
    copy.CopyFrom(model)
    half: ModelProto = float16.convert_float_to_float16(copy, keep_io_types=True, node_block_list=nodes_of_sizes(copy))
    images = [_noise(shape, contract.layout == "nhwc") for shape in _checked_shapes(contract)]
    if not all(np.isfinite(_computed(half, batch)).all() for batch in images):
        raise ExportError(f"The network's activations pass fp16's range of ±{FP16_MAX:.0f}. Export in fp32.")
    return half


def nodes_of_sizes(model: ModelProto) -> list[str]:
    """Names of the nodes whose values depend on the image's size, but not on its pixels."""
    pixels = {"image"}
    names = []
    for node in model.graph.node:
        if node.op_type != "Shape" and pixels.intersection(_inputs(node)):
            pixels.update(node.output)
        else:
            names.append(node.name)
    return names


def _refuse_size(network: Deployed) -> None:
    num_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    if num_bytes > MOST_BYTES:
        raise ExportError(
            f"the weights of {network.network.model.name} take {num_bytes / 1e9:.1f} GB, and an ONNX file holds "
            f"{MOST_BYTES / 1e9:.1f} GB; export to torch instead"
        )


def _trace(network: Deployed, contract: Contract) -> ModelProto:
    """Converts by the TorchScript exporter."""
    axes = free_axes(contract)
    file = io.BytesIO()
    with warnings.catch_warnings(), _muted_stdout():
        # The exporter is deprecated, yet quick. It also warns of every Python number that it freezes; which of them
        # matter is what the check at other sizes tells.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example(contract),),
            file,  # type: ignore[arg-type]  # the stub knows paths only
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=[network.output],
            dynamic_axes={"image": axes, network.output: _output_axes(network, axes)},
        )
    model = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(model)
    return model


def _capture(network: Deployed, contract: Contract) -> ModelProto:
    """Converts by torch.export and the exporter that is built on it."""
    with warnings.catch_warnings(), _muted_stdout():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            to_program(network, contract),
            dynamo=True,
            opset_version=DYNAMO_OPSET,
            input_names=["image"],
            output_names=[network.output],
            verbose=False,
        )
    model = cast(ModelProto, program.model_proto)  # type: ignore[union-attr]
    _name_axes(model.graph.input[0], free_axes(contract))
    _name_axes(model.graph.output[0], _output_axes(network, free_axes(contract)))
    del model.graph.value_info[:]  # their sizes are written in the names that the axes had
    onnx.checker.check_model(model)
    return model


def _output_axes(network: Deployed, axes: dict[int, str]) -> dict[int, str]:
    """The free axes of the output: those of the image, one place to the left where no channels stand before them."""
    if network.output == "labels" and not network.channels_last:
        return {axis - (axis > 0): name for axis, name in axes.items()}
    return axes


def _name_axes(value: ValueInfoProto, axes: dict[int, str]) -> None:
    for axis, name in axes.items():
        value.type.tensor_type.shape.dim[axis].dim_param = name


@contextmanager
def _muted_stdout() -> Iterator[None]:
    """Mutes stdout at its descriptor: torch's C++ prints the whole graph there where an export fails."""
    sys.stdout.flush()
    saved = os.dup(1)
    with Path(os.devnull).open("w") as devnull:
        os.dup2(devnull.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _checked_shapes(contract: Contract) -> list[tuple[int, ...]]:
    """Batches, heights and widths to compare at."""
    return [
        (contract.batch or batch, *(contract.size or (height, width)))
        for batch, height, width in (CHECKED_SIZES[:1] if contract.size else CHECKED_SIZES)
    ]


def _difference(network: Deployed, model: ModelProto, shape: tuple[int, ...]) -> float:
    """Largest difference between what torch and ONNX give, relative to the largest value; of labels the share."""
    images = _noise(shape, network.channels_last)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    found = _computed(model, images)
    if network.output == "labels":
        return float((found != expected).mean())
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _noise(shape: tuple[int, ...], channels_last: bool) -> Pixels:
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return images if channels_last else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _computed(model: ModelProto, images: Pixels) -> Values:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return cast(Values, session.run(None, {"image": images})[0])


def _check_range(model: ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.abs(numpy_helper.to_array(weight)).max(initial=0) > FP16_MAX:
            raise ExportError(f"The weight {weight.name} is beyond fp16's range of ±{FP16_MAX:.0f}. Export in fp32.")


def _inputs(node: NodeProto) -> Iterator[str]:
    """Inputs of a node, with those of the graphs inside it."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _inputs(inner)
