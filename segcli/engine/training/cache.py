"""Decoded training images and masks in one file, so that each is decoded once, whichever process reads it."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segcli.datasets.dataset import FileSample, Sample
from segcli.errors import ConfigError
from segcli.io.images import Mask, Pixels, count_pixels
from segcli.parallel import Progress, each, silent

if sys.platform != "win32":
    import fcntl

MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one."""

TINY = 16 << 20
"""Bytes below which the system's own cache of files serves as well."""

_PREFIX = ".segcli-cache-"
_SHARE = 0.25  # of what is free, that `auto` takes at most
_YOUNG = 60  # seconds within which a file may not be locked yet
_FEW = 256  # images that an estimate looks at


@contextmanager
def cached(
    samples: Sequence[Sample], choice: str, folder: Path, progress: Progress = silent
) -> Iterator[tuple[Sequence[Sample], str]]:
    """Keeps samples decoded while the block runs; the file goes with its end.

    The samples it gives fill the file as they are first read. They may travel to other processes, which then share
    it; that of a program that was killed is removed by the next one.

    Args:
        samples: those of a split with masks.
        choice: auto, none, ram or disk.
        folder: where the file lies, if on disk; it must exist.
        progress: told of each image whose size is read.

    Yields:
        The samples, and what was chosen, as a line for the log.

    Raises:
        ConfigError: if there is no room in the place that was asked for.
    """
    place, reason = _choose(samples, choice, folder)
    if place is None:
        yield samples, f"cache: none{reason}"
        return
    pixels = list(each(_pixels_of, samples, "reading sizes", progress, processes=1))
    mask_type = _mask_type(samples)
    _remove_abandoned(place)
    handle, name = tempfile.mkstemp(prefix=_PREFIX, dir=place)
    try:
        if sys.platform != "win32":
            fcntl.flock(handle, fcntl.LOCK_EX)  # as long as this program lives, others leave the file alone
        store = _Store(Path(name), pixels, mask_type)
        store.lay_out()
        kind = "memory" if place == MEMORY else "disk"
        note = f"cache: {kind}, {_in_units(sum(pixels) * (3 + mask_type.itemsize))} in {place}"
        yield [CachedSample(sample, store, index) for index, sample in enumerate(samples)], note
    finally:
        os.close(handle)
        with suppress(OSError):
            Path(name).unlink()


def where_cached(samples: Sequence[Sample], choice: str, folder: Path) -> Literal["none", "ram", "disk"]:
    """Where `cached` keeps these samples decoded; raises as it does."""
    place, _ = _choose(samples, choice, folder)
    return "none" if place is None else "ram" if place == MEMORY else "disk"


@dataclass(frozen=True)
class CachedSample:
    """A sample that is decoded once; its pixels are read-only views of the file.

    Attributes:
        sample: the sample itself.
        store: where it is kept.
        index: its place there.
    """

    sample: Sample
    store: "_Store"
    index: int

    @property
    def name(self) -> str:
        """The path below its split, without suffix."""
        return self.sample.name

    def image(self) -> Pixels:
        """The image: H×W×3 uint8 RGB."""
        return self.read()[0]

    def read(self) -> tuple[Pixels, Mask]:
        """The image and its mask (H×W); where they are not there yet, reads them and raises as the sample does."""
        found = self.store.get(self.index)
        if found is None:
            found = self.sample.read()
            self.store.put(self.index, *found)
        return found


