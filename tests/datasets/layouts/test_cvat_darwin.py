import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated import HEIGHT, WIDTH, box, drawn, names, numbers, pair_of, picture

from segcli.datasets.layouts.base import UNDEALT, Options, Source
from segcli.datasets.layouts.cvat import find as find_cvat
from segcli.datasets.layouts.darwin import find as find_darwin
from segcli.errors import DataError, UsageError


def classes(source: Source) -> tuple[str, ...]:
    assert source.task is not None
    return source.task.classes


def cvat_image(shapes: str = "", name: str = "a.png", more: str = "") -> str:
    return f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}" {more}>{shapes}</image>'


def write_cvat(file: Path, *images: str, labels: tuple[str, ...] = ()) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"<label><name>{name}</name></label>" for name in labels)
    meta = f"<meta><task><labels>{listed}</labels></task></meta>"
    file.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{"".join(images)}</annotations>'
    )
    return file


def cvat(root: Path, shapes: str, **options: Any) -> Source:
    """The source of one image with some shapes."""
    write_cvat(root / "annotations.xml", cvat_image(shapes))
    picture(root / "images" / "a.png")
    return find_cvat(root, Options(**options))


SQUARE = '<polygon label="cat" points="1.00,2.00;4.00,2.00;4.00,5.00;1.00,5.00" z_order="0"/>'
UPPER = '<box label="dog" xtl="2" ytl="1" xbr="6" ybr="3" z_order="{}"/>'


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (SQUARE, box(2, 5, 1, 4)),
        ('<box label="cat" xtl="1" ytl="2" xbr="4" ybr="5" occluded="0"/>', box(2, 5, 1, 4)),
        ('<box label="cat" xtl="1" ytl="3" xbr="7" ybr="5" rotation="90.0"/>', box(1, 7, 3, 5)),
        ('<ellipse label="cat" cx="5" cy="4" rx="2.1" ry="0.8"/>', box(3, 5, 3, 7)),
        ('<polyline label="cat" points="2,4;7,4"/>', box(3, 5, 1, 8)),
        (
            '<mask label="cat" rle="0, 3, 1, 2" left="4" top="5" width="3" height="2"/>',
            box(5, 7, 4, 7) - box(6, 7, 4, 5),
        ),
        ('<polygon label="cat" points="-5,-5;50,-5;50,50;-5,50"/>', box(0, HEIGHT, 0, WIDTH)),
    ],
)
def test_cvat_shapes_are_drawn(tmp_path: Path, shape: str, expected: np.ndarray) -> None:
    assert drawn(cvat(tmp_path, shape)) == expected.tolist()


def test_cvat_shapes_lie_over_one_another_by_z_order(tmp_path: Path) -> None:
    over = box(2, 5, 1, 4)
    over[1:3, 2:6] = 2
    assert drawn(cvat(tmp_path, UPPER.format(3) + SQUARE)) == over.tolist()
    under = box(1, 3, 2, 6, 2)
    under[2:5, 1:4] = 1
    assert drawn(cvat(tmp_path, UPPER.format(-1) + SQUARE)) == under.tolist()


def test_cvat_shapes_of_a_group_are_one_object(tmp_path: Path) -> None:
    shapes = [
        f'<box label="{label}" xtl="{left}" ytl="0" xbr="{left + 1}" ybr="1" {group}/>'
        for left, (label, group) in enumerate(
            [
                ("cat", 'group_id="2"'),
                ("cat", 'group_id="0"'),
                ("cat", 'group_id="2"'),
                ("cat", 'group_id="0"'),
                ("background", ""),
            ]
        )
    ]
    assert numbers(cvat(tmp_path, "".join(shapes)))[0][:6] == [1, 2, 1, 3, 0, 0]


def test_cvat_classes_follow_the_project_and_what_covers_nothing_is_none(tmp_path: Path) -> None:
    labels = "".join(
        f"<label><name>{name}</name><type>{kind}</type></label>"
        for name, kind in [
            ("wolf", "any"),
            ("cat", "polygon"),
            ("sunny", "tag"),
            ("eye", "points"),
            ("background", "any"),
        ]
    )
    shapes = f'{SQUARE}<points label="eye" points="1,1"/><tag label="sunny"/><box label="ant" xtl="0" ytl="0" xbr="1" ybr="1"/>'
    write_cvat(tmp_path / "annotations.xml", f"<meta><project>{labels}</project></meta>", cvat_image(shapes))
    picture(tmp_path / "images" / "a.png")
    assert classes(find_cvat(tmp_path, Options())) == ("background", "wolf", "cat", "ant")
    source = find_cvat(tmp_path, Options(classes=["background", "cat"]))
    (finding,) = source.findings
    assert finding.kind == "unknown-values"
    assert "has the label 'ant', which is no class (did you mean cat?); add it to --classes" in finding.message
    assert drawn(source) == (box(2, 5, 1, 4) + box(0, 1, 0, 1, 255)).tolist()


