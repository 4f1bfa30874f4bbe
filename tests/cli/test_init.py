"""seg init, from a folder to a config that trains."""

import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import write_pairs
from typer.testing import Result

from segcli.config import RunConfig, load_config


def test_init_writes_a_config_that_trains(seg: Callable[..., Result], tiny: Callable[..., RunConfig]) -> None:
    tiny()  # writes data/train and data/val
    Path("data/train").rename("blobs")
    made = seg("init", "blobs", "--budget", "1h")  # prepares it first
    assert made.exit_code == 0, made.output
    assert "seg train -c blobs.yml" in made.stderr
    assert "training images: " in made.stderr
    assert Path("blobs.yml").read_text(encoding="utf-8").startswith("# Made by `seg init blobs --budget 1h`.")
    shutil.copytree("blobs", "other/blobs")
    other = seg("init", "other/blobs", "-o", "other.yml")
    assert (other.exit_code, "data/blobs holds what was prepared from blobs;" in other.stderr) == (2, True)
    mistaken = seg("init", "blobs", "--domain", "rode")
    assert (mistaken.exit_code, "unknown domain 'rode'; did you mean road?" in mistaken.stderr) == (2, True)
    assert load_config(Path("blobs.yml")).dataset.root == Path("data/blobs")
    again = seg("init", "data/blobs")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert seg("init", "data/blobs", "--budget", "soon").exit_code == 2
    trained = seg("train", "-c", "blobs.yml", "--set", "train.max_steps=1", "--set", "device=cpu")
    assert trained.exit_code == 0, trained.output


def test_init_reads_what_prepare_reads_and_tells_what_the_doctor_found(
    seg: Callable[..., Result],
) -> None:
    for split, number in (("train", 6), ("val", 2)):  # the same images in both
        write_pairs(Path("drawn"), number, values=(0, 255, 255))
        for kind in ("images", "masks"):
            shutil.move(f"drawn/{kind}", f"data/vessels/{kind}/{split}")
    vague = seg("init", "data/vessels")
    assert (vague.exit_code, "--map 255=1 makes it class 1" in vague.stderr) == (1, True)
    made = seg("init", "data/vessels", "--map", "255=1", "--classes", "ground,vessel", "--device", "cpu")
    assert made.exit_code == 0, made.output
    config = load_config(Path("vessels.yml"))
    assert config.dataset.root == Path("data/vessels_prepared")  # the folder itself is the data
    assert "--map 255=1" in Path("vessels.yml").read_text(encoding="utf-8").replace("\n#", "").splitlines()[0]
    assert "all findings: seg dataset check data/vessels --layout folder" in made.stderr
    assert "val/000.png" in made.stderr
    useless = seg("init", "data/vessels_prepared", "-o", "again.yml", "--map", "255=1")
    assert (useless.exit_code, "is prepared already; --map 255=1 tells" in useless.stderr) == (2, True)
