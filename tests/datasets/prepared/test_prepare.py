from pathlib import Path

import numpy as np
import pytest
from conftest import draw_pair, write_pairs
from native import write_camvid
from PIL import Image

from segcli.config import DatasetConfig
from segcli.datasets.dataset import Dataset
from segcli.datasets.layouts import camvid, voc
from segcli.datasets.layouts.base import Options, Source
from segcli.datasets.layouts.folder import find as find_folder
from segcli.datasets.layouts.shapes import source as shapes_source
from segcli.datasets.open import open_dataset
from segcli.datasets.prepared.format import open_prepared
from segcli.datasets.prepared.write import prepare
from segcli.errors import DataError, UsageError
from segcli.io.images import read_mask
from segcli.task import voc_palette


def write_prepared(source: Source, target: Path, options: Options | None = None, copy: bool = False) -> Dataset:
    return prepare(source, target, options, "none" if copy else "any").dataset


def prepare_folder(root: Path, target: Path, **options: object) -> Dataset:
    chosen = Options(**options)  # type: ignore[arg-type]
    return write_prepared(find_folder(root, chosen), target, chosen)


def test_camvid_is_linked_and_its_void_becomes_255(tmp_path: Path) -> None:
    dataset = write_prepared(camvid.find(write_camvid(tmp_path / "native")), tmp_path / "data" / "camvid")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 3, "val": 2}
    _, mask = dataset.splits["train"][0].read()
    native = read_mask(tmp_path / "native" / "trainannot" / "0.png")
    assert np.array_equal(mask, np.where(native == 11, 255, native))
    assert sum(dataset.figures["train"].pixels) == sum(
        (read_mask(p) != 11).sum() for p in (tmp_path / "native" / "trainannot").iterdir()
    )
    linked = tmp_path / "data" / "camvid" / "images" / "train" / "0.jpg"
    assert linked.stat().st_ino == (tmp_path / "native" / "train" / "0.jpg").stat().st_ino
    with Image.open(tmp_path / "data" / "camvid" / "masks" / "train" / "0.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:6] == [128, 128, 128, 128, 0, 0]


def test_preparing_again_gives_the_same_and_copies_where_asked(tmp_path: Path) -> None:
    found = camvid.find(write_camvid(tmp_path / "native"))
    first = write_prepared(found, tmp_path / "a")
    again = write_prepared(found, tmp_path / "a", copy=True)
    assert first.fingerprint == again.fingerprint
    copied, native = tmp_path / "a" / "images" / "train" / "0.jpg", tmp_path / "native" / "train" / "0.jpg"
    assert copied.stat().st_ino != native.stat().st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "native"]