def test_cvat_images_without_shapes_are_background(tmp_path: Path) -> None:
    write_cvat(tmp_path / "annotations.xml", cvat_image(), labels=("cat",))
    picture(tmp_path / "a.png")
    source = find_cvat(tmp_path, Options())
    assert drawn(source) == box(0, 0, 0, 0).tolist()
    assert names(source) == {UNDEALT: ["a"]}


def test_cvat_splits_come_from_subsets_files_and_folders(tmp_path: Path) -> None:
    write_cvat(tmp_path / "annotations.xml", cvat_image(SQUARE, more='subset="Train"'), cvat_image(name="val/b.png"))
    write_cvat(tmp_path / "test.xml", cvat_image(name="x/c.png"))
    write_cvat(tmp_path / "validation" / "annotations.xml", cvat_image(name="a.png"))
    for file in ("images/Train/a.png", "images/val/b.png", "x/c.png", "validation/images/a.png"):
        picture(tmp_path / file)
    source = find_cvat(tmp_path, Options())
    assert names(source) == {"train": ["a"], "val": ["a", "b"], "test": ["x/c"]}
    images = {pair.image.relative_to(tmp_path).as_posix() for found in source.splits.values() for pair in found}
    assert images == {"images/Train/a.png", "images/val/b.png", "x/c.png", "validation/images/a.png"}


def test_cvat_reads_the_one_file_that_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "a.png")
    write_cvat(tmp_path / "one.xml", cvat_image(SQUARE))
    write_cvat(tmp_path / "two.xml", cvat_image(SQUARE), cvat_image(name="b.png"))
    source = find_cvat(tmp_path, Options(masks="one.xml", images="pictures"))
    assert (names(source), source.findings) == ({UNDEALT: ["a"]}, [])


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (cvat_image(name="gone.png"), "missing", "annotates gone.png, which is not there; add the image"),
        (cvat_image('<box label="cat"/>'), "damaged", "image a.png is not built as its format says: 'xtl' is missing"),
        (cvat_image('<polygon points="1,2"/>'), "damaged", "image a.png is not built as its format says: 'label' is"),
        (cvat_image('<polygon label="cat" points="1,2;3"/>'), "damaged", "image a.png is not built"),
        (
            cvat_image('<mask label="cat" rle="1, 2" left="0" top="0" width="2" height="2"/>'),
            "damaged",
            "the run lengths do not add up to 2×2 pixels",
        ),
        (
            cvat_image(more='id="1"').replace('id="0" ', "").replace(f'height="{HEIGHT}"', ""),
            "damaged",
            "'height' is missing",
        ),
    ],
)
def test_a_cvat_image_that_cannot_be_used_is_found(tmp_path: Path, image: str, kind: str, message: str) -> None:
    file = write_cvat(tmp_path / "annotations.xml", image, cvat_image(SQUARE, "good.png"))
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "images" / "good.png")
    source = find_cvat(tmp_path, Options())
    (finding,) = source.findings
    assert (finding.kind, finding.file) == (kind, file)
    assert finding.message.startswith(f"{file}")
    assert message in finding.message
    assert "\n" not in finding.message
    assert names(source) == {UNDEALT: ["good"]}


def test_an_image_elsewhere_is_found_by_its_name_if_that_stands_once(tmp_path: Path) -> None:
    write_cvat(tmp_path / "annotations.xml", cvat_image(SQUARE), cvat_image(name="b.png"))
    for file in ("x/a.png", "x/b.png", "y/b.png"):
        picture(tmp_path / "images" / file)
    source = find_cvat(tmp_path, Options())
    assert pair_of(source).image == tmp_path / "images" / "x" / "a.png"
    assert [finding.kind for finding in source.findings] == ["missing"]


