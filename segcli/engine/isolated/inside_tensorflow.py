"""Inside the isolated environment: a .pt2 file becomes a SavedModel, and a SavedModel is run by its signature."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from inside_messages import Buffers, Message, Tell, answer

SIGNATURE = "serving_default"


def convert(question: Message, buffers: Buffers, tell: Tell) -> tuple[Message, Sequence[Any]]:
    """Converts `program` (.pt2: `image` of a free batch, one output) to `folder`, whose output is called `output`."""
    import torch
    import torchax.export
    from jax.experimental import jax2tf

    tell("reading the network")
    program = torch.export.load(question["program"])
    (image,) = (node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    sides = tuple(int(side) for side in image.shape[1:])
    tell("converting by torchax")
    weights, compute = torchax.export.exported_program_to_jax(program)

    tell("tracing for TensorFlow")
    module = tf.Module()
    module.weights = [tf.Variable(np.asarray(weight), trainable=False) for weight in weights]
    shape = f"(batch, {', '.join(map(str, sides))})"
    traced = jax2tf.convert(
        lambda weights, image: compute(weights, (image,)), with_gradient=False, polymorphic_shapes=[None, shape]
    )
    serve = tf.function(
        lambda image: {question["output"]: traced(module.weights, image)[0]},
        autograph=False,
        input_signature=[tf.TensorSpec((None, *sides), tf.uint8, name="image")],
    )
    tell("writing the SavedModel")
    tf.saved_model.save(module, question["folder"], signatures={SIGNATURE: serve})
    _write_warmup(Path(question["folder"]), sides)
    return {}, ()


def _write_warmup(folder: Path, sides: tuple[int, ...]) -> None:
    """A request of one grey image, which TensorFlow Serving computes before it says that it is ready."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = SIGNATURE
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(np.full((1, *sides), 128, np.uint8)))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    extra = folder / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


class Runner:
    """Runs one SavedModel after another, each until the next is opened."""

    def open(self, question: Message, buffers: Buffers, tell: Tell) -> tuple[Message, Sequence[Any]]:
        """Opens `folder` on a number of `threads`."""
        tf.config.threading.set_intra_op_parallelism_threads(question["threads"])
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.model = tf.saved_model.load(question["folder"])
        self.signature = self.model.signatures[SIGNATURE]
        return {}, ()

    def run(self, question: Message, buffers: Buffers, tell: Tell) -> tuple[Message, Sequence[Any]]:
        """Computes the output of a batch of images of a `shape`."""
        images = np.frombuffer(buffers[0], np.uint8).reshape(question["shape"])
        (output,) = (value.numpy() for value in self.signature(image=tf.constant(images)).values())
        return {"shape": output.shape, "dtype": output.dtype.str}, [output]


if __name__ == "__main__":
    runner = Runner()
    answer({"convert": convert, "open": runner.open, "run": runner.run})
