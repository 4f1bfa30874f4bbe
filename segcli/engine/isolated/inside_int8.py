"""Inside the isolated environment: the layers of a .tflite file are quantised, these or those, and each file is run."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import BuiltinOperator
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.utils import tfl_flatbuffer_utils
from inside_litert import Runner
from inside_messages import Buffers, Message, Tell, answer

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
QUANTISED = (
    *WEIGHTED, "ADD", "MUL", "CONCATENATION", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "MAX_POOL_2D",
    "AVERAGE_POOL_2D", "MEAN",
)  # fmt: skip
"""Operators that compute in int8, by the names of the format. The rest loses much and wins nothing."""

_NAMED_APART = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
_OPERATORS = {number: name for name, number in vars(BuiltinOperator).items() if name in QUANTISED}


class Quantiser:
    """Quantises one file in several ways, with the ranges of its activations measured once."""

    def calibrate(self, question: Message, buffers: Buffers, tell: Tell) -> tuple[Message, Sequence[Any]]:
        """Measures the ranges of `file` on images of a `shape`; gives the names of its `layers`."""
        self.file = question["file"]
        self.layers = _layers(self.file)
        images = [{"image": np.frombuffer(buffer, np.uint8).reshape(question["shape"])} for buffer in buffers]
        measured = self._quantizer(list(self.layers))
        self.ranges = measured.calibrate({"serving_default": images}, num_threads=question["threads"])
        weighted = [name for name, (operator, _) in self.layers.items() if operator in WEIGHTED]
        return {"layers": list(self.layers), "weighted": weighted}, ()

    def quantise(self, question: Message, buffers: Buffers, tell: Tell) -> tuple[Message, Sequence[Any]]:
        """Writes the file with these `layers` in int8 as the file `to`."""
        result = self._quantizer(question["layers"]).quantize(self.ranges, enable_progress_report=False)
        Path(question["to"]).write_bytes(result.quantized_model)
        return {}, ()

    def _quantizer(self, layers: Sequence[str]) -> quantizer.Quantizer:
        """Weights to int8 with a scale a channel, activations to int8."""
        made = quantizer.Quantizer(self.file)
        for name in layers:
            operator, scope = self.layers[name]
            known = TFLOperationName(_NAMED_APART.get(operator, operator))
            made.add_static_config(f"^{re.escape(scope)}$", known, activation_num_bits=8, weight_num_bits=8)
        return made


def _layers(file: str) -> dict[str, tuple[str, str]]:
    """Of each operator that can be quantised, from the first with weights on, what it is and writes, by name."""
    model = tfl_flatbuffer_utils.read_model(tfl_flatbuffer_utils.get_model_content(file))
    graph = model.subgraphs[0]
    layers: dict[str, tuple[str, str]] = {}
    for number, node in enumerate(graph.operators):
        operator = _OPERATORS.get(model.operatorCodes[node.opcodeIndex].builtinCode)
        if operator is not None and (layers or operator in WEIGHTED):
            layers[f"{operator} {number}"] = (operator, tfl_flatbuffer_utils.get_op_scope(node, graph.tensors))
    return layers


if __name__ == "__main__":
    quantiser, runner = Quantiser(), Runner()
    answer({"calibrate": quantiser.calibrate, "quantise": quantiser.quantise, "open": runner.open, "run": runner.run})