def test_cvat_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no XML file of 'CVAT for images 1.1'; export the task"):
        find_cvat(tmp_path, Options())
    (tmp_path / "voc.xml").write_text("<annotation><object/></annotation>")
    with pytest.raises(DataError, match=r"holds no XML file of 'CVAT for images 1.1'; export the task"):
        find_cvat(tmp_path, Options())
    (tmp_path / "video.xml").write_text('<annotations><track id="0"/></annotations>')
    with pytest.raises(DataError, match=r"video.xml is of 'CVAT for video'; export it as"):
        find_cvat(tmp_path, Options())
    (tmp_path / "broken.xml").write_text("<annotations>")
    with pytest.raises(DataError, match=r"broken.xml is no XML: no element found.*; export it anew"):
        find_cvat(tmp_path, Options())


def test_nothing_usable_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    write_cvat(tmp_path / "annotations.xml", cvat_image(SQUARE), cvat_image(SQUARE, "b.png"))
    with pytest.raises(
        DataError, match=r"no image can be used, for 2 reasons; the first: .* annotates a.png, which is not"
    ):
        find_cvat(tmp_path, Options())


def test_an_image_annotated_twice_is_found(tmp_path: Path) -> None:
    source = cvat(tmp_path, SQUARE)
    write_cvat(tmp_path / "more.xml", cvat_image(UPPER.format(0)))
    source = find_cvat(tmp_path, Options())
    (finding,) = source.findings
    assert finding.kind == "same-stem"
    assert finding.message.endswith("a.png have the same name a; rename one, or annotate it once")
    assert drawn(source) == box(2, 5, 1, 4).tolist()


def points(*path: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in path]


OUTER = points((0, 0), (6, 0), (6, 6), (0, 6))
INNER = points((2, 2), (4, 2), (4, 4), (2, 4))
RING = box(0, 6, 0, 6) - box(2, 4, 2, 4)
BOUNDS = {"x": 1, "y": 2, "w": 3, "h": 3}


def write_darwin(file: Path, *annotations: dict[str, Any], item: dict[str, Any] | None = None) -> Path:
    """A file of Darwin JSON 2.0."""
    slot = {"type": "image", "slot_name": "0", "width": WIDTH, "height": HEIGHT}
    file.parent.mkdir(parents=True, exist_ok=True)
    item = {"name": "a.png", "path": "/", "slots": [slot], **(item or {})}
    file.write_text(json.dumps({"version": "2.0", "item": item, "annotations": annotations}))
    return file


def darwin(root: Path, *annotations: dict[str, Any], **options: Any) -> Source:
    write_darwin(root / "a.json", *annotations)
    picture(root / "images" / "a.png")
    return find_darwin(root, Options(**options))


def raster(rle: list[int]) -> list[dict[str, Any]]:
    layer = {"dense_rle": rle, "mask_annotation_ids_mapping": {"x": 1, "y": 2}, "total_pixels": HEIGHT * WIDTH}
    masks = [{"id": number, "name": name, "mask": {}} for number, name in (("x", "cat"), ("y", "dog"))]
    return [*masks, {"id": "z", "name": "__raster_layer__", "raster_layer": layer}]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ({"polygon": {"paths": [OUTER, INNER]}, "bounding_box": BOUNDS}, RING),
        ({"polygon": {"path": OUTER}}, box(0, 6, 0, 6)),
        ({"polygon": {"path": OUTER, "additional_paths": [INNER]}}, RING),
        ({"complex_polygon": {"path": [OUTER, INNER]}}, RING),
        ({"bounding_box": BOUNDS}, box(2, 5, 1, 4)),
        ({"line": {"path": points((2, 4), (7, 4))}}, box(3, 5, 1, 8)),
        (
            {"ellipse": {"angle": np.pi / 2, "center": {"x": 5, "y": 4}, "radius": {"x": 3.2, "y": 0.8}}},
            box(2, 6, 4, 6),
        ),
    ],
)
def test_darwin_shapes_are_drawn(tmp_path: Path, annotation: dict[str, Any], expected: np.ndarray) -> None:
    tag = {"name": "sunny", "tag": {}}
    source = darwin(tmp_path, {"name": "cat", "slot_names": ["0"], **annotation}, tag, {"name": "eye", "keypoint": {}})
    assert drawn(source) == expected.tolist()
    assert classes(source) == ("background", "cat")


def test_darwin_raster_layers_are_drawn(tmp_path: Path) -> None:
    source = darwin(tmp_path, *raster([0, 11, 2, 3, 0, 7, 1, 2, 0, HEIGHT * WIDTH - 23]))
    assert drawn(source) == (box(1, 2, 1, 4, 2) + box(2, 3, 1, 3, 1)).tolist()
    assert numbers(source) == (box(1, 2, 1, 4, 2) + box(2, 3, 1, 3, 1)).tolist()


