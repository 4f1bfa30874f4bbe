import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated import HEIGHT, WIDTH, box, drawn, names, numbers, pair_of, picture
from PIL import Image
from pycocotools import mask as coco

from segcli.datasets.layouts.base import UNDEALT, Options, Pair, Source
from segcli.datasets.layouts.coco_json import find
from segcli.datasets.layouts.rasterise import run_lengths
from segcli.datasets.masks import look_at_mask
from segcli.errors import DataError, UsageError
from segcli.task import Task

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
ONE = "annotations/instances_train.json"


def outline(top: int, bottom: int, left: int, right: int) -> list[int]:
    return [left, top, right, top, right, bottom, left, bottom]


def image(number: int = 1, file_name: str = "a.jpg") -> dict[str, Any]:
    return {"id": number, "file_name": file_name, "height": HEIGHT, "width": WIDTH}


def thing(segmentation: Any, category: int = 3, area: float = 10, number: int = 1, **more: Any) -> dict[str, Any]:
    parts = {"id": 5, "image_id": number, "category_id": category, "segmentation": segmentation, "iscrowd": 0}
    return {**parts, "area": area, "bbox": [0, 0, 1, 1], **more}


CAT = thing([outline(2, 5, 1, 4)])


def write(file: Path, annotations: Any = (CAT,), images: Any = None, categories: Any = None, **more: Any) -> Path:
    """A COCO file; without images listed, one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [image()] if images is None else images
    parts = {"images": images, "annotations": annotations, "categories": categories or CATEGORIES, **more}
    file.write_text(json.dumps({key: part for key, part in parts.items() if part is not None}))
    return file


def found(root: Path, *annotations: dict[str, Any], classes: Any = None, **parts: Any) -> Source:
    """The source of a train file with one image."""
    write(root / ONE, annotations, **parts)
    picture(root / "train" / "a.jpg")
    return find(root, Options(classes=classes))


def task(source: Source) -> Task:
    assert source.task is not None
    return source.task


def counts(bits: np.ndarray) -> list[int]:
    """The uncompressed RLE of a mask: lengths of runs down the columns, the first outside."""
    flat = bits.T.ravel().tolist()
    lengths, value = [0], 0
    for pixel in flat:
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return lengths


BITS = (np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.4).astype(np.uint8)
COMPRESSED = {"size": [HEIGHT, WIDTH], "counts": coco.encode(np.asfortranarray(BITS))["counts"].decode()}
UNCOMPRESSED = {"size": [HEIGHT, WIDTH], "counts": counts(BITS)}


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ([outline(2, 5, 1, 4)], box(2, 5, 1, 4)),
        ([outline(2, 5, 1, 4), outline(3, 6, 2, 7)], box(2, 5, 1, 4) | box(3, 6, 2, 7)),
        ([outline(2, 5, 1, 4), [1, 1, 2, 2]], box(2, 5, 1, 4)),
        (COMPRESSED, BITS),
        (UNCOMPRESSED, BITS),
    ],
)
def test_segmentations_are_drawn(tmp_path: Path, segmentation: Any, expected: np.ndarray) -> None:
    source = found(tmp_path, thing(segmentation))
    assert drawn(source) == expected.tolist()
    assert numbers(source) == expected.tolist()


def test_compressed_run_lengths_are_unpacked() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 7, 60, 400):
        for share in (0, 0.01, 0.5, 1):
            bits = (rng.random((size, size)) < share).astype(np.uint8)
            assert run_lengths(coco.encode(np.asfortranarray(bits))["counts"].decode()) == counts(bits)


def test_classes_are_background_and_the_categories_by_id(tmp_path: Path) -> None:
    source = found(tmp_path, CAT, thing([outline(6, 8, 0, 2)], category=7))
    assert task(source) == Task.of(["background", "cat", "dog"])
    assert (source.name, source.origin, source.findings, source.value_map) == (tmp_path.name, str(tmp_path), [], {})
    assert drawn(source) == (box(2, 5, 1, 4, 1) + box(6, 8, 0, 2, 2)).tolist()


def test_given_classes_choose_and_order_the_categories(tmp_path: Path) -> None:
    source = found(tmp_path, CAT, thing([outline(6, 8, 0, 2)], 7), classes=["background", "dog"])
    assert task(source).classes == ("background", "dog")
    assert drawn(source) == (box(2, 5, 1, 4, 255) + box(6, 8, 0, 2)).tolist()
    (finding,) = source.findings
    assert (finding.kind, "has the label 'cat', which is no class" in finding.message) == ("unknown-values", True)


def test_a_category_called_background_is_class_0(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "Background"}, {"id": 3, "name": "dog"}]
    source = found(tmp_path, thing([outline(0, 8, 0, 10)]), thing([outline(0, 1, 0, 2)], 2, 1), categories=categories)
    assert task(source).classes == ("background", "cat", "dog")
    assert drawn(source) == (box(0, 8, 0, 10, 2) - box(0, 1, 0, 2, 2)).tolist()
    assert numbers(source)[0][:3] == [0, 0, 1]


def test_categories_of_one_name_are_one_class_and_roboflows_parent_is_none(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 3, "name": "cat", "supercategory": "pets"},
        {"id": 4, "name": "fish", "supercategory": "none"},
    ]
    assert task(found(tmp_path, CAT, categories=categories)).classes == ("background", "cat", "fish")
    used = thing([outline(0, 1, 0, 1)], category=0)
    assert task(found(tmp_path, CAT, used, categories=categories)).classes == ("background", "pets", "cat", "fish")


def test_many_categories_move_the_ignored_value(tmp_path: Path) -> None:
    categories = [{"id": number, "name": f"c{number}"} for number in range(1, 301)]
    source = found(tmp_path, thing([outline(2, 5, 1, 4)], category=300), categories=categories)
    assert task(source).ignore_index == 65535
    assert drawn(source)[2][:3] == [0, 300, 300]


def test_smaller_objects_lie_over_larger_ones(tmp_path: Path) -> None:
    small, large = thing([outline(3, 4, 2, 4)], 7, area=2), thing([outline(2, 5, 1, 9)], 3, area=24)
    expected = box(2, 5, 1, 9, 1) + box(3, 4, 2, 4, 1)
    assert drawn(found(tmp_path / "a", small, large)) == expected.tolist()
    assert numbers(found(tmp_path / "b", large, small)) == expected.tolist()


def test_crowds_are_drawn_but_have_no_number(tmp_path: Path) -> None:
    crowd = thing({"size": [HEIGHT, WIDTH], "counts": counts(box(0, 2, 0, 9))}, area=18, iscrowd=1)
    source = found(tmp_path, CAT, crowd)
    assert drawn(source) == (box(0, 2, 0, 9) + box(2, 5, 1, 4)).tolist()
    assert numbers(source) == box(2, 5, 1, 4).tolist()


def test_images_without_annotations_are_background(tmp_path: Path) -> None:
    assert drawn(found(tmp_path, thing([outline(2, 5, 1, 4)], number=99))) == box(0, 0, 0, 0).tolist()


@pytest.mark.parametrize(
    "folder", ["train2017", "images/train2017", "train", "images/train", "images", "pictures", "."]
)
def test_splits_are_named_by_files_and_images_lie_in_folders(tmp_path: Path, folder: str) -> None:
    write(tmp_path / "annotations/instances_train2017.json", images=[image(1, "a.jpg")])
    write(tmp_path / "annotations/instances_val2017.json", images=[image(1, "b.jpg"), image(2, "c.jpg")])
    write(tmp_path / "annotations/captions_train2017.json")
    for name, split in (("a", "train"), ("b", "val"), ("c", "val")):
        picture(tmp_path / folder.replace("train", split) / f"{name}.jpg")
    source = find(tmp_path, Options(images="pictures"))
    assert names(source) == {"train": ["a"], "val": ["b", "c"]}
    assert source.findings == []


@pytest.mark.parametrize(
    ("listed", "file", "name"),
    [
        ("train2017/x/a.jpg", "train2017/x/a.jpg", "train2017/x/a"),
        ("x/a.jpg", "train2017/x/a.jpg", "x/a"),
        ("x\\a.jpg", "train2017/x/a.jpg", "x/a"),
        ("/data/of/another/a.jpg", "train/a.jpg", "a"),
        ("../x/a.b.jpg", "x/a.b.jpg", "x/a.b"),
    ],
)
def test_listed_paths_may_begin_elsewhere(tmp_path: Path, listed: str, file: str, name: str) -> None:
    write(tmp_path / ONE, images=[image(1, listed)])
    picture(tmp_path / "train" / "other.jpg")
    picture(tmp_path / file)
    assert names(find(tmp_path, Options())) == {"train": [name]}


def test_folders_in_the_list_are_no_splits_and_keep_names_apart(tmp_path: Path) -> None:
    write(tmp_path / "labels.json", images=[image(1, "train/a.jpg"), image(2, "val/a.jpg")])
    picture(tmp_path / "images/train/a.jpg")
    picture(tmp_path / "images/val/a.jpg")
    assert names(find(tmp_path, Options())) == {UNDEALT: ["train/a", "val/a"]}


def test_a_test_file_may_hold_no_annotations(tmp_path: Path) -> None:
    write(tmp_path / ONE)
    write(tmp_path / "annotations/instances_test.json", None)
    picture(tmp_path / "train/a.jpg")
    picture(tmp_path / "test/a.jpg")
    (pair,) = find(tmp_path, Options()).splits["test"]
    assert isinstance(pair, Pair)
    assert pair.mask is None


def test_roboflows_layout_is_read(tmp_path: Path) -> None:
    for folder in ("train", "valid", "test"):
        write(tmp_path / folder / "_annotations.coco.json")
        picture(tmp_path / folder / "a.jpg")
    source = find(tmp_path, Options())
    assert names(source) == {"train": ["a"], "val": ["a"], "test": ["a"]}
    assert [pair.image for pair in source.splits["val"]] == [tmp_path / "valid" / "a.jpg"]


@pytest.mark.parametrize("file", ["labels.json", "annotations/instances_default.json", "annotations/labels.json"])
@pytest.mark.parametrize("folder", ["images", "."])
def test_the_only_file_leaves_the_splits_open(tmp_path: Path, file: str, folder: str) -> None:
    write(tmp_path / file)
    picture(tmp_path / folder / ("default" if "default" in file and folder == "images" else ".") / "a.jpg")
    assert names(find(tmp_path, Options())) == {UNDEALT: ["a"]}


def test_one_file_may_be_named(tmp_path: Path) -> None:
    write(tmp_path / ONE)
    write(tmp_path / "other.json", images=[image(1, "b.jpg")])
    picture(tmp_path / "pictures" / "b.jpg")
    assert names(find(tmp_path, Options(masks="other.json", images="pictures"))) == {UNDEALT: ["b"]}
    with pytest.raises(DataError, match=r"gone.json: No such file"):
        find(tmp_path, Options(masks="gone.json"))


def test_images_of_one_name_are_found(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a.png")
    source = found(tmp_path, CAT, images=[image(), image(2, "a.png")])
    assert [finding.kind for finding in source.findings] == ["same-stem"]
    assert pair_of(source).image.name == "a.jpg"


GOOD = [image(2, "good.jpg")]


@pytest.mark.parametrize(
    ("annotation", "kind", "message"),
    [
        (
            thing({"size": [HEIGHT, 9], "counts": [72]}),
            "size-mismatch",
            "a.jpg has an RLE of 9×8, which is not the image's",
        ),
        (thing({"size": [HEIGHT, WIDTH], "counts": [9]}), "damaged", "run lengths do not add up to 10×8 pixels"),
        (thing({"size": [HEIGHT, WIDTH], "counts": "0"}), "damaged", "run lengths do not add up to 10×8 pixels"),
        (thing({"size": [HEIGHT, WIDTH], "counts": "P2\n"}), "damaged", r"an RLE holds '\n'"),
        (thing({"size": [HEIGHT, WIDTH], "counts": "Pa"}), "damaged", "an RLE ends within a number"),
        (thing({"size": [HEIGHT, WIDTH]}), "damaged", "'counts' is missing"),
        (thing([[1, 2, 3, 4, 5, 6, 7]]), "damaged", "a polygon has 7 numbers, not two a point"),
        (thing([[1, 2, 3, 4, 5, None]]), "damaged", "a path does not consist of two numbers a point"),
        (thing([]), "no-mask", "a.jpg has no segmentation; draw its outline, or remove it"),
    ],
)
def test_an_image_whose_annotation_cannot_be_used_is_found(
    tmp_path: Path, annotation: dict[str, Any], kind: str, message: str
) -> None:
    picture(tmp_path / "train" / "good.jpg")
    source = found(tmp_path, annotation, {**CAT, "image_id": 2}, images=[image(), *GOOD])
    (finding,) = source.findings
    assert (finding.kind, finding.file) == (kind, tmp_path / ONE)
    assert finding.message.startswith(f"{tmp_path / ONE}: annotation 5 of a.jpg ")
    assert message in finding.message
    assert "\n" not in finding.message
    assert names(source) == {"train": ["good"]}


def test_missing_images_are_found(tmp_path: Path) -> None:
    source = found(tmp_path, CAT, images=[image(), image(2, "gone.jpg")])
    (finding,) = source.findings
    assert finding.kind == "missing"
    folder = tmp_path / "train"
    assert (
        finding.message
        == f"{tmp_path / ONE} lists gone.jpg, which is not in {folder}; add the image, or take it off the list"
    )
    with pytest.raises(DataError, match=r"no image can be used, for this reason: .* lists gone.jpg"):
        found(tmp_path, CAT, images=[image(2, "gone.jpg")])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"images": []}, "it lists no images"),
        ({"images": [{"id": 1}]}, "'file_name' is missing"),
        ({"annotations": [{"segmentation": [[1]]}]}, "'image_id' is missing"),
        ({"annotations": None}, "'annotations' is missing"),
        (
            {"annotations": [thing([[1, 2, 3]], category=9)]},
            "a.jpg has an annotation of category 9, which is not among",
        ),
        ({"annotations": [thing([]), thing(None)]}, "holds boxes, but no segmentation; export the outlines"),
        (
            {"annotations": [{"image_id": 1, "segments_info": []}]},
            "is no instances file of COCO; try --variant panoptic",
        ),
    ],
)
def test_files_that_are_wrong_are_refused(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    file = write(tmp_path / ONE, **parts)
    picture(tmp_path / "train" / "a.jpg")
    with pytest.raises(DataError, match=f"^{re.escape(str(file))}.*{re.escape(message)}") as caught:
        find(tmp_path, Options())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON: Expecting property name"),
        ("[]", "is not built as its format says"),
        ('{"annotations": []}', "is not built as its format says: 'images' is missing; export it anew"),
    ],
)
def test_files_that_are_no_coco_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path / 'labels.json'))} {re.escape(message)}"):
        find(tmp_path, Options())


def test_category_ids_must_agree_in_all_files(tmp_path: Path) -> None:
    write(tmp_path / ONE)
    write(tmp_path / "annotations/instances_val.json", categories=[{"id": 3, "name": "cow"}])
    with pytest.raises(
        DataError, match=r"instances_val.json: category 3 is 'cow', but 'cat' in another file; give each"
    ):
        find(tmp_path, Options())


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no annotations/instances_train\*.json .* and no other JSON files; name"
    ):
        find(tmp_path, Options())
    (tmp_path / "a.json").touch()
    (tmp_path / "b.json").touch()
    with pytest.raises(DataError, match="and 2 other JSON files; name the one to read with --masks"):
        find(tmp_path, Options())
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find(tmp_path / "nowhere", Options())
    with pytest.raises(DataError, match=r"the labels make no classes \(classes: 1 given"):
        found(tmp_path, categories=[{"id": 1, "name": "background"}])
    with pytest.raises(UsageError, match="--classes 2: give names"):
        found(tmp_path, CAT, classes=2)


PANOPTIC = [
    {"id": 3, "name": "cat", "isthing": 1},
    {"id": 9, "name": "sky", "isthing": 0},
    {"id": 7, "name": "dog", "isthing": 1},
]
SEGMENTS = [
    {"id": 1 + 256 * 2 + 65536 * 3, "category_id": 7, "iscrowd": 0},
    {"id": 255, "category_id": 9, "iscrowd": 0},
    {"id": 65536, "category_id": 3, "iscrowd": 0},
    {"id": 65537, "category_id": 3, "iscrowd": 1},
]
PAINTED = {(0, 0, 0): (255, 0), (1, 2, 3): (1, 1), (255, 0, 0): (2, 0), (0, 0, 1): (0, 2), (1, 0, 1): (0, 0)}


def write_panoptic(root: Path, masks: str = "annotations/panoptic_val2017", extra: tuple[int, ...] = ()) -> Path:
    """A panoptic file, an image, and its PNG with a column in each colour of PAINTED."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for column, colour in enumerate(PAINTED):
        pixels[:, column] = colour
    if extra:
        pixels[0, 0] = extra
    (root / masks).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / masks / "a.png")
    picture(root / "val2017" / "a.jpg")
    annotation = {"image_id": 1, "file_name": "a.png", "segments_info": SEGMENTS}
    return write(root / "annotations/panoptic_val2017.json", [annotation], categories=PANOPTIC)


