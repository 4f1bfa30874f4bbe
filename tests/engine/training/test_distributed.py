"""Several processes on this machine, over gloo, through the command line as people start them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import read_rows

from segcli.components.models import ModelOptions, build_network
from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.prediction.load import load_predictor
from segcli.engine.training.build import with_synced_norms
from segcli.engine.training.distributed import Processes
from segcli.engine.training.loop import train
from segcli.io.bundle import load_bundle
from segcli.io.checkpoint import load_checkpoint
from segcli.task import Task

ROOT = Path(__file__).parents[3]
ALONE = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def seg(*arguments: object, cwd: Path, devices: int = 0, torchrun: int = 0) -> "subprocess.Popen[str]":
    """Starts `seg` as several processes, by itself or by torchrun, in a group of its own as from a terminal."""
    module = ["-m", "segcli"]
    if torchrun:
        module = ["-m", "torch.distributed.run", f"--nproc-per-node={torchrun}", "--standalone", "-m", "segcli"]
    if devices:
        arguments = (*arguments, "--devices", devices)
    return subprocess.Popen(
        [sys.executable, *module, *map(str, arguments)], cwd=cwd, env={**os.environ, **ALONE}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def config_of(make: Callable[..., RunConfig], folder: Path, **parts: Any) -> tuple[RunConfig, Path]:
    """Frozen batch norms: a step is a function of its crops, however they are dealt out."""
    parts["train"] = {"epochs": 2, "freeze_batch_norm": 9, **parts.get("train", {})}
    config = make(precision="fp32", **parts)
    path = folder / "c.yml"
    path.write_text(config.to_yaml())
    return config, path


def test_two_processes_train_as_one_does_with_the_same_steps(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    """Cross-entropy divides by the pixels of the whole step; Lovász works on one micro-batch at a time.

    The val split has 3 images, an odd number.
    """
    augmentation = {"name": "light", "scale": [0.3, 1.0]}  # much is padding, which is ignored, here more, there less
    config, path = config_of(
        tiny, tmp_path, train={"batch_size": 3, "epochs": 3, "image_size": 48}, augmentation=augmentation,
        loss={"name": "sum", "terms": [{"name": "cross_entropy"}, {"name": "lovasz"}]},
    )  # fmt: skip
    alone = train(config.model_copy(update={"train": config.train.model_copy(update={"accumulate": 2})}), "alone")
    process = seg("train", "-c", path, "--name", "both", cwd=tmp_path, torchrun=2)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "cpu, fp32, 1 thread, 2 processes" in err
    assert "parameters that the network does not use are frozen: model.encoder.layer3.0.conv1.weight" in err
    rows, expected = read_rows(config.output_dir / "both" / "results.csv"), read_rows(alone.run.results)
    assert len(rows) == len(expected) == 3
    for row, other in zip(rows, expected, strict=True):
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-4)
        assert float(row["val_loss"]) == pytest.approx(float(other["val_loss"]), rel=1e-3)
        assert row["step"] == other["step"]
    first, second = (load_bundle(config.output_dir / name / "last")[0].state_dict() for name in ("both", "alone"))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=2e-4, rtol=1e-3)
    # the very figures that one process finds with this bundle
    card = json.loads((config.output_dir / "both" / "last" / "segcli.json").read_text())
    predictor = load_predictor(config.output_dir / "both" / "last", "cpu")
    scores = evaluate(predictor, open_dataset(config.dataset).split("val")).scores
    assert card["metrics"]["val"] == {**scores.to_json(Task.from_json(card["task"])), "precision": "fp32"}
    assert out.count("val split, best epoch") == 1  # one of them alone tells and writes
    assert not (config.output_dir / "both-2").exists()


def test_an_interrupted_run_goes_on_and_one_that_fails_ends_all_with_its_message(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """A damaged image lies in one process's part of the epoch; the other waits for it in vain."""
    config, path = config_of(tiny, tmp_path, augmentation="none", train={"batch_size": 1, "epochs": 500, "budget": 120})
    run = tmp_path / "runs" / "c"
    process = seg("train", "-c", path, cwd=tmp_path, devices=2)
    wait_for(lambda: any(run.glob("state/step-*")), process)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C, which the terminal gives to all
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping behind this step, its state is saved" in err
    assert "seg train --resume runs/c" in err
    saved = load_checkpoint(run / "state")["progress"]["epoch"]

    process = seg("train", "--resume", cwd=tmp_path, devices=2)
    wait_for(lambda: int(read_rows(run / "results.csv")[-1]["epoch"]) > saved, process)
    wait_for(lambda: "max_steps: null" not in (run / "config.yml").read_text(), process)
    assert config.dataset.train_images_dir is not None
    image = config.dataset.train_images_dir / "002.png"
    image.write_bytes(image.read_bytes()[:-200])
    damaged = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert time.monotonic() - damaged < 30
    assert len(re.findall("error:", err)) == 1, err
    assert f"error: {image} is damaged" in err
    assert "train.max_steps: " in err  # both settled the same: else they would have waited for each other
    assert "Traceback" not in err


def wait_for(what: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    for _ in range(1200):
        if what():
            return
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1])
        time.sleep(0.1)
    process.kill()
    raise AssertionError("nothing came of it")


@pytest.mark.parametrize("encoder", ["resnet18", "tf_efficientnet_lite0"])
def test_batch_norms_are_shared_in_all_and_the_network_stays_the_same(
    encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversion; torch runs the result on GPUs only in training. timm's norms hold activations."""
    options = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))
    network = build_network("Unet", encoder, None, options, Task.of("abc")).eval()
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    expected = network(images)
    names = list(network.state_dict())
    norms = sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    synced = with_synced_norms(network).eval()
    assert sum(isinstance(module, torch.nn.SyncBatchNorm) for module in synced.modules()) == norms > 10
    assert list(synced.state_dict()) == names
    torch.testing.assert_close(synced(images), expected)


def test_one_process_alone_adds_and_agrees_with_itself() -> None:
    alone = Processes()
    assert alone.leads
    assert alone.sum(torch.tensor([2**53 + 1])).item() == 2**53 + 1
    assert alone.gather("x") == ["x"]
    assert alone.lead("x") == "x"
