"""TFLite and SavedModel for real: only where SEGCLI_TEST_ISOLATED names a folder that keeps the environment (8 GB)."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from segcli.engine.export.export import Wanted, export_model
from segcli.engine.export.savedmodel import docker_command
from segcli.engine.export.targets import find_target
from segcli.engine.prediction.load import load_predictor
from segcli.errors import ModelError


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.environ.get("SEGCLI_TEST_ISOLATED")
    if not folder:
        pytest.skip("SEGCLI_TEST_ISOLATED names no folder for the isolated environment")
    monkeypatch.setenv("SEGCLI_CACHE", folder)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tflite", Wanted(size=(40, 56))),
        ("tflite", Wanted("fp16", layout="nchw", size=(41, 57))),
        ("savedmodel", Wanted(size=(41, 57))),
        ("savedmodel", Wanted(layout="nchw", output="labels", size=(40, 56))),
    ],
)
def test_a_target_keeps_the_labels_and_is_taken_as_a_model(
    name: str, wanted: Wanted, bundle: Path, tmp_path: Path, seg: Callable[..., Result]
) -> None:
    target = find_target(name)
    path = tmp_path / f"m{target.format.suffix}"
    parity = export_model(target, bundle, path, wanted)
    assert min(agreement.labels for agreement in parity.agreements) >= 0.999
    predictor = load_predictor(path)
    assert predictor(np.zeros((2, 30, 70, 3), np.uint8)).shape == (2, 3, 30, 70)
    assert seg("eval", "-m", path).exit_code == 0
    files = [path] if path.is_file() else [path / "1" / "saved_model.pb"]
    for file in files:
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"^.*m(\.tflite carries no segcli.json|_savedmodel cannot be opened)"):
        load_predictor(path)


def test_a_savedmodel_has_what_tensorflow_serving_wants(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "a model"
    export_model(find_target("savedmodel"), bundle, path, Wanted(size=(40, 56)))
    extra = path / "1" / "assets.extra"
    assert sorted(file.name for file in extra.iterdir()) == ["segcli.json", "tf_serving_warmup_requests"]
    command = shlex.split(docker_command(path))
    assert f"type=bind,source={path},target=/models/a model" in command
    assert "MODEL_NAME=a model" in command


def test_int8_keeps_in_float_what_it_harms(bundle_with_an_outlier: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    parity = export_model(find_target("tflite"), bundle_with_an_outlier, path, Wanted("int8", size=(48, 67)))
    found = parity.facts["int8"]
    assert found.miou_float - found.miou_all > 0.05
    assert found.miou_float - found.miou <= 0.01
    assert 1 <= sum(layer.kept for layer in found.layers) < len(found.layers) / 2
    assert parity.num_bytes < 0.5 * parity.model_bytes
    assert load_predictor(path).precision == "int8"
