"""Makes in a millisecond what `seg export onnx` writes: a file of one layer that tells the three colours apart."""

from pathlib import Path

import numpy as np
import onnx
from conftest import COLOURS
from onnx import TensorProto, helper, numpy_helper

from segcli.io.card import CARD, ModelCard
from segcli.task import Task


def write_exported(path: Path, batch: str | int = "batch") -> Path:
    """Writes a file whose logits are highest for the class whose colour is nearest, as the masks of `draw_pair` are."""
    colours = COLOURS.astype(np.float32)
    # −|pixel − colour|² without the pixel's own square, which all classes share
    weights = numpy_helper.from_array((2 * colours)[:, :, None, None], "weights")
    bias = numpy_helper.from_array(-(colours**2).sum(axis=1), "bias")
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "weights", "bias"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 3, "height", "width"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3, "height", "width"])
    graph = helper.make_graph(nodes, "nearest colour", [image], [logits], [weights, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    task, half = Task.of(["ground", "red", "blue"]), (0.5, 0.5, 0.5)
    trained_on = {"name": "shapes", "dataset": {"embedded": "shapes"}, "fingerprint": ""}
    card = ModelCard(task, "Unet", "resnet18", None, half, half, data=trained_on)
    helper.set_model_props(model, {CARD: card.to_json()})
    onnx.save(model, path)
    return path
