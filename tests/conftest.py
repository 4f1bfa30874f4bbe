"""The one way to make a tiny dataset and to run the command line in tests."""

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from segcli.cli.app import app
from segcli.config import RunConfig

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start: several side by side must share the cores

# Two colours on a ground: what a network of a few steps can learn.
COLOURS = np.array([(60, 60, 60), (200, 60, 60), (60, 60, 220)], np.uint8)


def draw_pair(seed: int, height: int = 40, width: int = 56, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """An image of noisy rectangles (H×W×3) and its mask (H×W)."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for index in range(1, num_classes):
        y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
        mask[y : y + height // 2, x : x + width // 2] = index
    image = COLOURS[mask % 3].astype(np.int16) + rng.integers(-20, 21, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Lets no file grow beyond a size in bytes, as a disk that is full would; Python ignores the signal."""
    import resource  # which Windows has not

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def write_pairs(
    root: Path, number: int = 6, start: int = 0, values: tuple[int, ...] | None = None, **size: int
) -> Path:
    """Writes images/*.png and masks/*.png below a folder; `values` replaces the class indices in the masks."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(start, start + number):
        image, mask = draw_pair(index, **size)
        Image.fromarray(image).save(root / "images" / f"{index:03d}.png")
        mask = mask if values is None else np.array(values, np.uint8)[mask]
        Image.fromarray(mask).save(root / "masks" / f"{index:03d}.png")
    return root


def explicit(root: Path) -> dict[str, str]:
    """The explicit form of a dataset whose train and val split are written below a folder."""
    write_pairs(root / "train", 6)
    write_pairs(root / "val", 3, start=100)
    return {
        f"{split}_{kind}_dir": str(root / split / kind) for split in ("train", "val") for kind in ("images", "masks")
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a results.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a test, so that none sees what another left, or what the user's holds."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEGCLI_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """No power is cut here, and a run waits a second for its disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., RunConfig]:
    """Makes a config that trains in a second; keywords override parts of it."""

    def make(**parts: object) -> RunConfig:
        values: dict[str, object] = {
            "dataset": explicit(tmp_path / "data"),
            "model_name": "Unet",
            "encoder": "resnet18",
            "encoder_weights": None,
            "model": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
            "train": {"epochs": 2, "batch_size": 2, "image_size": 32, "workers": 0, "channels_last": True},
            "val": {"every_epochs": 1},  # else it depends on the time that an epoch takes
            "tracking": {"tensorboard": False},
            "output_dir": str(tmp_path / "runs"),
            "device": "cpu",
        }
        for name, part in parts.items():
            old = values.get(name)
            values[name] = {**old, **part} if isinstance(old, dict) and isinstance(part, dict) else part
        return RunConfig.model_validate(values)

    return make


@pytest.fixture
def seg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def real_data() -> Path:
    """The folder of real images for tests, where there is one."""
    folder = os.environ.get("SEGCLI_TEST_DATA")
    if not folder:
        pytest.skip("SEGCLI_TEST_DATA names no folder of real images")
    return Path(folder)