@pytest.mark.parametrize("masks", ["annotations/panoptic_val2017", "panoptic_val2017", "masks", "annotations"])
def test_panoptic_masks_are_read(tmp_path: Path, masks: str) -> None:
    write_panoptic(tmp_path, masks)
    source = find(tmp_path, Options(variant="panoptic"))
    assert task(source) == Task.of(["cat", "dog", "sky"])
    assert names(source) == {"val": ["a"]}
    assert drawn(source)[3] == [value for value, _ in PAINTED.values()] + [255] * 5
    assert numbers(source)[3] == [number for _, number in PAINTED.values()] + [0] * 5
    mask = pair_of(source).mask
    assert mask is not None
    look = look_at_mask(mask, HEIGHT, WIDTH)
    assert (look.size, look.values) == ((HEIGHT, WIDTH), {0: 16, 1: 8, 2: 8, 255: 48})
    assert pickle.loads(pickle.dumps(source.splits)) == source.splits


def test_panoptic_masks_that_are_wrong_are_refused(tmp_path: Path) -> None:
    file = write_panoptic(tmp_path, extra=(5, 1, 0))
    mask = pair_of(find(tmp_path, Options(variant="panoptic"))).mask
    assert mask is not None
    with pytest.raises(DataError, match=f"a.png holds segment 261, which {re.escape(str(file))} does not list; export"):
        mask.values(HEIGHT, WIDTH)
    content = bytearray(mask.path.read_bytes())
    content[-13] ^= 1  # the checksum of the pixels
    mask.path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.png is damaged"):
        mask.values(HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("annotation", "kind", "message"),
    [
        ({"file_name": "gone.png", "segments_info": []}, "missing", "lists gone.png, which is not in"),
        ({"segments_info": []}, "damaged", "b.jpg is not built as its format says: 'file_name' is missing"),
        ({"file_name": "a.png", "segments_info": [{"category_id": 3}]}, "damaged", "'id' is missing"),
        ({"image_id": 99, "segments_info": []}, "no-mask", "b.jpg has no annotation; add it, or remove the image"),
    ],
)
def test_panoptic_annotations_that_cannot_be_used_are_found(
    tmp_path: Path, annotation: dict[str, Any], kind: str, message: str
) -> None:
    file = write_panoptic(tmp_path)
    good = {"image_id": 1, "file_name": "a.png", "segments_info": SEGMENTS}
    annotations = [good, {"image_id": 2, **annotation}]
    write(file, annotations, images=[image(), image(2, "b.jpg")], categories=PANOPTIC)
    picture(tmp_path / "val2017" / "b.jpg")
    source = find(tmp_path, Options(variant="panoptic"))
    (finding,) = source.findings
    assert (finding.kind, finding.file) == (kind, file)
    assert message in finding.message
    assert names(source) == {"val": ["a"]}


def test_the_other_variant_is_suggested(tmp_path: Path) -> None:
    write_panoptic(tmp_path)
    with pytest.raises(DataError, match=r"panoptic_val2017.json is no instances file of COCO; try --variant panoptic"):
        find(tmp_path, Options())


def test_pairs_carry_only_their_own_annotations(tmp_path: Path) -> None:
    images = [image(number, f"{number}.jpg") for number in range(1, 41)]
    for listed in images:
        picture(tmp_path / "train" / listed["file_name"])
    write(tmp_path / ONE, [{**CAT, "image_id": listed["id"]} for listed in images], images=images)
    pairs = find(tmp_path, Options()).splits["train"]
    assert pickle.loads(pickle.dumps(pairs)) == pairs
    assert max(len(pickle.dumps(pair)) for pair in pairs) < 2000
