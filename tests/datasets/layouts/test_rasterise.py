import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from segcli.datasets.layouts.rasterise import DrawnMask, DrawnObject, Ellipse, Polygon, Runs, Shape, rectangle, stroke
from segcli.datasets.masks import look_at_mask
from segcli.errors import FileProblem


def drawn(shape: Shape, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), int)
    rows, columns, inside = shape.patch(height, width)
    mask[rows, columns][inside] = 1
    return mask


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def star(rng: np.random.Generator, size: float) -> np.ndarray:
    """A random outline, about as long and wide as the size."""
    angles = np.sort(rng.random(rng.integers(5, 30))) * 2 * np.pi
    radii = size / 2 * (0.5 + 0.5 * rng.random(len(angles)))
    return size * 0.6 + 3 * rng.random(2) + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]


def test_a_pixel_belongs_to_a_rectangle_if_its_centre_does() -> None:
    expected = [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert drawn(rectangle(2, 1, 5, 3), 4, 7).tolist() == expected
    assert drawn(rectangle(5, 3, 2, 1), 4, 7).tolist() == expected
    assert drawn(rectangle(1.6, 0.6, 5.4, 3.4), 4, 7).tolist() == expected


def test_a_centre_on_an_edge_belongs_to_the_shape_on_its_right_or_below() -> None:
    left, right = drawn(rectangle(0, 0, 2.5, 1.5), 3, 5), drawn(rectangle(2.5, 1.5, 5, 3), 3, 5)
    assert left.tolist() == [[1, 1, 0, 0, 0], [0] * 5, [0] * 5]
    assert right.tolist() == [[0] * 5, [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]


def test_polygons_are_filled_as_coco_fills_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        points = star(rng, 100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools 2.0 with numpy 2
            expected = coco.decode(coco.merge(coco.frPyObjects([points.ravel().tolist()], 130, 130)))
        assert iou(drawn(Polygon.of(points.tolist()), 130, 130), expected) >= 0.98


def test_polygons_are_neither_fat_nor_thin() -> None:
    rng = np.random.default_rng(1)
    outlines = [star(rng, 30) for _ in range(300)]
    areas = [abs(np.sum(p[:, 0] * np.roll(p[:, 1], -1) - np.roll(p[:, 0], -1) * p[:, 1])) / 2 for p in outlines]
    pixels = [drawn(Polygon.of(points.tolist()), 40, 40).sum() for points in outlines]
    assert sum(pixels) / sum(areas) == pytest.approx(1, abs=0.005)


def test_a_path_within_a_path_is_a_hole() -> None:
    outer, inner = [(0, 0), (5, 0), (5, 5), (0, 5)], [(1, 1), (1, 4), (4, 4), (4, 1)]
    expected = np.ones((5, 5), int)
    expected[1:4, 1:4] = 0
    assert (drawn(Polygon.of(outer, inner), 5, 5) == expected).all()


def test_polygons_are_cut_at_the_image() -> None:
    assert drawn(rectangle(-3, -9, 2, 2), 3, 4).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert drawn(rectangle(-1e12, -1e12, 1e12, 1e12), 3, 4).all()
    assert not drawn(rectangle(10, 10, 20, 20), 3, 4).any()
    assert not drawn(Polygon.of([(-9, 0), (-2, 0), (-2, 3)]), 3, 4).any()


@pytest.mark.parametrize("paths", [[], [[]], [[(1, 1)]], [[(0, 0), (3, 3)]]])
def test_a_polygon_without_area_covers_nothing(paths: list[list[tuple[float, float]]]) -> None:
    assert not drawn(Polygon.of(*paths), 4, 4).any()


@pytest.mark.parametrize("path", [[(0, 0), (1, float("nan"))], [(0, 0), (1, float("inf"))], [(1, 2, 3)], [1, 2]])
def test_points_that_are_no_points_are_refused(path: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="two numbers a point"):
        Polygon.of(path)


def test_a_circle_covers_the_pixels_whose_centres_lie_within() -> None:
    assert drawn(Ellipse(2.5, 2.5, 1.2, 1.2), 5, 5).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert drawn(Ellipse(0, 0, 1.6, 1.6), 3, 3).tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_an_ellipse_is_turned_clockwise() -> None:
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    along, across = 40 * np.cos(angles), 15 * np.sin(angles)
    cosine, sine = np.cos(np.radians(30)), np.sin(np.radians(30))
    outline = np.stack([50 + along * cosine - across * sine, 45 + along * sine + across * cosine], 1)
    expected = drawn(Polygon.of(outline.tolist()), 90, 100)
    assert iou(drawn(Ellipse(50, 45, 40, 15, 30), 90, 100), expected) >= 0.995
    assert (drawn(Ellipse(50, 45, 40, 15, 90), 90, 100) == drawn(Ellipse(50, 45, 15, 40), 90, 100)).all()


def test_an_ellipse_needs_numbers() -> None:
    assert not drawn(Ellipse(2, 2, 0, 3), 5, 5).any()
    with pytest.raises(ValueError, match="no number"):
        Ellipse(1, float("nan"), 2, 2)


def test_a_rectangle_is_turned_about_its_centre() -> None:
    assert (drawn(rectangle(1, 3, 7, 5, 90), 8, 8) == drawn(rectangle(3, 1, 5, 7), 8, 8)).all()


def test_a_line_is_as_wide_as_asked() -> None:
    expected = np.zeros((8, 10), int)
    expected[3:5, 1:9] = 1
    assert (drawn(stroke([(2, 4), (8, 4)])[0], 8, 10) == expected).all()
    assert drawn(stroke([(5, 5), (5, 5)])[0], 10, 10).sum() == 4
    diagonal, upright = stroke([(20, 20), (60, 50), (60, 90)], width=6)
    assert drawn(diagonal, 100, 100).sum() == pytest.approx(6 * (50 + 6), rel=0.02)
    assert drawn(upright, 100, 100).sum() == 6 * (40 + 6)


def test_runs_go_along_rows_or_down_columns() -> None:
    assert drawn(Runs.of([1, 2, 2, 1], 3, 2, left=1), 3, 5).tolist() == [
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    assert drawn(Runs.of([1, 2, 2, 1], 3, 2, by_columns=True), 2, 3).tolist() == [[0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(("left", "top"), [(0, 0), (-2, 1), (3, -1), (-9, 0), (9, 9)])
def test_a_bitmap_is_cut_at_the_image(left: int, top: int) -> None:
    bits = np.random.default_rng(0).random((3, 4)) < 0.5
    canvas = np.zeros((40, 40), int)
    canvas[15 + top : 18 + top, 15 + left : 19 + left] = bits
    assert (drawn(Runs.of_bits(bits, left, top), 5, 6) == canvas[15:20, 15:21]).all()


@pytest.mark.parametrize("counts", [[2, 3], [2, 30], [-2, 8], []])
def test_runs_must_add_up(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="do not add up to 3×2 pixels"):
        Runs.of(counts, 3, 2)


def mask_of(*objects: DrawnObject, size: tuple[int, int] | None = (2, 4), ground: int = 0) -> DrawnMask:
    return DrawnMask(Path("a.json"), "a.jpg", size, objects, ground)


LOWER = DrawnObject((rectangle(0, 0, 2, 2), rectangle(3, 0, 4, 1)), 2, 1)
UPPER = DrawnObject((rectangle(1, 0, 2, 1),), 1, 2)


def test_later_objects_lie_over_earlier_ones() -> None:
    mask = mask_of(LOWER, UPPER, ground=7)
    assert mask.values(2, 4).tolist() == [[2, 1, 7, 2], [2, 2, 7, 7]]
    assert mask.values(2, 4).dtype == np.uint8
    numbers = mask.instances(2, 4)
    assert numbers is not None
    assert (numbers.tolist(), numbers.dtype) == ([[1, 2, 0, 1], [1, 1, 0, 0]], np.uint16)


def test_large_class_indices_fit() -> None:
    values = mask_of(DrawnObject((rectangle(0, 0, 1, 1),), 300)).values(2, 4)
    assert (values[0, 0], values.dtype) == (300, np.int32)


def test_a_look_counts_and_tells_masks_apart() -> None:
    look = look_at_mask(mask_of(LOWER, UPPER), 2, 4)
    assert (look.size, look.values) == ((2, 4), {0: 3, 1: 1, 2: 4})
    assert look.digest == look_at_mask(mask_of(LOWER, UPPER, size=None), 2, 4).digest
    assert look.digest != look_at_mask(mask_of(UPPER, LOWER), 2, 4).digest
    assert look_at_mask(mask_of(size=None), 2, 4).digest != look_at_mask(mask_of(size=None), 4, 2).digest


def test_another_size_than_the_annotation_states_is_refused() -> None:
    for read in (mask_of().values, mask_of().instances):
        with pytest.raises(
            FileProblem, match=r"^a.json says that a.jpg is 4×2, but it is 5×3 \(width×height\)"
        ) as caught:
            read(3, 5)
        assert caught.value.kind == "size-mismatch"


def test_a_mask_travels_to_other_processes() -> None:
    mask = mask_of(LOWER, UPPER, DrawnObject((Runs.of([0, 2], 2, 1), Ellipse(1, 1, 1, 1)), 1))
    assert pickle.loads(pickle.dumps(mask)) == mask
