"""seg init, from a folder to a config that trains."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from conftest import write_pairs
from typer.testing import Result

from segcli.config import load_config
from segcli.datasets.dataset import Dataset
from segcli.engine.planning import figures
from segcli.errors import UsageError


def test_init_makes_a_config_that_trains_of_what_prepare_reads(seg: Callable[..., Result]) -> None:
    for split, number in (("train", 6), ("val", 2)):  # the same images in both
        write_pairs(Path("drawn"), number, values=(0, 255, 255))
        for kind in ("images", "masks"):
            shutil.move(f"drawn/{kind}", f"blobs/{kind}/{split}")
    vague = seg("init", "blobs")
    assert (vague.exit_code, "--map 255=1 makes it class 1" in vague.stderr) == (1, True)
    made = seg("init", "blobs", "--map", "255=1", "--budget", "1h")
    assert made.exit_code == 0, made.output
    assert "seg train -c blobs.yml" in made.stderr
    assert "training images: " in made.stderr
    assert "all findings: seg dataset check blobs --layout folder --map 255=1" in made.stderr
    assert "val/000.png" in made.stderr  # a leak
    text = Path("blobs.yml").read_text(encoding="utf-8")
    assert text.startswith("# Made by `seg init blobs --map 255=1 --budget 1h`.")
    assert load_config(Path("blobs.yml")).dataset.root == Path("data/blobs")
    trained = seg("train", "-c", "blobs.yml", "--set", "train.max_steps=1", "--set", "device=cpu")
    assert trained.exit_code == 0, trained.output

    def refused(*arguments: str) -> str:
        result = seg("init", *arguments)
        assert result.exit_code == 2, result.output
        return result.stderr

    shutil.copytree("blobs", "other/blobs")
    assert "data/blobs holds what was prepared from blobs;" in refused("other/blobs", "-o", "x.yml", "--map", "255=1")
    assert "unknown domain 'rode'; did you mean road?" in refused("blobs", "--domain", "rode")
    assert "--overwrite" in refused("data/blobs")
    assert "--budget soon" in refused("data/blobs", "-o", "x.yml", "--budget", "soon")
    assert "is prepared already; --map 255=1 tells" in refused("data/blobs", "-o", "x.yml", "--map", "255=1")


def test_a_folder_that_lies_where_it_would_be_prepared_is_prepared_beside(
    seg: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs(Path("data/blobs"), 8)
    planned: list[Path] = []

    def stop(dataset: Dataset, progress: object) -> NoReturn:
        planned.extend(sample.image_path for sample in dataset.split("train"))
        raise UsageError("far enough")

    monkeypatch.setattr(figures, "measure_figures", stop)
    assert "far enough" in seg("init", "data/blobs").stderr
    assert {path.parts[:2] for path in planned} == {("data", "blobs_prepared")}
    assert len(list(Path("data/blobs/images").iterdir())) == 8
