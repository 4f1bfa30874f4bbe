import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import explicit, write_pairs
from PIL import Image

from segcli.config import DatasetConfig
from segcli.datasets.check.report import check
from segcli.datasets.dataset import Dataset
from segcli.datasets.layouts.base import Options
from segcli.datasets.open import open_dataset, open_folders, open_source
from segcli.errors import DataError, SegError


def opened(root: Path, **parts: object) -> Dataset:
    folders = {f"{s}_{k}_dir": str(root / s / k) for s in ("train", "val") for k in ("images", "masks")}
    return open_dataset(DatasetConfig.model_validate({**folders, **parts}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    explicit(tmp_path)
    return tmp_path


def test_classes_are_counted_over_all_splits(root: Path) -> None:
    write_pairs(root / "val", 1, start=200, values=(0, 1, 4))
    dataset = opened(root)
    assert dataset.task.classes == tuple(f"class_{index}" for index in range(5))
    assert dataset.class_share("train")[3:] == [0.0, 0.0]
    assert sum(dataset.class_share("train")) == pytest.approx(1)


def test_the_fingerprint_follows_contents_and_meaning(root: Path) -> None:
    first = opened(root, classes=["a", "b", "c"]).fingerprint
    assert opened(root, classes=["a", "b", "c"]).fingerprint == first
    assert opened(root, classes=["a", "b", "d"]).fingerprint != first
    image = root / "train" / "images" / "000.png"
    pixels = np.asarray(Image.open(image)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(image)
    assert opened(root, classes=["a", "b", "c"]).fingerprint != first


def test_values_are_mapped_and_ignored(root: Path) -> None:
    dataset = opened(root, map={2: 255}, classes=["a", "b"])
    assert set(np.unique(dataset.splits["train"][0].read()[1])) == {0, 1, 255}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"classes": ["a", "b"]}, r"masks/\d+.png holds 2, but classes run 0…1 and 255 is ignored.*map: {2: CLASS}"),
        ({"classes": 2}, r"masks/\d+.png holds 2, but classes run 0…1"),
        ({"ignore_index": 0}, "ignore_index 0 is also the index of class 'class_0'"),
        ({"map": {1: 77}, "classes": 3}, r"masks/\d+.png holds 1, but classes run 0…2"),
    ],
)
def test_values_without_a_class_are_refused(root: Path, parts: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(root, **parts)


def test_missing_and_empty_folders_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SegError, match=r"dataset.val_masks_dir: .*nothing: no such folder"):
        opened(root, val_masks_dir=str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegError, match="empty holds no images"):
        opened(root, val_masks_dir=str(tmp_path / "empty"))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: write_pairs(root / "train", 6, values=(0, 76, 150)), "values up to 150 .*which are no indices"),
        (
            lambda root: Image.new("L", (10, 20)).save(root / "val/masks/101.png"),
            "masks/101.png is 10×20, but its image .*images/101.png is 56×40",
        ),
        (
            lambda root: (root / "train/masks/003.png").unlink(),
            "images/003.png has no partner of the same stem in .*masks",
        ),
        (
            lambda root: Image.new("RGB", (56, 40)).save(root / "train/images/003.jpg"),
            "003.png and .*003.jpg have the same stem",
        ),
        (lambda root: (root / "train/masks/003.png").write_bytes(b"\x89PNG\r\n\x1a\n broken"), "masks/003.png"),
        (lambda root: cut_short(root / "train/images/003.png"), "images/003.png is damaged"),
    ],
)
def test_what_is_wrong_is_named_before_training(root: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=message):
        opened(root)


def test_more_than_255_classes_ignore_65535(root: Path) -> None:
    for split in ("train", "val"):
        wide = np.arange(40 * 56).reshape(40, 56) % 300
        wide[0] = 65535
        Image.fromarray(wide.astype(np.uint16)).save(
            root / split / "masks" / ("000.png" if split == "train" else "100.png")
        )
    dataset = opened(root, classes=300)
    assert dataset.task.ignore_index == 65535
    assert set(np.unique(dataset.splits["train"][0].read()[1])) == {*range(300), 65535}
    assert opened(root).task.num_classes == 300


