from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from segcli.task import IGNORED_COLOUR, Task, begins_with_background, default_palette, voc_palette

# How colours of linear RGB look without one kind of cones. The matrices of Machado et al. 2009 (severity 1), and those of
# Viénot et al. 1999 as DaltonLens 0.1.5 computes them for sRGB.
LACKING = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "protan, Viénot": [[0.10889, 0.89111, 0], [0.10889, 0.89111, 0], [0.00447, -0.00447, 1]],
    "deutan, Viénot": [[0.29031, 0.70969, 0], [0.29031, 0.70969, 0], [-0.02197, 0.02197, 1]],
    "nothing": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


def in_lab(colours: Sequence[Sequence[int]], lacking: str) -> np.ndarray:
    """Colours (N×3 of 0…255) as seen, in CIELAB under D65 (CIE 15:2004)."""
    values = np.asarray(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(LACKING[lacking]).T).clip(0, 1)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175],
                       [0.0193339, 0.119192, 0.9503041]])  # fmt: skip
    xyz = seen @ to_xyz.T / to_xyz.sum(axis=1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def least_distance(colours: Sequence[Sequence[int]], lacking: str) -> float:
    seen = in_lab(colours, lacking)
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))


NAMES = [f"thing {number}" for number in range(300)]


@pytest.mark.parametrize("lacking", LACKING)
def test_default_colours_can_be_told_apart_by_colour_blind_eyes(lacking: str) -> None:
    # About 2.3 is just noticeable (Mahy et al. 1994).
    assert least_distance(default_palette(NAMES[:5]), lacking) > 25
    assert least_distance(default_palette(NAMES[:11]), lacking) > 11
    assert least_distance([*default_palette(NAMES[:20]), (0, 0, 0), IGNORED_COLOUR], lacking) > 9
    assert least_distance(default_palette(NAMES[:20]), lacking) > 2 * least_distance(voc_palette(21)[1:], lacking)


def test_default_colours_are_all_different_however_many() -> None:
    palette = default_palette(NAMES)
    assert len({*palette, (0, 0, 0), IGNORED_COLOUR}) == len(NAMES) + 2


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["background", "cat"], True), (["_background_", "cat", "dog"], True), (["not_road", "road"], True),
        (["class_0", "class_1"], True), (["class_0", "class_1", "class_2"], False), (["sky", "building"], False),
        (["nose", "face"], False), (["背景", "猫"], False),
    ],
)  # fmt: skip
def test_only_a_background_is_black(classes: list[str], expected: bool) -> None:
    assert begins_with_background(classes) == expected
    assert (Task.of(classes).palette[0] == (0, 0, 0)) == Task.of(classes).has_background == expected


def test_a_given_palette_stays() -> None:
    task = Task.of(["sky", "car"], [(0, 0, 0), (1, 2, 3)])
    assert task.palette == ((0, 0, 0), (1, 2, 3))
    assert not task.has_background


def test_the_palette_is_the_published_one_of_voc() -> None:
    assert voc_palette(256)[:9] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
        (64, 0, 0),
    ]  # fmt: skip
    assert voc_palette(256)[20] == (0, 64, 128)
    assert voc_palette(256)[255] == (224, 224, 192)
    assert len(set(voc_palette(256))) == 256


def test_a_task_survives_json() -> None:
    task = Task.of(["a", "b"], ignore_index=9)
    assert Task.from_json(task.to_json()) == task
    assert task.num_head_channels == 1
    assert Task.of(["a", "b", "c"]).num_head_channels == 3
