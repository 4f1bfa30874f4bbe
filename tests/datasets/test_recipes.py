"""Every recipe of configs/, from tiny native data to two training steps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from native import draw, save, write_camvid, write_cityscapes, write_voc
from typer.testing import Result

from segcli.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


def stripes(seed: int) -> np.ndarray:
    """A mask of many values."""
    return ((np.arange(40 * 56).reshape(40, 56) // 90 + seed) % 151).astype(np.uint8)


def write_ade20k(root: Path) -> None:
    home = root / "ADEChallengeData2016"
    for split, names in (("training", "ab"), ("validation", "c")):
        for seed, name in enumerate(names):
            draw(home / "images" / split / f"{name}.jpg", seed)
            save(stripes(seed), home / "annotations" / split / f"{name}.png")
    rows = "".join(f"{i}\t0.1\t10\t1\tname{i}, other\n" for i in range(1, 151))
    (home / "objectInfo150.txt").write_text(f"Idx\tRatio\tTrain\tVal\tName\n{rows}")


def write_coco_stuff(root: Path) -> None:
    for split, names in (("train", "ab"), ("val", "c")):
        for seed, name in enumerate(names):
            draw(root / f"{split}2017" / f"{name}.jpg", seed)
            save(stripes(seed), root / "stuffthingmaps_trainval2017" / f"{split}2017" / f"{name}.png")


def write_binary(root: Path) -> None:
    for split, number in (("train", 3), ("val", 2)):
        write_pairs(root / split, number, values=(0, 255, 255))


# By recipe: what writes its native data, and whether it is prepared first.
NATIVE: dict[str, tuple[Callable[[Path], object], bool]] = {
    "ade20k": (write_ade20k, True),
    "binary": (write_binary, False),
    "camvid": (write_camvid, True),
    "cityscapes": (lambda root: write_cityscapes(root, "gtFine", {"train": ["1", "2"], "val": ["3"]}), True),
    "coco_stuff": (write_coco_stuff, True),
    "folder": (lambda root: write_pairs(root, 6), True),
    "voc": (lambda root: write_voc(root, {"train": ["a", "b"], "val": ["c"]}, ["a", "b", "c"]), True),
}


def test_every_recipe_is_here_and_valid() -> None:
    recipes = {path.stem for path in CONFIGS.glob("*.yml")}
    assert recipes == {*NATIVE, "quickstart"}
    for name in recipes:
        config = load_config(CONFIGS / f"{name}.yml", [])
        assert config.dataset.root in {None, Path(f"data/{name}")}


@pytest.mark.parametrize("recipe", NATIVE)
def test_a_recipe_starts(seg: Callable[..., Result], tmp_path: Path, recipe: str) -> None:
    write, prepared = NATIVE[recipe]
    write(tmp_path / ("native" if prepared else "data/binary"))
    if prepared:
        result = seg("dataset", "prepare", recipe, "--from", "native", "--to", f"data/{recipe}")
        assert result.exit_code == 0, result.stderr
    small = [
        "train.max_steps=2", "train.image_size=32", "train.batch_size=2", "train.workers=0", "val.image_size=32",
        "encoder_weights=none", "tracking.tensorboard=false", "device=cpu", "train.channels_last=false",
    ]  # fmt: skip
    result = seg("train", "-c", CONFIGS / f"{recipe}.yml", *[word for text in small for word in ("--set", text)])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "runs" / recipe / "best" / "segcli.json").is_file()
