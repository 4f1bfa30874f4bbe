"""On real images: CamVid from the native folder to an exported file, with a network of a few steps."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from segcli.datasets.prepared.format import open_prepared
from segcli.io.images import read_mask


def test_camvid_from_end_to_end(seg: Callable[..., Result], real_data: Path, tmp_path: Path) -> None:
    native = tmp_path / "native"
    for split in ("train", "val"):  # every fourth image; the layout is read as it is
        for folder in (split, f"{split}annot"):
            (native / folder).mkdir(parents=True)
            for path in sorted((real_data / "camvid" / folder).iterdir())[::4]:
                (native / folder / path.name).symlink_to(path.resolve())
    assert seg("dataset", "prepare", "camvid", "--from", native).exit_code == 0
    for path in sorted((native / "valannot").iterdir())[:5]:
        expected = read_mask(path)
        assert np.array_equal(
            read_mask(tmp_path / "data" / "camvid" / "masks" / "val" / path.name),
            np.where(expected == 11, 255, expected),
        )
    config = Path(__file__).parents[1] / "configs" / "camvid.yml"
    small = [
        "train.max_steps=10",
        "train.image_size=96",
        "train.workers=0",
        "val.image_size=120",
        "precision=fp32",
        "optimizer.lr=5e-3",
    ]
    result = seg("train", "-c", config, *[part for text in small for part in ("--set", text)])
    assert result.exit_code == 0, result.stderr
    trained = json.loads(seg("eval", "--json").stdout)
    assert trained["miou"] > 0.05
    result = seg("export", "onnx")
    assert result.exit_code == 0, result.stderr
    exported = json.loads(seg("eval", "-m", "runs/camvid/export/model.onnx", "--json").stdout)
    assert abs(exported["miou"] - trained["miou"]) < 1e-3


def cityscapes_index(label: int) -> int:
    trained = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    return trained.index(label) if label in trained else 255


def coco_index(value: int) -> int:
    never_annotated = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91]
    return 255 if value == 255 else value - sum(category < value + 1 for category in never_annotated)


@pytest.mark.parametrize(
    ("layout", "folder", "num_classes", "native", "index"),
    [
        ("cityscapes", "cityscapes", 19, "gtFine/{split}/{name}_gtFine_labelIds.png", cityscapes_index),
        (
            "ade20k",
            "ade20k",
            150,
            "ADEChallengeData2016/annotations/{long}/{name}.png",
            lambda value: value - 1 if value else 255,
        ),
        ("coco_stuff", "coco_stuff", 171, "stuffthingmaps_trainval2017/{split}2017/{name}.png", coco_index),
        ("voc", "voc", 21, "VOCdevkit/VOC2012/SegmentationClass/{name}.png", lambda value: value),
    ],
)
def test_native_layouts_give_the_indices_of_their_tables(
    seg: Callable[..., Result],
    real_data: Path,
    tmp_path: Path,
    layout: str,
    folder: str,
    num_classes: int,
    native: str,
    index: Callable[[int], int],
) -> None:
    root = real_data / "native" / folder
    result = seg("dataset", "prepare", layout, "--from", root)
    assert result.exit_code == 0, result.stderr
    dataset = open_prepared(tmp_path / "data" / layout)
    assert dataset.task.num_classes == num_classes == len(set(dataset.task.classes))
    for split, long in (("train", "training"), ("val", "validation")):
        for sample in dataset.split(split):
            values = read_mask(root / native.format(split=split, long=long, name=sample.name))
            expected = np.vectorize(index, otypes=[int])(np.arange(256))[values]
            assert np.array_equal(sample.read()[1], expected), sample.name