def test_darwin_1_is_read(tmp_path: Path) -> None:
    image = {"filename": "a.png", "width": WIDTH, "height": HEIGHT, "path": "/", "url": "…"}
    annotations = [
        {"name": "dog", "polygon": {"path": OUTER}},
        {"name": "cat", "complex_polygon": {"path": [INNER]}},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"image": image, "annotations": annotations}))
    picture(tmp_path / "a.png")
    source = find_darwin(tmp_path, Options())
    assert drawn(source) == (box(0, 6, 0, 6, 2) - box(2, 4, 2, 4, 1)).tolist()
    assert numbers(source) == (box(0, 6, 0, 6, 1) + box(2, 4, 2, 4, 1)).tolist()


def test_darwin_annotations_of_other_slots_are_passed_over(tmp_path: Path) -> None:
    polygon = {"polygon": {"paths": [OUTER]}, "name": "cat"}
    source = darwin(tmp_path, {**polygon, "slot_names": ["0"]}, {**polygon, "slot_names": ["1", "0"], "name": "dog"})
    assert classes(source) == ("background", "cat")


def test_darwin_folders_name_images_and_splits(tmp_path: Path) -> None:
    annotation = {"name": "cat", "bounding_box": BOUNDS}
    write_darwin(tmp_path / "releases/latest/1.json", annotation, item={"name": "a.png", "path": "/train/x"})
    write_darwin(tmp_path / "releases/latest/2.json", annotation, item={"name": "a.png", "path": "/val"})
    picture(tmp_path / "images" / "train" / "x" / "a.png")
    picture(tmp_path / "images" / "val" / "a.png")
    source = find_darwin(tmp_path, Options())
    assert names(source) == {"train": ["x/a"], "val": ["a"]}
    assert [pair.image for pair in source.splits["train"]] == [tmp_path / "images" / "train" / "x" / "a.png"]


@pytest.mark.parametrize(
    ("annotations", "item", "kind", "message"),
    [
        ([], {"name": "gone.png"}, "missing", "annotates gone.png, which is not there"),
        ([{"polygon": {"paths": [OUTER]}}], {}, "damaged", "is not built as its format says: 'name' is missing"),
        ([{"name": "cat", "frames": {}}], {}, "damaged", "it is of a video; export its frames as images"),
        (raster([0, 3]), {}, "damaged", "run lengths of its raster layer do not add up to 10×8 pixels"),
        (raster([0, 80]), {"slots": []}, "damaged", "it has a raster layer, but no width and height"),
        ([{"name": "cat", "polygon": {"path": [{"x": 1}]}}], {}, "damaged", "'y' is missing"),
    ],
)
def test_a_darwin_file_that_cannot_be_used_is_found(
    tmp_path: Path, annotations: list[dict[str, Any]], item: dict[str, Any], kind: str, message: str
) -> None:
    bad = write_darwin(tmp_path / "bad.json", *annotations, item=item)
    source = darwin(tmp_path, {"name": "cat", "bounding_box": BOUNDS})
    (finding,) = source.findings
    assert (finding.kind, finding.file) == (kind, bad)
    assert finding.message.startswith(f"{bad} ")
    assert message in finding.message
    assert names(source) == {UNDEALT: ["a"]}


def test_what_is_no_darwin_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match="holds no Darwin JSON files; give the folder of a V7 export"):
        find_darwin(tmp_path, Options())
    with pytest.raises(UsageError, match="--classes 2: give names"):
        darwin(tmp_path, {"name": "cat", "bounding_box": BOUNDS}, classes=2)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_darwin(tmp_path / "nowhere", Options())


def test_another_size_than_the_file_states_is_found_when_drawn(tmp_path: Path) -> None:
    mask = pair_of(darwin(tmp_path, {"name": "cat", "bounding_box": BOUNDS})).mask
    assert mask is not None
    with pytest.raises(DataError, match=r"a.json says that a.png is 10×8, but it is 20×16 \(width×height\)"):
        mask.values(16, 20)


def test_pairs_travel_to_other_processes(tmp_path: Path) -> None:
    for source in (cvat(tmp_path / "cvat", SQUARE), darwin(tmp_path / "v7", *raster([1, HEIGHT * WIDTH]))):
        assert pickle.loads(pickle.dumps(source.splits)) == source.splits
