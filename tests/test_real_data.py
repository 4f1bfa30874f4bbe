"""On real images: CamVid from the native folder to an exported file, with a network of a few steps."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from typer.testing import Result

from segcli.io.images import read_mask


def test_camvid_from_end_to_end(seg: Callable[..., Result], real_data: Path, tmp_path: Path) -> None:
    assert seg("dataset", "prepare", "camvid", "--from", real_data / "camvid").exit_code == 0
    native = sorted((real_data / "camvid" / "valannot").iterdir())[:5]
    for path in native:
        expected = read_mask(path)
        assert np.array_equal(read_mask(tmp_path / "data" / "camvid" / "masks" / "val" / path.name), np.where(expected == 11, 255, expected))
    config = Path(__file__).parents[1] / "configs" / "camvid.yml"
    small = ["train.max_steps=12", "train.image_size=96", "train.workers=0", "val.image_size=120", "precision=fp32", "optimizer.lr=5e-3"]
    result = seg("train", "-c", config, *[part for text in small for part in ("--set", text)])
    assert result.exit_code == 0, result.stderr
    trained = json.loads(seg("eval", "--json").stdout)
    assert trained["miou"] > 0.05
    result = seg("export", "onnx")
    assert result.exit_code == 0, result.stderr
    exported = json.loads(seg("eval", "-m", "runs/camvid/export/model.onnx", "--json").stdout)
    assert abs(exported["miou"] - trained["miou"]) < 1e-3


def test_voc_from_its_native_folder(seg: Callable[..., Result], real_data: Path, tmp_path: Path) -> None:
    result = seg("dataset", "prepare", "voc", "--from", real_data / "native" / "voc")
    assert result.exit_code == 0, result.stderr
    source = real_data / "native" / "voc" / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    for path in (tmp_path / "data" / "voc" / "masks").rglob("*.png"):
        assert np.array_equal(read_mask(path), read_mask(source / path.name))
