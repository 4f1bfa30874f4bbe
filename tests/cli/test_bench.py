import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_pairs
from exported import write_exported
from PIL import Image
from typer.testing import Result

from segcli.engine.export.bench import Timing

Seg = Callable[..., Result]


def test_models_are_measured_side_by_side(seg: Seg, tmp_path: Path) -> None:
    """Each in a process of its own; the file of one layer gets every pixel of the data right."""
    for name in ("a.onnx", "b.onnx"):
        write_exported(tmp_path / name)
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    write_pairs(tmp_path / "data", 2)
    models = [part for name in ("a.onnx", "damaged.onnx", "b.onnx") for part in ("-m", name)]
    result = seg("bench", *models, "-d", "data", "--repeats", "3", "--threads", "1", "--batch", "1,2", "-o", "out")
    assert result.exit_code == 1
    assert "damaged.onnx cannot be opened as ONNX" in result.stderr
    found = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert found["machine"]["cores"] >= 1 and found["machine"]["versions"]["onnxruntime"]
    assert [model["model"] for model in found["models"]] == ["a.onnx", "b.onnx"]
    for model in found["models"]:
        assert model["miou"] == 1.0
        assert model["image_size"] == [40, 56]
        assert model["bytes"] == (tmp_path / model["model"]).stat().st_size
        assert 1e7 < model["peak_memory_bytes"] < 4e8  # ONNX Runtime and numpy, but no torch
        assert [len(timing["seconds"]) for timing in model["timings"]] == [3, 3]
        for timing in model["timings"]:
            assert timing["p50_seconds"] == sorted(timing["seconds"])[1]
            assert timing["images_per_second"] == pytest.approx(timing["batch"] * 3 / sum(timing["seconds"]))
    assert "out/bench.png" in result.stdout
    with Image.open(tmp_path / "out" / "bench.png") as picture:
        assert picture.size > (600, 400)
    for word in ("p95", "spread", "images/s", "peak memory", "load", "mIoU"):
        assert word in result.stdout


def test_figures_of_a_timing_are_those_worked_by_hand() -> None:
    timing = Timing(batch=2, seconds=(1.0, 2.0, 3.0, 4.0, 5.0))
    assert (timing.latency(50), timing.latency(95)) == (3.0, pytest.approx(4.8))
    assert timing.spread == pytest.approx((4 - 2) / 3)
    assert timing.images_per_second == pytest.approx(10 / 15)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threads", "0"], "--threads 0: expected numbers from 1"),
        (["--batch", "1,x"], "--batch 1,x: expected numbers from 1"),
        (["--image-size", "512"], "--image-size 512: expected HEIGHTxWIDTH"),
        (["--threads", "100000"], "threads are more than the"),
    ],
)
def test_wrong_numbers_are_refused(seg: Seg, tmp_path: Path, arguments: list[str], said: str) -> None:
    write_exported(tmp_path / "m.onnx")
    result = seg("bench", "-m", "m.onnx", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