class _Store:
    """The file: height and width of each sample that is there, then, for each, its mask and its image.

    Args:
        path: the file.
        pixels: room for each sample, by the pixels of its image.
        mask_type: dtype of the masks.
    """

    def __init__(self, path: Path, pixels: Sequence[int], mask_type: np.dtype[Any]) -> None:
        self.path, self.mask_type = path, mask_type
        steps = [-(-number * (3 + mask_type.itemsize) // 8) * 8 for number in pixels]  # aligned for any dtype
        self.starts: NDArray[np.int64] = np.cumsum([8 * len(steps), *steps])
        self._bytes: NDArray[np.uint8] | None = None
        self._is_full = False

    def lay_out(self) -> None:
        """Makes the file; its pixels take no room until they are written."""
        with self.path.open("wb") as stream:
            stream.write(bytes(int(self.starts[0])))
            stream.truncate(int(self.starts[-1]))

    def get(self, index: int) -> tuple[Pixels, Mask] | None:
        """The image and mask of a sample; None where they are not there yet."""
        if self._bytes is None:
            self._bytes = np.memmap(self.path, np.uint8, mode="r").view(np.ndarray)
        height, width = self._bytes[8 * index : 8 * index + 8].view(np.uint32).tolist()
        if not height:
            return None
        start = self.starts[index]
        middle = start + height * width * self.mask_type.itemsize
        mask = self._bytes[start:middle].view(self.mask_type).reshape(height, width)
        return self._bytes[middle : middle + 3 * height * width].reshape(height, width, 3), mask

    def put(self, index: int, image: Pixels, mask: Mask) -> None:
        """Keeps an image and its mask, if there is room.

        They are written, not mapped: on a full file system a write fails, but touching a map kills the process.
        """
        start, end = self.starts[index : index + 2].tolist()
        if self._is_full or mask.nbytes + image.nbytes > end - start:
            return
        try:
            with self.path.open("r+b") as stream:
                stream.seek(start)
                stream.write(mask.tobytes())
                stream.write(image.tobytes())
                stream.flush()
                stream.seek(8 * index)  # last, since it says that the rest is there
                stream.write(np.array(mask.shape, np.uint32).tobytes())
        except OSError:
            self._is_full = True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}


def _choose(samples: Sequence[Sample], choice: str, folder: Path) -> tuple[Path | None, str]:
    """The folder for the file; None for no file, and why."""
    if choice == "none":
        return None, ""
    if not samples or not all(isinstance(sample, FileSample) for sample in samples):
        return None, ", since images are made, not read"
    needed = _estimate(samples)
    room = {"ram": (MEMORY, free_memory()), "disk": (folder, shutil.disk_usage(folder).free)}
    if choice == "auto":
        if needed < TINY:
            return None, f", since all images take {_in_units(needed)} only"
        fitting = [place for place, free in room.values() if needed <= _SHARE * free]
        more = f", since the images take {_in_units(needed)}, more than a quarter of what is free"
        return (fitting[0], "") if fitting else (None, more)
    place, free = room[choice]
    if not place.is_dir():
        raise ConfigError(f"dataset.cache: ram: this machine has no {place}; set dataset.cache to disk, or to auto")
    if needed > free:
        raise ConfigError(
            f"dataset.cache: {choice}: the training images take {_in_units(needed)}, but {place} has room for "
            f"{_in_units(free)}; free some, or set dataset.cache to auto"
        )
    return place, ""


def _estimate(samples: Sequence[Sample]) -> int:
    """The bytes of all samples, from the heads of a few."""
    few = samples[:: -(-len(samples) // _FEW)]
    pixels = sum(_pixels_of(sample) for sample in few) / len(few) * len(samples)
    return round(pixels * (3 + _mask_type(samples).itemsize))


def _pixels_of(sample: Sample) -> int:
    assert isinstance(sample, FileSample)
    return count_pixels(sample.image_path)


def _mask_type(samples: Sequence[Sample]) -> np.dtype[Any]:
    assert isinstance(samples[0], FileSample)
    mask_type: np.dtype[Any] = np.dtype(samples[0].encoding.dtype)
    return mask_type


def free_memory() -> int:
    """Bytes that a file in memory may take; 0 where there is no such file system."""
    if not MEMORY.is_dir():
        return 0
    free = [shutil.disk_usage(MEMORY).free]
    with suppress(OSError, ValueError, IndexError):
        free.append(1024 * _figures(Path("/proc/meminfo"))["MemAvailable:"])
    with suppress(OSError, ValueError, KeyError):  # what this container may take; "max" is no number
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        free.append(limit - used + _figures(group / "memory.stat")["inactive_file"])
    return max(min(free), 0)


def _figures(path: Path) -> dict[str, int]:
    """The numbers of a file with a name and a number a line."""
    return {words[0]: int(words[1]) for line in path.read_text().splitlines() if len(words := line.split()) > 1}


def _remove_abandoned(place: Path) -> None:
    """Removes the files of programs that were killed: nobody holds their lock any more."""
    for path in place.glob(f"{_PREFIX}*") if sys.platform != "win32" else ():
        with suppress(OSError), path.open("rb") as stream:
            if time.time() - path.stat().st_mtime < _YOUNG:
                continue
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _in_units(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
