import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_pairs
from native import draw
from PIL import Image
from typer.testing import Result

from segcli.datasets.layouts import folder, labelme
from segcli.datasets.layouts.base import UNDEALT, Options
from segcli.datasets.layouts.pairing import match_pairs
from segcli.datasets.prepared.write import prepare
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


@pytest.mark.parametrize(
    "name", ["Screenshot 2024 at 9.41.07\u202fPM", "全角\u3000空白", "no\u00a0break", "काष\u200dठ", "emoji 👩\u200d🔬"]
)
def test_names_with_any_printable_character_or_space_match(tmp_path: Path, name: str) -> None:
    write_pairs(tmp_path, 5)
    for kind in ("images", "masks"):
        (tmp_path / kind / "000.png").rename(tmp_path / kind / f"{name}.png")
    made = prepare(folder.find(tmp_path, Options()), tmp_path / "out").dataset
    assert name in {sample.name for samples in made.splits.values() for sample in samples}


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\x1bb", "a\u2028b", os.fsdecode(b"a\xffb"), "tab\there/c"])
def test_names_that_no_list_can_hold_are_findings(tmp_path: Path, name: str) -> None:
    images = touch(tmp_path / "images", "fine.png", f"{name}.png")
    masks = touch(tmp_path / "masks", "fine.png", f"{name}.png")
    pairs, findings = match_pairs(images, masks)
    assert [pair.name for pair in pairs] == ["fine"]
    assert [finding.kind for finding in findings] == ["name", "name"]
    for finding in findings:
        assert f"{finding.file} {finding.message}".isprintable()


def test_names_match_however_they_spell_accents(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    images = touch(tmp_path / "images", f"{apart}/{apart}_rgb.jpg")
    masks = touch(tmp_path / "masks", f"{composed}/{composed}.png")
    pairs, findings = match_pairs(images, masks, "{name}_rgb")
    assert [(pair.name, pair.image.name, pair.mask and pair.mask.path.name) for pair in pairs] == [
        (f"{composed}/{composed}", f"{apart}_rgb.jpg", f"{composed}.png")
    ]
    assert findings == []
    touch(tmp_path / "masks", f"{composed}/{apart}.png")
    assert [finding.kind for finding in match_pairs(images, masks, "{name}_rgb")[1]] == ["same-stem"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_inside_the_other_is_none_of_it(tmp_path: Path, linked: bool) -> None:
    touch(tmp_path / "set", "a.jpg", "b/c.jpg")
    inner = touch(tmp_path / "elsewhere" if linked else tmp_path / "set" / "masks", "a.png", "b/c.png")
    if linked:
        (tmp_path / "set" / "masks").symlink_to(inner)
    for outer, within in ((tmp_path / "set", tmp_path / "set" / "masks"), (tmp_path / "set" / "masks" / "..", inner)):
        if outer.name == ".." and linked:
            continue  # the link leads elsewhere, and so does the way back
        pairs, findings = match_pairs(outer, within)
        assert ([(pair.name, pair.image.suffix) for pair in pairs], findings) == ([("a", ".jpg"), ("b/c", ".jpg")], [])
        pairs, findings = match_pairs(within, outer)  # images may lie in the folder of masks as well
        assert ([(pair.name, pair.image.suffix) for pair in pairs], findings) == ([("a", ".png"), ("b/c", ".png")], [])


def test_masks_below_the_images_are_left_out_of_them(tmp_path: Path, seg: Callable[..., Result]) -> None:
    write_pairs(tmp_path / "flat", 6)
    (tmp_path / "flat" / "images").rename(tmp_path / "mine")
    (tmp_path / "flat" / "masks").rename(tmp_path / "mine" / "masks")
    result = seg("dataset", "check", "mine", "--images", ".", "--masks", "masks", "--json")
    assert (result.exit_code, json.loads(result.stdout)["pairs"]) == (0, {"train": 5, "val": 1}), result.stderr
    for split, names in (("train", "0123"), ("val", "45")):
        for kind in (".", "masks"):
            (tmp_path / "mine" / kind / split).mkdir()
            for name in names:
                path = tmp_path / "mine" / kind / f"00{name}.png"
                path.rename(path.parent / split / path.name)
    result = seg("dataset", "check", "mine", "--images", ".", "--masks", "masks", "--json")
    assert (result.exit_code, json.loads(result.stdout)["pairs"]) == (0, {"train": 4, "val": 2}), result.stderr


def write_labelme(root: Path, *names: str) -> Path:
    for place, name in enumerate(names):
        draw(root / f"{name}.png", place)
        points = {"label": "thing", "shape_type": "rectangle", "points": [[5, 5], [20, 20]]}
        text = json.dumps(
            {"shapes": [points], "imagePath": f"{Path(name).name}.png", "imageHeight": 40, "imageWidth": 56}
        )
        (root / f"{name}.json").write_text(text)
    return root


@pytest.mark.parametrize("name", ["a\tb", os.fsdecode(b"a\xffb"), "line\nbreak"])
def test_annotated_images_whose_names_no_list_can_hold_are_findings(
    tmp_path: Path, name: str, seg: Callable[..., Result]
) -> None:
    write_labelme(tmp_path / "mine", *"abcdef", name)
    result = seg("dataset", "check", "mine", "--layout", "labelme", "--json")
    kinds = [finding["kind"] for finding in json.loads(result.stdout)["findings"]]
    assert (result.exit_code, "name" in kinds) == (1, True)
    result = seg("dataset", "prepare", "labelme", "--from", "mine")
    assert (result.exit_code, "is not named in UTF-8" in result.stderr) == (1, True), result.stderr
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "data").glob(".*")) == []


def test_annotations_find_images_however_their_names_are_spelt(tmp_path: Path) -> None:
    write_labelme(tmp_path / "mine", "caf\u00e9", "b")
    (tmp_path / "mine" / "images").mkdir()
    (tmp_path / "mine" / "caf\u00e9.png").rename(tmp_path / "mine" / "images" / "cafe\u0301.png")
    found = labelme.find(tmp_path / "mine", Options())
    assert ([pair.name for pair in found.splits[UNDEALT]], found.findings) == (["b", "caf\u00e9"], [])
