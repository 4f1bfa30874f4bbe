"""seg train as a person, a scheduler or a script runs it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from segcli.config import RunConfig
from segcli.io.checkpoint import load_checkpoint

Seg = Callable[..., Result]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tiny: Callable[..., RunConfig], tmp_path: Path) -> Path:
    path = tmp_path / "c.yml"
    path.write_text(tiny(output_dir="runs").to_yaml())
    return path


def test_a_dry_run_tells_what_the_training_would_take_and_starts_none(seg: Seg, config: Path, tmp_path: Path) -> None:
    result = seg("train", "-c", config, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "loss of the first step" in result.stdout
    assert "6 steps, 2 validations of 3 images" in result.stdout
    assert result.stdout.splitlines()[-1] == "runs/c-dry-run.png"
    with Image.open(tmp_path / "runs" / "c-dry-run.png") as picture:
        assert picture.size[0] > 200
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["c-dry-run.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "loss.name=dise"], "unknown loss 'dise'; did you mean dice?"),
        (["--set", "checkpoint.best=miou"], "checkpoint.best: there is no figure 'miou'; did you mean val_miou?"),
        (["--set", "augmentation=[{name: HorizontalFlap}]"], "did you mean HorizontalFlip?"),
        (["--set", "train.gradient_checkpointing=true"], "train.gradient_checkpointing: encoder resnet18 has none"),
        (["--set", "augmentation.copy_paste=0.5", "--set", "augmentation.copy_paste_classes=[cat]"], "'cat'"),
        (["--set", "train.sync_batch_norm=true"], "for several processes on GPUs, not for one process"),
    ],
)
def test_a_dry_run_refuses_what_the_training_would(seg: Seg, config: Path, options: list[str], message: str) -> None:
    result = seg("train", "-c", config, "--dry-run", *options)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert "Traceback" not in result.stderr


def test_a_resumed_run_takes_overrides(seg: Seg, config: Path) -> None:
    assert seg("train", "-c", config).exit_code == 0
    result = seg("train", "--resume", "--set", "train.epochs=3", "--set", "optimizer.lr=1e-4")
    assert result.exit_code == 0, result.stderr
    assert "train.epochs: 3 from here on, 2 before" in result.stderr
    refused = seg("train", "--resume", "c", "--set", "encoder=resnet34", "--set", "train.epochs=9")
    assert (refused.exit_code, "the network would not fit; start a new run" in refused.stderr) == (2, True)


def start(config: Path, folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "segcli", "train", "-c", str(config), "--set", "train.epochs=5000"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    for _ in range(1800):
        if any((folder / "runs" / "c").glob("state/step-*")):
            return process
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_saves_within_a_step(config: Path, tmp_path: Path, number: int, code: int, word: str) -> None:
    process = start(config, tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.splitlines()[-1] == word
    assert "stopping behind this step, its state is saved" in err
    assert "seg train --resume runs/c" in err
    rows = len((tmp_path / "runs" / "c" / "results.csv").read_text().splitlines()) - 1
    assert load_checkpoint(tmp_path / "runs" / "c" / "state")["progress"]["epoch"] >= rows


def test_a_second_signal_stops_at_once_and_nothing_is_lost(config: Path, tmp_path: Path) -> None:
    process = start(config, tmp_path)
    process.send_signal(signal.SIGSTOP)  # both arrive while it cannot react to the first
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, 143), err
    assert "Traceback" not in err
    assert load_checkpoint(tmp_path / "runs" / "c" / "state")["progress"]["epoch"] >= 1
    for folder in (tmp_path / "runs" / "c").iterdir():
        assert not folder.name.startswith("."), "a half-written folder was left"
