import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import write_pairs
from onnx import ModelProto, TensorProto, numpy_helper
from typer.testing import CliRunner

from segcli.cli.app import app
from segcli.engine.export.export import Wanted, export_model
from segcli.engine.export.int8 import group_nodes
from segcli.engine.export.parity import Parity, refuse_loss
from segcli.engine.export.targets import find_target
from segcli.engine.prediction.load import load_predictor
from segcli.errors import ExportError, UsageError
from segcli.io.bundle import load_bundle, save_bundle

ONNX = find_target("onnx")


def channels_of_int8_weights(model: ModelProto) -> list[tuple[int, int]]:
    """Of each convolution's weight that is stored in int8 the output channels, and how many scales it has."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [node.input for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in stored]
    weights = [(stored[name], numpy_helper.to_array(stored[scale])) for name, scale, *_ in inputs]
    return [(w.dims[0], scale.size) for w, scale in weights if w.data_type == TensorProto.INT8 and len(w.dims) == 4]


def test_int8_is_a_third_of_the_size_and_a_model_like_any_other(bundle: Path, tmp_path: Path) -> None:
    parity = export_model(ONNX, bundle, tmp_path / "m.onnx", Wanted("int8"))
    found = parity.facts["int8"]
    assert not any(layer.kept for layer in found.layers)
    assert parity.miou is not None
    assert parity.miou[0] - parity.miou[1] <= 0.01
    assert min(agreement.labels for agreement in parity.agreements) > 0.95
    assert parity.num_bytes < 0.35 * parity.model_bytes
    weights = channels_of_int8_weights(onnx.load(tmp_path / "m.onnx"))
    assert len(weights) > 10
    assert all(channels == scales for channels, scales in weights)
    told = json.loads((tmp_path / "m.onnx.parity.json").read_text())
    assert told["max_drop"] == 1.0
    assert set(told["facts"]["int8"]["layers"][0]) == {"name", "error", "kept"}
    predictor = load_predictor(tmp_path / "m.onnx")
    assert predictor.precision == predictor.card.precision == "int8"
    assert predictor(np.zeros((2, 33, 70, 3), np.uint8)).shape == (2, 3, 33, 70)


def test_the_layers_that_int8_harms_stay_in_float(bundle_with_an_outlier: Path, tmp_path: Path) -> None:
    parity = export_model(ONNX, bundle_with_an_outlier, tmp_path / "m.onnx", Wanted("int8"))
    found = parity.facts["int8"]
    assert found.miou_float - found.miou_all > 0.05
    assert found.miou_float - found.miou <= 0.01
    kept = [layer.name for layer in found.layers if layer.kept]
    assert 1 <= len(kept) < len(found.layers) / 2
    assert all("decoder/blocks.2" in name for name in kept[:1])
    errors = [layer.error for layer in found.layers]
    assert errors == sorted(errors, reverse=True)
    assert parity.miou is not None
    assert parity.miou[0] - parity.miou[1] <= 0.01


def test_a_file_of_another_contract_is_quantised_too(bundle: Path, tmp_path: Path) -> None:
    """It is judged beside the model's labels, enlarged as its own are, and beside the model at its only size."""
    parity = export_model(ONNX, bundle, tmp_path / "m.onnx", Wanted("int8", "nhwc", "labels", size=(32, 40)))
    assert parity.miou is not None
    assert abs(parity.miou[0] - parity.miou[1]) <= 0.01
    assert parity.miou[0] < 0.9  # its logits at its own size have 0.95
    assert channels_of_int8_weights(onnx.load(tmp_path / "m.onnx"))


@pytest.mark.parametrize(("after", "refused"), [(0.691, False), (0.689, True), (float("nan"), True)])
def test_a_file_is_judged_by_the_miou_that_it_loses(after: float, refused: bool) -> None:
    parity = Parity(Path("m.onnx"), "int8", 1.0, (), "16 images", (2, 1), 1, 4, miou=(0.7, after), max_drop=1.0)
    told = pytest.raises(ExportError, match=r"more than the 1 points of --max-drop; m.onnx is not written")
    with told if refused else nullcontext():
        refuse_loss(parity)


def test_int8_wants_real_data_with_both_splits(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--int8 needs a train and a val split, and .* has no train"):
        export_model(ONNX, bundle, tmp_path / "m.onnx", Wanted("int8", data=write_pairs(tmp_path / "pairs")))
    network, card = load_bundle(bundle)
    save_bundle(tmp_path / "best", network, replace(card, data={}))
    with pytest.raises(UsageError, match="--int8 is measured on real images: .*give a dataset with -d"):
        export_model(ONNX, tmp_path / "best", tmp_path / "m.onnx", Wanted("int8"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("onnx", "--int8", "--fp16"), "a file computes in one of them"),
        (("onnx", "--max-drop", "2"), "--max-drop is for --int8"),
        (("onnx", "--int8", "--max-drop", "101"), "--max-drop"),
        (("openvino", "--int8"), "openvino is exported in fp32, not in int8"),
    ],
)
def test_what_does_not_go_with_int8_is_refused(bundle: Path, arguments: tuple[str, ...], told: str) -> None:
    if arguments[0] == "openvino":
        pytest.importorskip("openvino", reason="the extra openvino is not installed")
    result = CliRunner().invoke(app, ["export", *arguments, "-m", str(bundle)])
    assert result.exit_code == 2
    assert told in result.output


def test_layers_without_names_of_modules_are_grouped_with_their_neighbours() -> None:
    weighted = [f"node_conv_{number}" for number in range(40)]
    groups = group_nodes([weighted[0], "node_relu", *weighted[1:]], weighted)
    assert len(groups) == 20
    assert groups["node_conv_0 … node_conv_1"] == ["node_conv_0", "node_relu", "node_conv_1"]
    assert sum(len(members) for members in groups.values()) == 41
