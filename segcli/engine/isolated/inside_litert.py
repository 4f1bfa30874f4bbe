"""Inside the isolated environment: a .pt2 file becomes a .tflite file, and a .tflite file is run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from inside_messages import Buffers, Message, Tell, answer


def convert(question: Message, buffers: Buffers, tell: Tell) -> tuple[Message, Sequence[Any]]:
    """Converts `program` (.pt2, one input `image` of a fixed shape) to `file`, whose output is called `output`."""
    import litert_torch
    import torch

    tell("reading the network")
    program = torch.export.load(question["program"])
    (image,) = (node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)

    class Network(torch.nn.Module):
        """Names the input, as the converter takes names from keywords alone."""

        def __init__(self) -> None:
            super().__init__()
            self.program = program.module()

        def forward(self, image: torch.Tensor) -> Any:
            return {question["output"]: self.program(image)}

    tell("converting by LiteRT")
    model = litert_torch.convert(Network(), sample_kwargs={"image": torch.zeros(image.shape, dtype=image.dtype)})
    model.export(question["file"])
    if question["fp16"]:
        tell("storing the weights in fp16")
        _halve(Path(question["file"]))
    return {}, ()


def _halve(file: Path) -> None:
    """Stores the weights in fp16; what computes in fp32 widens them when it loads the file."""
    from ai_edge_quantizer import qtyping, quantizer

    half = quantizer.Quantizer(str(file))
    half.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
        ),
        algorithm_key="float_casting",
    )
    half.quantize().export_model(str(file), overwrite=True)


class Runner:
    """Runs one file after another, each until the next is opened."""

    def open(self, question: Message, buffers: Buffers, tell: Tell) -> tuple[Message, Sequence[Any]]:
        """Opens `file` on a number of `threads`."""
        self.interpreter = Interpreter(question["file"], num_threads=question["threads"])
        self.interpreter.allocate_tensors()
        (self.input,) = self.interpreter.get_input_details()
        (self.output,) = self.interpreter.get_output_details()
        return {}, ()

    def run(self, question: Message, buffers: Buffers, tell: Tell) -> tuple[Message, Sequence[Any]]:
        """Computes the output of one image of a `shape`."""
        image = np.frombuffer(buffers[0], np.uint8).reshape(question["shape"])
        self.interpreter.set_tensor(self.input["index"], image)
        self.interpreter.invoke()
        output = np.ascontiguousarray(self.interpreter.get_tensor(self.output["index"]))
        return {"shape": output.shape, "dtype": output.dtype.str}, [output]


if __name__ == "__main__":
    runner = Runner()
    answer({"convert": convert, "open": runner.open, "run": runner.run})
