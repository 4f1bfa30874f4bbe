from pathlib import Path

import pytest
from PIL import Image

from segcli.datasets.layouts.pairing import match_pairs
from segcli.errors import DataError, UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(folder / name)
    return folder


def test_other_suffixes_and_nested_folders_match(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a/1.jpg", "b/1.png", "2.JPG")
    masks = touch(tmp_path / "masks", "a/1.png", "b/1.tif", "2.bmp")
    pairs, findings = match_pairs(images, masks)
    assert [pair.name for pair in pairs] == ["2", "a/1", "b/1"]
    assert findings == []


def test_patterns_match_stems_that_differ(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "x/a_rgb.png", "x/b_rgb.png", "x/a_depth.png")
    masks = touch(tmp_path / "masks", "x/seg_a.png", "x/seg_b.png")
    pairs, findings = match_pairs(images, masks, "{name}_rgb", "seg_{name}")
    assert [pair.name for pair in pairs] == ["x/a", "x/b"]
    assert findings == []
    with pytest.raises(UsageError, match="'mask' says nothing of where the name stands"):
        match_pairs(images, masks, mask_name="mask")
    with pytest.raises(DataError, match="holds no images named {name}_bgr"):
        match_pairs(images, masks, "{name}_bgr")


@pytest.mark.parametrize(
    ("images", "masks", "options"),
    [
        (("001.jpg", "002.jpg"), ("001_mask.png", "002_mask.png"), ["--mask-name '{name}_mask'"]),
        (("a_rgb.png", "b_rgb.png"), ("a.png", "b.png"), ["--image-name '{name}_rgb'"]),
        (("img_a.png", "img_b.png"), ("seg_a.png", "seg_b.png"), ["--image-name 'img_{name}'", "--mask-name 'seg_{name}'"]),
        (("c/a_x.png", "c/b_x.png"), ("c/a_y.png", "c/b_y.png"), ["--image-name '{name}_x'", "--mask-name '{name}_y'"]),
    ],
)  # fmt: skip
def test_names_that_never_match_are_answered_with_the_options(
    tmp_path: Path, images: tuple[str, ...], masks: tuple[str, ...], options: list[str]
) -> None:
    folders = touch(tmp_path / "images", *images), touch(tmp_path / "masks", *masks)
    with pytest.raises(DataError, match="no image of .* has a mask of the same stem") as caught:
        match_pairs(*folders)
    assert str(caught.value).endswith("; add " + " ".join(options))


def test_names_that_have_nothing_in_common_are_shown(tmp_path: Path) -> None:
    folders = touch(tmp_path / "images", "cat.png", "dog.png"), touch(tmp_path / "masks", "1.png", "22.png")
    with pytest.raises(DataError, match=r"named like cat.png and 1.png\); rename them, or say how"):
        match_pairs(*folders)


def test_masks_may_lie_beside_their_images(tmp_path: Path) -> None:
    folder = touch(tmp_path / "flat", "a.jpg", "b.jpg", "a_mask.png", "b_mask.png")
    pairs, findings = match_pairs(folder, folder, mask_name="{name}_mask")
    assert ([pair.name for pair in pairs], findings) == (["a", "b"], [])


def test_a_shared_ending_is_no_part_of_the_pattern(tmp_path: Path) -> None:
    folders = (
        touch(tmp_path / "images", "010.png", "020.png"),
        touch(tmp_path / "masks", "010_mask.png", "020_mask.png"),
    )
    with pytest.raises(DataError, match=r"; add --mask-name '\{name\}_mask'$"):
        match_pairs(*folders)