def test_voc_follows_its_lists(tmp_path: Path) -> None:
    home = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    for split, names in (("train", ["a", "b"]), ("val", ["c", "d"])):
        (home / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            image, mask = draw_pair(ord(name))
            mask[0] = 255
            Image.fromarray(image).save(home / "JPEGImages" / f"{name}.jpg")
            picture = Image.fromarray(mask)
            picture.putpalette([channel for colour in voc_palette(256) for channel in colour])
            picture.save(home / "SegmentationClass" / f"{name}.png")
    dataset = write_prepared(voc.find(tmp_path, Options()), tmp_path / "out")
    assert dataset.task.num_classes == 21
    assert [sample.name for sample in dataset.splits["train"]] == ["a", "b"]
    assert np.array_equal(dataset.splits["val"][0].read()[1], read_mask(home / "SegmentationClass" / "c.png"))
    (home / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(DataError, match=r"c.jpg: no such file, but a list names c"):
        write_prepared(voc.find(tmp_path, Options()), tmp_path / "out")


def test_a_folder_with_splits_keeps_them_and_its_nesting(tmp_path: Path) -> None:
    for split, number in (("train", 3), ("val", 2)):
        write_pairs(tmp_path / "flat", number, start=10 * number)
        for kind in ("images", "masks"):
            (tmp_path / "src" / kind / split).mkdir(parents=True)
            (tmp_path / "flat" / kind).rename(tmp_path / "src" / kind / split / "city")
    dataset = prepare_folder(tmp_path / "src", tmp_path / "out")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 3, "val": 2}
    assert dataset.splits["train"][0].name.startswith("city/")
    assert dataset.task.classes == ("class_0", "class_1", "class_2")


def test_binary_masks_are_refused_until_255_is_declared(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "mine", 4, values=(0, 255, 255))
    with pytest.raises(DataError, match=r"the masks hold only 0 and 255 .*--map 255=1.*--ignore-index 255"):
        prepare_folder(root, tmp_path / "out")
    dataset = prepare_folder(root, tmp_path / "out", value_map={255: 1})
    assert set(np.unique(dataset.splits["train"][0].read()[1])) == {0, 1}
    with pytest.raises(DataError, match="a single class"):
        prepare_folder(root, tmp_path / "out", ignore_index=255)


def test_an_ignored_value_of_a_folder_becomes_255(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "mine", 4, values=(0, 1, 9))
    dataset = prepare_folder(root, tmp_path / "out", ignore_index=9)
    assert dataset.task.ignore_index == 255
    assert set(np.unique(dataset.splits["train"][0].read()[1])) == {0, 1, 255}


def test_shapes_as_files_are_the_embedded_ones(tmp_path: Path) -> None:
    source = shapes_source()
    few = Source(source.name, "x", {split: list(s)[:3] for split, s in source.splits.items()}, source.task)
    dataset = write_prepared(few, tmp_path / "out")
    for written, drawn in zip(dataset.splits["val"], source.splits["val"], strict=False):
        for a, b in zip(written.read(), drawn.read(), strict=True):
            assert np.array_equal(a, b)


def test_another_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(DataError, match="exists and is no prepared dataset"):
        write_prepared(camvid.find(write_camvid(tmp_path / "native")), tmp_path / "mine")


@pytest.mark.parametrize("file", ["valannot/1.png", "train/1.jpg"])
def test_a_damaged_file_is_found_while_preparing_and_leaves_nothing(tmp_path: Path, file: str) -> None:
    native = write_camvid(tmp_path / "native")
    damaged = native / file
    damaged.write_bytes(damaged.read_bytes()[:50] if file.endswith("png") else damaged.read_bytes()[:600])
    with pytest.raises(DataError, match=rf"{file} is damaged"):
        write_prepared(camvid.find(native), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["native"]


@pytest.mark.parametrize(
    ("root", "command"),
    [
        ("data/voc", "seg dataset prepare voc"),
        ("data/mine", "seg dataset prepare folder --from DIR --to data/mine"),
        ("x/camvid", "seg dataset prepare camvid --to x/camvid"),
        ("data/cityscapes", "seg dataset prepare cityscapes --from DIR"),
    ],
)
def test_a_missing_dataset_is_answered_with_the_command_that_makes_it(root: str, command: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_dataset(DatasetConfig(root=Path(root)))
    assert str(caught.value).splitlines()[-1] == command


def test_a_prepared_folder_that_lost_files_is_refused(tmp_path: Path) -> None:
    write_prepared(camvid.find(write_camvid(tmp_path / "native")), tmp_path / "out")
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / "out" / kind / "train" / f"1.{suffix}").unlink()
    with pytest.raises(DataError, match=r"has 2 train pairs, but .*dataset.yml says 3"):
        open_prepared(tmp_path / "out")


@pytest.mark.parametrize("names", [("train", "test"), ("train", "others")])
def test_subfolders_that_look_like_splits_but_are_not_whole_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        write_pairs(tmp_path / "flat", 3)
        for kind in ("images", "masks"):
            (tmp_path / "src" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "flat" / kind).rename(tmp_path / "src" / kind / name)
    with pytest.raises(DataError, match="looks like splits"):
        find_folder(tmp_path / "src", Options())


def test_class_names_are_checked(tmp_path: Path) -> None:
    write_pairs(tmp_path, 4)
    for classes, message in ((["a", "a"], "twice"), (["a"], "at least 2"), (["a", ""], "empty name")):
        with pytest.raises(UsageError, match=message):
            find_folder(tmp_path, Options(classes=classes))


def test_a_link_to_the_target_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "big" / "camvid")
    found = camvid.find(write_camvid(tmp_path / "native"))
    for _ in range(2):
        assert len(write_prepared(found, tmp_path / "data").splits["train"]) == 3
    assert (tmp_path / "data").is_symlink()
