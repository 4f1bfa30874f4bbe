import base64
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated import HEIGHT, WIDTH, box
from PIL import Image

from segcli.datasets.layouts.base import UNDEALT, Options, Pair
from segcli.datasets.layouts.labelme import find
from segcli.errors import DataError, UsageError

BOX = [[1, 2], [4, 5]]


def shape(label: str, points: list[list[float]], kind: str | None = "rectangle", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def write(file: Path, *shapes: dict[str, Any], image: bool = True, **more: Any) -> Path:
    """A LabelMe file with its image beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = {"imagePath": f"{file.stem}.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}
    file.write_text(json.dumps({"version": "5.4.1", "shapes": shapes, **parts, **more}))
    if image:
        Image.new("RGB", (WIDTH, HEIGHT)).save(file.with_suffix(".png"))
    return file


def pairs(root: Path, **options: Any) -> list[Pair]:
    found = find(root, Options(**options)).splits[UNDEALT]
    return [pair for pair in found if isinstance(pair, Pair)]


def drawn(root: Path, **options: Any) -> np.ndarray:
    (pair,) = pairs(root, **options)
    assert pair.mask is not None
    return pair.mask.values(HEIGHT, WIDTH)


def numbers(root: Path) -> np.ndarray:
    (pair,) = pairs(root)
    assert pair.mask is not None
    instances = pair.mask.instances(HEIGHT, WIDTH)
    assert instances is not None
    return instances


def encoded(bits: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(bits).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


BITS = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
PLACED = box(0, 0, 0, 0)
PLACED[3:5, 2:5] = BITS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (shape("cat", BOX), box(2, 5, 1, 4)),
        (shape("cat", BOX[::-1]), box(2, 5, 1, 4)),
        (shape("cat", [[1, 2], [4, 2], [4, 5], [1, 5]]), box(2, 5, 1, 4)),
        (shape("cat", [[1, 2], [4, 2], [4, 5], [1, 5]], "polygon"), box(2, 5, 1, 4)),
        (shape("cat", [[1, 2], [4, 2], [4, 5], [1, 5]], None), box(2, 5, 1, 4)),
        (shape("cat", [[5, 4], [6.5, 4]], "circle"), box(3, 5, 4, 6)),
        (shape("cat", [[2, 4], [7, 4]], "line"), box(3, 5, 1, 8)),
        (shape("cat", [[2, 4], [7, 4], [7, 7]], "linestrip"), box(3, 5, 1, 8) | box(3, 8, 6, 8)),
        (shape("cat", [[2, 3], [4, 4]], "mask", mask=encoded(BITS)), PLACED),
        (shape("cat", [[2, 3], [4, 4]], "mask", mask=encoded(BITS * 255)), PLACED),
        (shape("cat", [[2, 3], [4, 4]], "mask", mask=encoded(BITS.astype(bool))), PLACED),
    ],
)
def test_shapes_are_drawn(tmp_path: Path, given: dict[str, Any], expected: np.ndarray) -> None:
    write(tmp_path / "a.json", given)
    assert drawn(tmp_path).tolist() == expected.tolist()


def test_points_are_not_drawn(tmp_path: Path) -> None:
    write(tmp_path / "a.json", shape("cat", BOX), shape("eye", [[7, 7]], "point"))
    source = find(tmp_path, Options())
    assert source.task is not None
    assert source.task.classes == ("background", "cat")


def test_classes_are_background_and_the_sorted_labels_of_all_files(tmp_path: Path) -> None:
    write(tmp_path / "a.json", shape("dog", BOX))
    write(tmp_path / "b.json", shape("cat", BOX), shape("_background_", [[1, 2], [2, 5]]))
    write(tmp_path / "c.json", shape("__ignore__", BOX))
    source = find(tmp_path, Options())
    assert source.task is not None
    assert (source.task.classes, source.task.ignore_index) == (("background", "cat", "dog"), 255)
    assert (source.name, source.value_map, source.findings) == (tmp_path.name, {}, [])
    masks = [pair.mask.values(HEIGHT, WIDTH) for pair in pairs(tmp_path) if pair.mask]
    assert [mask.tolist() for mask in masks] == [
        box(2, 5, 1, 4, 2).tolist(),
        box(2, 5, 2, 4, 1).tolist(),
        box(2, 5, 1, 4, 255).tolist(),
    ]


def test_given_classes_keep_their_order_and_an_unknown_label_is_found(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", shape("dog", BOX), shape("kat", [[5, 5], [6, 6]]))
    options = Options(classes=["background", "dog", "cat"])
    (finding,) = find(tmp_path, options).findings
    assert (finding.kind, finding.file) == ("unknown-values", file)
    assert finding.message.startswith(f"{file} has the label 'kat', which is no class (did you mean cat?)")
    expected = box(2, 5, 1, 4, 1) + box(5, 6, 5, 6, 255)
    assert drawn(tmp_path, classes=options.classes).tolist() == expected.tolist()


def test_the_ground_is_class_0_unless_that_is_drawn_itself(tmp_path: Path) -> None:
    write(tmp_path / "a.json", shape("dog", BOX))
    assert drawn(tmp_path, classes=["other", "dog"]).tolist() == box(2, 5, 1, 4, 1).tolist()
    assert drawn(tmp_path, classes=["dog", "background"]).tolist() == (1 - box(2, 5, 1, 4, 1)).tolist()
    assert drawn(tmp_path, classes=["dog", "cat"]).tolist() == (255 - box(2, 5, 1, 4, 255)).tolist()


def test_shapes_of_a_group_are_one_object(tmp_path: Path) -> None:
    write(
        tmp_path / "a.json",
        shape("cat", [[0, 0], [1, 1]], group_id=4),
        shape("cat", [[2, 0], [3, 1]]),
        shape("cat", [[4, 0], [5, 1]], group_id=4),
        shape("dog", [[6, 0], [7, 1]], group_id=4),
        shape("background", [[7, 0], [8, 1]]),
        shape("cat", [[8, 0], [9, 1]]),
    )
    assert numbers(tmp_path)[0].tolist() == [1, 0, 2, 0, 1, 0, 3, 0, 4, 0]


@pytest.mark.parametrize(("folder", "split"), [("train", "train"), ("Valid", "val"), ("b/test/x", "test")])
def test_a_folder_names_the_split(tmp_path: Path, folder: str, split: str) -> None:
    write(tmp_path / folder / "test.json", shape("cat", BOX))
    splits = find(tmp_path, Options()).splits
    below = {"train": "test", "Valid": "test", "b/test/x": "b/x/test"}[folder]
    assert {key: [pair.name for pair in found] for key, found in splits.items()} == {split: [below]}


def test_some_files_outside_of_the_splits_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.json", shape("cat", BOX))
    write(tmp_path / "b.json", shape("cat", BOX))
    with pytest.raises(
        DataError, match=r"1 images, such as .*b.png, lie in no split, but others lie in train; move all"
    ):
        find(tmp_path, Options())


@pytest.mark.parametrize("listed", ["../pictures/x.png", "..\\pictures\\x.png", "C:\\data\\x.png", "gone.png"])
def test_the_image_is_found_by_its_path_its_name_or_beside(tmp_path: Path, listed: str) -> None:
    write(tmp_path / "labels" / "a.json", shape("cat", BOX), imagePath=listed, image=listed == "gone.png")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "pictures" / "x.png")
    (pair,) = pairs(tmp_path)
    expected = tmp_path / ("labels/a.png" if listed == "gone.png" else "pictures/x.png")
    assert (pair.name, pair.image.resolve()) == ("labels/a", expected)


@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        ({"imageData": "aGk="}, "missing", "holds its image only embedded, as imageData; save that as bad.png beside"),
        ({}, "missing", "annotates bad.png, which is not there; add the image"),
        ({"shapes": [{"points": BOX}]}, "damaged", "is not built as its format says: 'label' is missing; export"),
        ({"shapes": [shape("cat", BOX, "cube")]}, "damaged", "shape_type 'cube' is not known"),
        ({"shapes": [shape("cat", BOX, "mask", mask="aGk=")]}, "damaged", "the mask of a shape is no PNG"),
        ({"shapes": [shape("cat", [[1, 2, 3]], "polygon")]}, "damaged", "two numbers a point"),
        ({"shapes": None}, "damaged", "is not built as its format says"),
    ],
)
def test_a_file_that_cannot_be_used_is_found(tmp_path: Path, more: dict[str, Any], kind: str, message: str) -> None:
    write(tmp_path / "a.json", shape("cat", BOX))
    bad = write(tmp_path / "bad.json", image=False, **more)
    source = find(tmp_path, Options())
    (finding,) = source.findings
    assert (finding.kind, finding.file) == (kind, bad)
    assert finding.message.startswith(f"{bad} ") or finding.message.startswith(f"{bad}: ")
    assert message in finding.message
    assert "\n" not in finding.message
    assert [pair.name for pair in source.splits[UNDEALT]] == ["a"]


def test_json_that_is_none_is_found_and_that_of_others_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "a.json", shape("cat", BOX))
    (tmp_path / "broken.json").write_text('{"shapes": [')
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / ".hidden.json").write_text("{")
    (finding,) = find(tmp_path, Options()).findings
    assert finding.kind == "damaged"
    assert finding.message.startswith(f"{tmp_path / 'broken.json'} is no JSON: Expecting value")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.json", shape("cat", BOX))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "circle").symlink_to(tmp_path / "data")
    assert [pair.name for pair in pairs(tmp_path / "data")] == ["link/a"]


def test_what_makes_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find(tmp_path / "nowhere", Options())
    with pytest.raises(DataError, match="holds no JSON files of LabelMe; give the folder"):
        find(tmp_path, Options())
    write(tmp_path / "a.json")
    with pytest.raises(
        DataError, match=r"the labels make no classes \(.*at least 2 needed.*\); name them with --classes"
    ):
        find(tmp_path, Options())
    with pytest.raises(UsageError, match="--classes 3: give names"):
        find(tmp_path, Options(classes=3))
    with pytest.raises(UsageError, match="--classes: 'cat' stands twice"):
        find(tmp_path, Options(classes=["cat", "cat"]))


def test_pairs_travel_to_other_processes(tmp_path: Path) -> None:
    write(tmp_path / "a.json", shape("cat", BOX), shape("cat", [[2, 3], [4, 4]], "mask", mask=encoded(BITS)))
    assert pickle.loads(pickle.dumps(pairs(tmp_path))) == pairs(tmp_path)
