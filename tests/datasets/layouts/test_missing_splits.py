"""Native datasets of which only a part is on disk."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import draw_pair
from native import draw, save, write_camvid, write_cityscapes, write_voc
from typer.testing import Result

from segcli.datasets.layouts.base import Options
from segcli.datasets.layouts.detect import detect
from segcli.datasets.layouts.known import LAYOUTS
from segcli.errors import DataError


def ade20k(root: Path) -> list[Path]:
    home = root / "ADEChallengeData2016"
    for split in ("training", "validation"):
        draw(home / "images" / split / "a.jpg", len(split))
        save(draw_pair(0)[1], home / "annotations" / split / "a.png")
    (home / "objectInfo150.txt").write_text("Name\n" + "".join(f"{i}\tname{i}\n" for i in range(150)))
    return [home / "images" / "training", home / "annotations" / "training"]


def camvid(root: Path) -> list[Path]:
    write_camvid(root)
    return [root / "train", root / "trainannot"]


def camvid_frames(root: Path) -> list[Path]:
    for place, name in enumerate(("0001TP_006690", "0016E5_07959")):
        draw(root / "701_StillsRaw_full" / f"{name}.png", place)
        save(draw_pair(0)[0] * 0 + 128, root / "LabeledApproved_full" / f"{name}_L.png")
    return [root / "701_StillsRaw_full" / "0001TP_006690.png", root / "LabeledApproved_full" / "0001TP_006690_L.png"]


def cityscapes(root: Path) -> list[Path]:
    write_cityscapes(root, "gtFine", {"train": ["1", "2"], "val": ["3"]})
    return [root / "leftImg8bit" / "train"]  # the masks come in one archive for all splits


def coco_stuff(root: Path) -> list[Path]:
    for place, split in enumerate(("train", "val")):
        draw(root / f"{split}2017" / "1.jpg", place)
        save(draw_pair(0)[1], root / "stuffthingmaps_trainval2017" / f"{split}2017" / "1.png")
    return [root / "train2017", root / "stuffthingmaps_trainval2017" / "train2017"]


def voc(root: Path) -> list[Path]:
    home = write_voc(root, {"train": ["a", "b"], "val": ["c"]}, ["a", "b", "c"])
    return [home / kind for kind in ("JPEGImages/a.jpg", "JPEGImages/b.jpg", "SegmentationClass/a.png")]


@pytest.mark.parametrize("write", [ade20k, camvid, camvid_frames, cityscapes, coco_stuff, voc])
def test_a_dataset_without_its_train_part_can_be_evaluated_on(
    tmp_path: Path, write: Callable[[Path], list[Path]], seg: Callable[..., Result]
) -> None:
    train, layout = write(tmp_path / "native"), write.__name__.removesuffix("_frames")
    whole = LAYOUTS[layout].find(tmp_path / "native", Options())
    assert {"train", "val"} <= whole.splits.keys()
    assert whole.findings == []
    for path in train:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    known = detect(tmp_path / "native", Options())
    assert known is not None
    assert known.name == layout
    result = seg("dataset", "prepare", layout, "--from", "native", "--to", "out")
    assert result.exit_code == 0, result.stderr
    assert "warning: native holds no train split" in result.stderr
    assert "seg eval -d out" in result.stderr
    assert "seg train" not in result.stderr
    (tmp_path / "c.yml").write_text(
        "dataset: {root: out}\nmodel_name: Unet\nencoder: resnet18\nencoder_weights: null\n"
    )
    result = seg("train", "-c", "c.yml")
    assert result.exit_code == 1
    assert f"error: dataset {whole.name} has no train split; it has val" in result.stderr
    for pairs in whole.splits.values():
        for pair in pairs:
            pair.image.unlink(missing_ok=True)
    with pytest.raises(DataError):
        LAYOUTS[layout].find(tmp_path / "native", Options())
