"""A network as an ONNX file: `image` (uint8, batch×3×height×width) in, `logits` (float32) at the same size out."""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from segcli.engine.arrays.numpy_arrays import Values
from segcli.errors import ExportError
from segcli.io.images import Pixels
from segcli.nn.network import SegmentationNetwork
from segcli.nn.pooling import exportable

OPSET = 17
"""The first opset with LayerNormalization, which fp16 needs whole; every runtime of today reads it."""

TRACED_SHAPE = (2, 3, 96, 128)
CHECKED_SHAPES = ((1, 3, 75, 50), (3, 3, 131, 190))
"""Smaller and larger than the traced shape, and no multiples of any stride."""

FP16_MAX = float(np.finfo(np.float16).max)

TOLERANCE = 1e-3
"""Largest difference from torch, relative to the largest logit. Rounding stays below 1e-4; a frozen size does not."""


def convert(network: SegmentationNetwork) -> ModelProto:
    """Converts a network, and checks the result against it at other sizes than the traced one.

    Args:
        network: is copied, and converted in evaluation mode on the CPU in fp32.

    Returns:
        A model with input `image` and output `logits`, whose batch, height and width are free.

    Raises:
        ExportError: the network cannot be exported, or the export is wrong at another size.
    """
    network = exportable(network).float().cpu()
    try:
        model = _trace(network)
        difference = max(_difference(network, model, shape) for shape in CHECKED_SHAPES)
    except Exception as error:  # torch, onnx and the runtime each raise types of their own, over a dozen in all
        reason = str(error).strip().partition("\n")[0][:150]
        raise ExportError(f"{network.model.name} does not export to ONNX: {reason}") from error
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{network.model.name} does not export to ONNX: at sizes other than the traced one its logits differ from "
            f"torch's by {difference:.2g} of the largest. Choose another encoder."
        )
    return model


def to_fp16(model: ModelProto) -> ModelProto:
    """Halves a model's weights and computes in fp16; `image` stays uint8 and `logits` float32.

    What is computed from sizes alone (bins of pooling, positions) stays in fp32: it is tiny, and fp16
    coordinates would put the weights that resample positions 0.9 % off.

    Args:
        model: from `convert`; stays as it is.

    Raises:
        ExportError: a weight, or an activation on random images, is beyond fp16's range.
    """
    from onnxruntime.transformers import float16

    _check_range(model)
    copy = ModelProto()
    copy.CopyFrom(model)
    half: ModelProto = float16.convert_float_to_float16(copy, keep_io_types=True, node_block_list=_nodes_of_sizes(copy))
    if not all(np.isfinite(_logits(half, _noise(shape))).all() for shape in CHECKED_SHAPES):
        raise ExportError(f"The network's activations pass fp16's range of ±{FP16_MAX:.0f}. Export in fp32.")
    return half


def _trace(network: SegmentationNetwork) -> ModelProto:
    axes = {0: "batch", 2: "height", 3: "width"}
    file = io.BytesIO()
    with warnings.catch_warnings(), _muted_stdout():
        # The exporter is deprecated, yet right where the newer one is silently wrong. It also warns of every Python
        # number that it freezes; which of them matter is what the check at other sizes tells.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(TRACED_SHAPE, dtype=torch.uint8),),
            file,  # type: ignore[arg-type]  # the stub knows paths only
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": axes, "logits": axes},
        )
    model = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(model)
    return model


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


def _difference(network: SegmentationNetwork, model: ModelProto, shape: tuple[int, ...]) -> float:
    """Largest difference between the logits of torch and of ONNX, relative to the largest logit."""
    images = _noise(shape)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    return float(np.abs(_logits(model, images) - expected).max() / np.abs(expected).max())


def _noise(shape: tuple[int, ...]) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _logits(model: ModelProto, images: Pixels) -> Values:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images})
    return cast(Values, logits)


def _check_range(model: ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.abs(numpy_helper.to_array(weight)).max(initial=0) > FP16_MAX:
            raise ExportError(f"The weight {weight.name} is beyond fp16's range of ±{FP16_MAX:.0f}. Export in fp32.")


def _nodes_of_sizes(model: ModelProto) -> list[str]:
    """Names of the nodes whose values depend on the image's size, but not on its pixels."""
    pixels = {"image"}
    names = []
    for node in model.graph.node:
        if node.op_type != "Shape" and pixels.intersection(_inputs(node)):
            pixels.update(node.output)
        else:
            names.append(node.name)
    return names


def _inputs(node: NodeProto) -> Iterator[str]:
    """Inputs of a node, with those of the graphs inside it."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _inputs(inner)
