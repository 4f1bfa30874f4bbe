import multiprocessing
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_pair
from PIL import Image

from segcli.config import RunConfig
from segcli.datasets.dataset import FileSample, Sample
from segcli.datasets.encoding import MaskEncoding
from segcli.datasets.layouts import shapes
from segcli.datasets.masks import MaskFile
from segcli.datasets.open import open_dataset
from segcli.engine.training import cache
from segcli.engine.training.cache import cached
from segcli.errors import ConfigError, DataError
from segcli.task import Task


@pytest.fixture
def samples(tiny: Callable[..., RunConfig]) -> Sequence[Sample]:
    return open_dataset(tiny().dataset).split("train")


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the file system in memory."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(cache, "MEMORY", folder)
    return folder


def same(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("choice", ["ram", "disk"])
def test_a_sample_is_read_from_its_files_once(
    samples: Sequence[Sample], choice: str, tmp_path: Path, memory: Path
) -> None:
    place = memory if choice == "ram" else tmp_path
    with cached(samples, choice, tmp_path) as (kept, note):
        assert note == f"cache: {'memory' if choice == 'ram' else 'disk'}, 0 MB in {place}"
        assert len(list(place.glob(".segcli-cache-*"))) == 1
        first = kept[3].read()
        assert same(first, draw_pair(3))
        (tmp_path / "data" / "train" / "images" / "003.png").unlink()
        assert same(kept[3].read(), first)
        assert np.array_equal(kept[3].image(), first[0])
        assert kept[3].name == samples[3].name
        with pytest.raises(ValueError, match="read-only"):
            kept[3].read()[0][0, 0] = 0
    assert not list(place.glob(".segcli-cache-*"))


def read_all(samples: Sequence[Sample]) -> None:
    for sample in samples:
        sample.read()


def test_processes_share_what_one_has_read(samples: Sequence[Sample], tmp_path: Path) -> None:
    with cached(samples, "ram", tmp_path) as (kept, _):
        process = multiprocessing.get_context("spawn").Process(target=read_all, args=(kept,))
        process.start()
        process.join()
        assert process.exitcode == 0
        for path in (tmp_path / "data" / "train" / "masks").iterdir():
            path.unlink()
        for index, sample in enumerate(pickle.loads(pickle.dumps(kept))):
            assert same(sample.read(), draw_pair(index))


def test_masks_of_32_bits_and_odd_sizes_come_back_exactly(tmp_path: Path) -> None:
    found, samples = [], []
    for index, (height, width) in enumerate([(3, 5), (7, 1), (1, 1)]):
        image = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
        mask = (np.arange(height * width, dtype=np.uint16) * 40).reshape(height, width) % 300
        Image.fromarray(image).save(tmp_path / f"{index}.png")
        Image.fromarray(mask).save(tmp_path / f"{index}-mask.png")
        encoding = MaskEncoding(Task.of([str(name) for name in range(300)], ignore_index=65535))
        samples.append(
            FileSample(str(index), tmp_path / f"{index}.png", MaskFile(tmp_path / f"{index}-mask.png"), encoding)
        )
        found.append((image, mask.astype(np.int32)))
    with cached(samples, "ram", tmp_path) as (kept, _):
        for _ in range(2):
            for sample, expected in zip(kept, found, strict=True):
                assert same(sample.read(), expected)


def test_a_turned_photo_is_kept_upright(tmp_path: Path) -> None:
    image, mask = draw_pair(0)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(np.rot90(mask, -1).copy()).save(tmp_path / "m.png")
    sample = FileSample("a", tmp_path / "a.png", MaskFile(tmp_path / "m.png"), MaskEncoding(Task.of("abc")))
    with cached([sample], "ram", tmp_path) as (kept, _):
        expected = sample.read()
        assert kept[0].read()[0].shape == (56, 40, 3)
        assert same(kept[0].read(), expected)


def test_damaged_files_are_named_as_without_a_cache(samples: Sequence[Sample], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "train"
    (folder / "images" / "002.png").write_bytes(b"nothing")
    Image.fromarray(np.full((40, 56), 9, np.uint8)).save(folder / "masks" / "001.png")
    with cached(samples, "ram", tmp_path) as (kept, _):
        for index, message in ((2, "002.png is not an image"), (1, "001.png holds 9")):
            for _ in range(2):
                with pytest.raises(DataError, match=message):
                    kept[index].read()


def test_where_no_room_is_left_samples_are_read_again(samples: Sequence[Sample], tmp_path: Path, memory: Path) -> None:
    with cached(samples, "ram", tmp_path) as (kept, _):
        (file,) = memory.glob(".segcli-cache-*")
        kept[0].read()
        file.unlink()  # writing fails, as on a full file system
        assert same(kept[1].read(), draw_pair(1))
        assert same(kept[1].read(), draw_pair(1))
        assert same(kept[0].read(), draw_pair(0))


def test_auto_takes_memory_then_disk_then_nothing(
    samples: Sequence[Sample], tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(free_memory: int, free_disk: int) -> str:
        monkeypatch.setattr(cache, "free_memory", lambda: free_memory)
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free_disk}))
        with cached(samples, "auto", tmp_path) as (_, note):
            return note

    needed = 6 * 40 * 56 * 4
    assert chosen(8 * needed, 8 * needed) == "cache: none, since all images take 0 MB only"
    monkeypatch.setattr(cache, "TINY", 0)
    assert chosen(4 * needed, 0) == f"cache: memory, 0 MB in {memory}"
    assert chosen(4 * needed - 4, 4 * needed) == f"cache: disk, 0 MB in {tmp_path}"
    assert chosen(0, 0) == "cache: none, since the images take 0 MB, more than a quarter of what is free"


def test_what_cannot_be_is_refused_with_the_cure(
    samples: Sequence[Sample], tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "free_memory", lambda: 1000)
    with (
        pytest.raises(ConfigError, match=r"dataset.cache: ram: the training images take .* room for 0 MB; .* to auto"),
        cached(samples, "ram", tmp_path),
    ):
        pass
    memory.rmdir()
    with (
        pytest.raises(ConfigError, match=r"dataset.cache: ram: this machine has no .*memory; set .* to disk"),
        cached(samples, "ram", tmp_path),
    ):
        pass


def test_nothing_is_kept_where_it_is_no_use(samples: Sequence[Sample], tmp_path: Path) -> None:
    made = shapes.dataset().split("train")
    with cached(made, "ram", tmp_path) as (kept, note):
        assert kept is made
        assert note == "cache: none, since images are made, not read"
    with cached(samples, "none", tmp_path) as (kept, note):
        assert (kept, note) == (samples, "cache: none")


@pytest.mark.skipif(not hasattr(cache, "fcntl"), reason="files are not locked here")
def test_the_file_of_a_killed_program_goes_and_that_of_another_stays(
    samples: Sequence[Sample], tmp_path: Path, memory: Path
) -> None:
    with cached(samples, "ram", tmp_path) as (kept, _):
        (memory / ".segcli-cache-abandoned").write_bytes(b"old")
        for path in memory.iterdir():
            os.utime(path, (0, 0))
        with cached(samples, "ram", tmp_path):
            assert len(list(memory.iterdir())) == 2
            assert not (memory / ".segcli-cache-abandoned").exists()
        assert same(kept[0].read(), draw_pair(0))
    assert not list(memory.iterdir())