def test_a_palette_has_a_colour_a_class(root: Path) -> None:
    with pytest.raises(DataError, match="the palette has 1 colours for 3 classes"):
        opened(root, palette=[[1, 2, 3]])


class Told(list[str]):
    """A progress that keeps what was done."""

    def __call__(self, what: str, done: int, total: int) -> None:
        self.append(what)


def looks_again(root: Path) -> int:
    told = Told()
    folders = {split: (root / split / "images", root / split / "masks") for split in ("train", "val")}
    open_folders("x", folders, Options(), told)
    return len(told)


def age(path: Path, seconds: int = 60) -> None:
    os.utime(path, ns=(0, time.time_ns() - seconds * 10**9))


def test_only_files_that_changed_are_decoded_again(root: Path, own_cache: Path) -> None:
    files = list(root.rglob("*.png"))
    for path in files:
        age(path, seconds=-60)  # as if this took no time
    assert looks_again(root) == 9
    assert looks_again(root) == 9  # a file that just changed could change again without a trace
    for path in files:
        age(path)
    first = opened(root).fingerprint
    assert looks_again(root) == 0
    assert opened(root).fingerprint == first
    mask = root / "train" / "masks" / "003.png"
    state = mask.stat()
    for change in (
        lambda: os.utime(mask, ns=(0, state.st_mtime_ns - 1)),  # by a nanosecond
        lambda: (mask.write_bytes(mask.read_bytes() + b"\n"), age(mask)),  # another size
        lambda: (mask.rename(root / "x"), shutil.copy2(root / "x", mask)),  # another file of the same size and time
    ):
        change()
        assert (looks_again(root), looks_again(root)) == (1, 0)
    mask.write_bytes(b"nothing")
    age(mask)
    for _ in range(2):
        with pytest.raises(DataError, match="003.png is not an image"):
            opened(root)


def test_a_damaged_cache_is_passed_over_and_one_of_another_version_never_used(
    root: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in root.rglob("*.png"):
        age(path)
    first = opened(root).fingerprint
    assert looks_again(root) == 0
    (kept,) = own_cache.rglob("*.jsonl")
    lines = kept.read_bytes().split(b"\n")
    kept.write_bytes(b"\n".join([*lines[:4], lines[4][:70], b"\xff\xfe", b"[]", *lines[5:8], lines[8][:40] + b"[1]"]))
    assert looks_again(root) == 3
    assert opened(root).fingerprint == first
    assert looks_again(root) == 0
    monkeypatch.setattr("segcli.datasets.check.scan.VERSION", "another")
    assert looks_again(root) == 9


def test_a_cache_that_cannot_be_written_only_costs_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGCLI_CACHE", "/dev/null/x")
    for path in root.rglob("*.png"):
        age(path)
    assert [looks_again(root) for _ in range(2)] == [9, 9]


def test_several_processes_fill_one_cache(root: Path) -> None:
    for path in root.rglob("*.png"):
        age(path)
    both = [
        subprocess.Popen([sys.executable, "-m", "segcli", "dataset", "check", root / "train", "--json"], stdout=-3)
        for _ in range(2)
    ]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    told = Told()
    check(open_source(root / "train"), progress=told)
    assert told == []


@pytest.mark.parametrize(
    ("images", "name"), [("camvid/train", "camvid"), ("mine/images/train", "mine"), ("a/My Set/Train/images", "My Set")]
)
def test_explicit_folders_are_called_after_what_they_lie_in(tmp_path: Path, images: str, name: str) -> None:
    write_pairs(tmp_path / "flat", 3)
    (tmp_path / images).parent.mkdir(parents=True)
    (tmp_path / "flat" / "images").rename(tmp_path / images)
    folders = {f"{split}_images_dir": tmp_path / images for split in ("train", "val")}
    masks = {f"{split}_masks_dir": tmp_path / "flat" / "masks" for split in ("train", "val")}
    assert open_dataset(DatasetConfig(**folders, **masks)).name == name
