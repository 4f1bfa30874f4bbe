"""ONNX files that seg did not write."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from segcli.engine.backends.exported import Stranger
from segcli.engine.prediction.load import load_predictor
from segcli.errors import ModelError, UsageError

COLOURS = np.array([(255, 0, 0), (0, 255, 0)], np.float32) / 255
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
AB = Stranger(("red", "green"), MEAN, STD)


def stranger(path: Path, nhwc: bool = False, side: int | None = None, halves: bool = False) -> Path:
    """A network of one convolution on normalised images, whose logits are the red and the green of the raw pixels."""
    weights = np.zeros((2, 3, 1, 1), np.float32)
    weights[0, 0], weights[1, 1] = STD[0], STD[1]
    shape = ["n", side or "h", side or "w", 3] if nhwc else ["n", 3, side or "h", side or "w"]
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if nhwc else []
    strides = [2, 2] if halves else [1, 1]
    last = "u" if nhwc else "y"
    nodes += [helper.make_node("Conv", ["t" if nhwc else "x", "w", "b"], [last], strides=strides)]
    nodes += [helper.make_node("Transpose", ["u"], ["y"], perm=[0, 2, 3, 1])] if nhwc else []
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 3 + [2] if nhwc else [None, 2, None, None])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array(MEAN[:2], np.float32), "b")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("side", [None, 40])
def test_a_file_of_others_gets_what_it_wants(tmp_path: Path, nhwc: bool, side: int | None) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 37, 40, 3), dtype=np.uint8)
    predictor = load_predictor(stranger(tmp_path / "m.onnx", nhwc, side), stranger=AB)
    expected = images[..., :2].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(predictor(images), expected, atol=1e-6)
    assert predictor.card.task.classes == ("red", "green")


def test_logits_of_a_lower_resolution_are_enlarged(tmp_path: Path) -> None:
    images = np.full((1, 30, 50, 3), 51, np.uint8)
    logits = load_predictor(stranger(tmp_path / "m.onnx", halves=True), stranger=AB)(images)
    assert logits.shape == (1, 2, 30, 50)
    np.testing.assert_allclose(logits[..., :14, :24], 0.2, atol=1e-6)


def test_what_does_not_fit_a_file_is_told(tmp_path: Path) -> None:
    path = stranger(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="say how with --mean and --std"):
        load_predictor(path, stranger=Stranger(("a", "b")))
    with pytest.raises(UsageError, match="--classes names 3 classes, and .* gives 2 channels"):
        load_predictor(path, stranger=Stranger(("a", "b", "c"), MEAN, STD))
    with pytest.raises(ModelError, match="say what it is with --classes"):
        load_predictor(path)
    with pytest.raises(UsageError, match="tell what an ONNX file is"):
        load_predictor(tmp_path, stranger=AB)


def test_weights_outside_of_the_files_folder_are_refused(tmp_path: Path) -> None:
    """A file may keep its weights beside it, but not name one elsewhere on the disk."""
    inner = tmp_path / "inner"
    inner.mkdir()
    model = onnx.load(stranger(tmp_path / "m.onnx"))
    weights = model.graph.initializer[0]
    (tmp_path / "secret.bin").write_bytes(weights.raw_data)
    onnx.external_data_helper.set_external_data(weights, location="../secret.bin")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    (inner / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="cannot be opened as ONNX"):
        load_predictor(inner / "m.onnx", stranger=AB)
