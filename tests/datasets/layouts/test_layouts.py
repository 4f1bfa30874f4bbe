"""The native layouts, on tiny data drawn in each."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_pair
from native import CITY, draw, save, write_cityscapes, write_voc
from PIL import Image
from scipy.io import savemat
from typer.testing import Result

from segcli.datasets.check.judge import survey
from segcli.datasets.dataset import FileSample
from segcli.datasets.layouts import ade20k, camvid, cityscapes, coco_stuff, folder, voc
from segcli.datasets.layouts.base import UNDEALT, Options
from segcli.datasets.layouts.detect import detect
from segcli.datasets.layouts.known import LAYOUTS
from segcli.datasets.open import open_source
from segcli.datasets.prepared.format import open_prepared
from segcli.datasets.prepared.write import prepare
from segcli.errors import DataError, UsageError

# Label id to train id, written out once more.
TRAIN_IDS = dict(zip([7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33], range(19), strict=True))


def test_cityscapes_fine_with_instances_categories_and_test(tmp_path: Path) -> None:
    labels = write_cityscapes(tmp_path / "c", "gtFine", {"train": ["1", "2"], "val": ["3"]})
    draw(tmp_path / "c/leftImg8bit/test/berlin/berlin_1_leftImg8bit.png")
    made = prepare(cityscapes.find(tmp_path / "c", Options()), tmp_path / "out").dataset
    assert {split: len(items) for split, items in made.splits.items()} == {"train": 2, "val": 1, "test": 1}
    assert "test" not in made.figures
    assert made.categories["flat"] == ["road", "sidewalk"]
    assert sum(map(len, made.categories.values())) == 19
    sample = made.splits["train"][1]
    assert isinstance(sample, FileSample)
    values = labels["2"]
    expected = np.vectorize(lambda label: TRAIN_IDS.get(label, 255))(values)
    assert np.array_equal(sample.read()[1], expected)
    instances = sample.instances()
    assert instances is not None
    assert np.array_equal(instances, np.where(values >= 24, values.astype(int) - 23, 0))
    with Image.open(tmp_path / "out/instances/train/aachen/aachen_2.png") as image:
        assert image.mode == "I;16"
    with pytest.raises(DataError, match="has no mask"):
        made.splits["test"][0].read()


def test_cityscapes_coarse_trains_on_extra_and_validates_on_fine(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, "gtCoarse", {"train": ["1"], "train_extra": ["4", "5"], "val": ["3"]})
    write_cityscapes(tmp_path, "gtFine", {"train": ["1"], "val": ["3"]})
    found = cityscapes.find(tmp_path, Options(variant="coarse"))
    assert found.name == "cityscapes_coarse"
    masks = {split: [pair.mask.path.name for pair in pairs] for split, pairs in found.splits.items()}
    assert masks["train"] == [f"aachen_{name}_gtCoarse_labelIds.png" for name in (1, 4, 5)]
    assert masks["val"] == ["aachen_3_gtFine_labelIds.png"]


def test_cityscapes_without_labels_is_found(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, "gtFine", {"train": ["1", "2"], "val": ["3"]})
    (tmp_path / "gtFine" / f"{CITY.format(split='train', name='1')}_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"aachen_1_leftImg8bit.png has no partner of the same stem in .*gtFine/train"):
        prepare(cityscapes.find(tmp_path, Options()), tmp_path / "out")


def test_voc_keeps_objects_and_test_images(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]}, ["a", "b", "c"])
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages/e.jpg").unlink()
    made = prepare(voc.find(tmp_path, Options()), tmp_path / "out").dataset
    assert [sample.name for sample in made.splits["test"]] == ["d"]
    sample = made.splits["train"][0]
    assert isinstance(sample, FileSample)
    mask, instances = sample.read()[1], sample.instances()
    assert set(np.unique(mask)) == {0, 7, 14}
    assert np.array_equal(instances, mask // 7)


def test_voc_is_augmented_by_masks_of_other_lists(tmp_path: Path) -> None:
    home = write_voc(tmp_path, {"train": ["a"], "val": ["c"], "trainaug": ["a", "x", "y"]}, ["a", "c"])
    for name in ("a", "x", "y"):
        save(draw_pair(5)[1], home / "SegmentationClassAug" / f"{name}.png")
    masks = {pair.name: pair.mask.path.parent.name for pair in voc.find(tmp_path, Options()).splits["train"]}
    assert masks == {"a": "SegmentationClass", "x": "SegmentationClassAug", "y": "SegmentationClassAug"}


def test_voc_is_augmented_by_sbd(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": ["a"], "val": ["c"]}, ["a", "c"])
    sbd = tmp_path / "benchmark_RELEASE" / "dataset"
    image, mask = draw_pair(9)
    for name in ("a", "c", "s", "t"):
        save(image, sbd / "img" / f"{name}.jpg")
        for kind, key in (("cls", "GTcls"), ("inst", "GTinst")):
            (sbd / kind).mkdir(exist_ok=True)
            savemat(sbd / kind / f"{name}.mat", {key: {"Segmentation": mask, "Boundaries": np.zeros(3)}})
    (sbd / "train.txt").write_text("a\ns\n")
    (sbd / "val.txt").write_text("c\nt\n")
    made = prepare(voc.find(tmp_path, Options()), tmp_path / "out").dataset
    assert [sample.name for sample in made.splits["train"]] == ["a", "s", "t"]
    sample = made.splits["train"][1]
    assert isinstance(sample, FileSample)
    assert np.array_equal(sample.read()[1], mask)
    assert np.array_equal(sample.instances(), mask)
    (sbd / "cls" / "s.mat").write_bytes(b"no matrix")
    with pytest.raises(DataError, match=r"s.mat is damaged"):
        prepare(voc.find(tmp_path, Options()), tmp_path / "again")


def test_coco_stuff_has_171_classes_in_27_groups() -> None:
    grouped = [name for names in coco_stuff.SUPERCATEGORIES.values() for name in names]
    assert (len(coco_stuff.CLASSES), len(coco_stuff.SUPERCATEGORIES)) == (171, 27)
    assert sorted(grouped) == sorted(coco_stuff.CLASSES)


def test_coco_stuff_in_groups(tmp_path: Path) -> None:
    for split, name in (("train", "1"), ("val", "2")):
        draw(tmp_path / f"{split}2017" / f"{name}.jpg")
        values = np.zeros((40, 56), np.uint8)
        values[:10], values[10:20], values[20:30], values[30:] = 0, 181, 11, 255  # person, wood, never annotated, void
        save(values, tmp_path / "stuffthingmaps_trainval2017" / f"{split}2017" / f"{name}.png")
    made = prepare(coco_stuff.find(tmp_path, Options(variant="supercategories")), tmp_path / "out").dataset
    names = list(made.task.classes)
    mask = made.splits["val"][0].read()[1]
    assert [int(mask[row, 0]) for row in (0, 10, 20, 30)] == [names.index("person"), names.index("solid"), 255, 255]
    single = coco_stuff.find(tmp_path, Options())
    assert single.categories["sky"] == ("clouds", "sky-other")


def test_ade20k_with_test_images(tmp_path: Path) -> None:
    home = tmp_path / "ADEChallengeData2016"
    for split, name in (("training", "t"), ("validation", "v")):
        draw(home / "images" / split / f"{name}.jpg")
        save(draw_pair(0)[1], home / "annotations" / split / f"{name}.png")
    draw(tmp_path / "release_test" / "testing" / "x.jpg", 3)
    rows = "".join(f"{i}\t0.1\t10\t1\tname{i}, other\n" for i in range(1, 151))
    (home / "objectInfo150.txt").write_text(f"Idx\tRatio\tTrain\tVal\tName\n{rows}")
    made = prepare(ade20k.find(tmp_path), tmp_path / "out").dataset
    assert made.task.classes[:2] == ("name1", "name2")
    assert [sample.name for sample in made.splits["test"]] == ["x"]
    assert set(np.unique(made.splits["train"][0].read()[1])) == {0, 1, 255}


MEANINGS = {
    **{colour: name for name, members in camvid.COLOURS.items() for colour in members.values()},
    camvid.VOID_COLOUR: "",
}


def write_camvid_frames(images: Path, masks: Path, names: list[str]) -> np.ndarray:
    """Writes frames whose masks hold the 32 colours in stripes; gives the mask of colours."""
    colours = np.array(list(MEANINGS), np.uint8)
    mask = colours[np.arange(64).repeat(56).reshape(64, 56) // 2]
    for seed, name in enumerate(names):
        save(draw_pair(seed, 64, 56)[0], images / f"{name}.png")
        save(mask, masks / f"{name}_L.png")
    return mask


def test_camvid_of_32_colours(tmp_path: Path) -> None:
    names = ["0001TP_006690", "0001TP_008550", "0006R0_f00930", "0016E5_07959", "0016E5_08190", "Seq05VD_f00000"]
    write_camvid_frames(tmp_path / "701_StillsRaw_full", tmp_path / "LabeledApproved_full", names)
    made = prepare(camvid.find(tmp_path), tmp_path / "out").dataset
    splits = {split: [sample.name for sample in items] for split, items in made.splits.items()}
    assert splits == {"train": [names[0], names[2], names[4]], "val": [names[3]], "test": [names[1], names[5]]}
    stripes = made.splits["val"][0].read()[1][::2, 0]
    classes = list(camvid.CLASSES)
    assert [classes[i] if i < 11 else "" for i in stripes] == list(MEANINGS.values())


def test_camvid_of_colours_in_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_camvid_frames(tmp_path / split, tmp_path / f"{split}_labels", [f"{split}1", f"{split}2"])
    assert {split: len(items) for split, items in camvid.find(tmp_path).splits.items()} == {"train": 2, "val": 2}


def test_camvid_has_32_colours_in_11_classes() -> None:
    assert (len(MEANINGS), len(camvid.CLASSES)) == (32, 11)
    assert {name: MEANINGS[colour] for name, colour in camvid.CLASSES.items()} == {
        name: name for name in camvid.CLASSES
    }


def test_camvid_split_is_that_of_the_index_form(real_data: Path) -> None:
    for split in ("train", "val"):
        names = [path.stem for path in (real_data / "camvid" / split).glob("*.jpg")]
        assert {camvid.split_of_frame(name) for name in names} == {split}


def test_a_folder_may_have_its_splits_outside(tmp_path: Path) -> None:
    for split, number in (("train", 3), ("valid", 2), ("test", 1)):
        for index in range(number):
            draw(tmp_path / split / "images" / f"{split}{index}.jpg", index)
            if split != "test":
                save(draw_pair(index)[1], tmp_path / split / "masks" / f"{split}{index}.png")
    found = folder.find(tmp_path, Options())
    assert {split: len(pairs) for split, pairs in found.splits.items()} == {"train": 3, "val": 2, "test": 1}
    assert found.splits["test"][0].mask is None
    assert survey(found).settled().task.num_classes == 3


def test_a_folder_without_splits_is_still_to_be_dealt(tmp_path: Path) -> None:
    for index in range(10):
        draw(tmp_path / "images" / f"{index}.jpg", index)
        save(draw_pair(index)[1], tmp_path / "masks" / f"{index}.png")
    assert list(folder.find(tmp_path, Options()).splits) == [UNDEALT]
    assert {split: len(items) for split, items in survey(folder.find(tmp_path, Options())).source.splits.items()} == {
        "train": 8,
        "val": 2,
    }


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("voc", ["--classes", "a,b"], "voc knows its own folders, classes and splits"),
        ("camvid", ["--variant", "x"], "--variant x: camvid has none"),
        ("cityscapes", ["--variant", "x"], "--variant x: cityscapes has fine and coarse"),
        ("folder", ["--split-file", "trainfile"], "expected train=FILE"),
        ("coco", ["--variant", "panoptics"], "--variant panoptics: coco has instances and panoptic"),
        ("vok", [], "did you mean voc"),
    ],
)
def test_options_that_a_layout_cannot_use_are_refused(
    seg: Callable[..., Result], layout: str, options: list[str], message: str
) -> None:
    result = seg("dataset", "prepare", layout, "--from", ".", *options)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_a_layout_is_told_by_what_lies_in_the_folder(tmp_path: Path) -> None:
    write_voc(tmp_path / "v", {"train": ["a"], "val": ["c"]}, ["a", "c"])
    write_cityscapes(tmp_path / "c", "gtFine", {"train": ["1"], "val": ["3"]})
    write_camvid_frames(tmp_path / "k/701_StillsRaw_full", tmp_path / "k/LabeledApproved_full", ["0001TP_000001"])
    for name, expected in (("v", "voc"), ("c", "cityscapes"), ("k", "camvid")):
        assert open_source(tmp_path / name, None, Options()).name == expected
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="nothing is no dataset"):
        open_source(tmp_path / "nothing", None, Options())


def write_labelme(root: Path, number: int) -> Path:
    for index in range(number):
        draw(root / f"{index}.jpg", index)
        shape = {"label": "cat", "points": [[0, 0], [9, 0], [9, 9]], "shape_type": "polygon"}
        (root / f"{index}.json").write_text(json.dumps({"shapes": [shape], "imagePath": f"{index}.jpg"}))
    return root


def test_files_that_belong_to_no_layout_do_not_decide(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "mine", 3)
    for name in (".v7/a.json", ".vscode/settings.json", "0/annotations.json", "package.json", "a/voc.xml"):
        (root / name).parent.mkdir(exist_ok=True)
    (root / ".v7/a.json").write_text('{"item": {}, "annotations": []}')
    (root / ".vscode/settings.json").write_text('{"images": [], "annotations": []}')
    (root / "0/annotations.json").write_text('{"images": [], "annotations": []}')  # one against three
    (root / "package.json").write_text('{"name": "tool", "shapes": {}, "annotations": {}}')
    (root / "a/voc.xml").write_text("<annotation><object/></annotation>")
    known = detect(root, Options())
    assert known is not None
    assert known.name == "labelme"
    for index in range(3):
        (root / f"{index}.json").unlink()
    (root / "0/annotations.json").unlink()
    assert detect(root, Options()) is None


def test_every_layout_refuses_an_empty_folder(tmp_path: Path) -> None:
    for layout in LAYOUTS.values():
        if layout.needs_folder:
            with pytest.raises(DataError):
                layout.find(tmp_path, Options())


def test_a_prepared_dataset_opens_with_its_test_split(tmp_path: Path) -> None:
    write_voc(tmp_path / "v", {"train": ["a", "b"], "val": ["c"], "test": ["d"]}, ["a", "b", "c"])
    made = prepare(voc.find(tmp_path / "v", Options()), tmp_path / "out").dataset
    assert open_prepared(tmp_path / "out").fingerprint == made.fingerprint
    assert open_source(tmp_path / "out", None, Options()).splits.keys() == {"train", "val", "test"}


def test_splits_are_known_in_any_case_and_stand_once(tmp_path: Path) -> None:
    for split, number in (("Train", 3), ("VAL", 2)):
        for index in range(number):
            draw(tmp_path / "images" / split / f"{index}.jpg", index)
            save(draw_pair(index)[1], tmp_path / "masks" / split / f"{index}.png")
    (tmp_path / "images" / "Thumbs.db").touch()
    found = folder.find(tmp_path, Options())
    assert {split: len(pairs) for split, pairs in found.splits.items()} == {"train": 3, "val": 2}
    (tmp_path / "images" / "valid").mkdir()
    with pytest.raises(DataError, match="VAL and valid, which both look like val"):
        folder.find(tmp_path, Options())


def test_missing_folders_are_answered_with_those_that_are_there(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="masks: no such folder; .* holds images, labels; name the one .* with --masks"):
        open_source(tmp_path, None, Options())


def test_masks_and_images_alone_are_found_in_native_layouts(tmp_path: Path) -> None:
    write_cityscapes(tmp_path / "c", "gtFine", {"train": ["1", "2"], "val": ["3"]})
    (tmp_path / "c/leftImg8bit" / f"{CITY.format(split='train', name='1')}_leftImg8bit.png").unlink()
    assert [finding.kind for finding in cityscapes.find(tmp_path / "c", Options()).findings] == ["no-image"]
    for split in ("train", "val"):
        draw(tmp_path / "s" / f"{split}2017" / "1.jpg")
        draw(tmp_path / "s" / f"{split}2017" / "2.jpg")
        save(draw_pair(0)[1], tmp_path / "s/stuffthingmaps_trainval2017" / f"{split}2017" / "1.png")
    assert [finding.kind for finding in coco_stuff.find(tmp_path / "s", Options()).findings] == ["no-mask"] * 2
