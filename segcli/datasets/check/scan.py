"""Looks at every file of a dataset once: decodes it in full, and keeps what all checks and figures need."""

import hashlib
import os
import pickle
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image
from pydantic import TypeAdapter

import segcli
from segcli.datasets.check.kinds import KINDS, Severity, severity_of
from segcli.datasets.dataset import Sample, check_same_size
from segcli.datasets.encoding import MaskValues
from segcli.datasets.layouts.base import Finding, Pair, Source
from segcli.datasets.masks import MaskFile, MaskLook, count_values, look_at_mask, objects_problem
from segcli.errors import FileProblem
from segcli.io.files import cache_folder
from segcli.io.images import load_image, read_whole
from segcli.parallel import Progress, each, silent

_SIDE = 16
"""Side of the grid whose brightness steps make the perceptual hash: 256 bits."""

VERSION = f"2 {segcli.__version__} {PIL.__version__}"
"""Looks of other versions are never used; the first number goes up with every change to `Look` or what fills it."""
_RACY = 2 * 10**9
"""Nanoseconds after which a file that changes gets another time, on any file system."""
_KEY = 32
"""Bytes of a line that say which pair it is of."""
_MOST = 512 << 20
"""Bytes that all looks may fill; those of the datasets that were not opened for longest go first."""


@dataclass(frozen=True)
class Look:
    """What was seen of an image and its mask."""

    size: tuple[int, int] | None  # height and width of the image, upright; None where it cannot be read
    values: Mapping[int, int] | None  # pixels of the mask by value, as in the file; None where it cannot be read
    image_digest: str  # sha256 of the file
    mask_digest: str  # sha256 of the mask's content; empty where there is none
    likeness: int  # perceptual hash of the image, whose bits hardly change when it is scaled or stored anew
    findings: tuple[Finding, ...] = ()  # what is wrong with these two files by themselves

    def has(self, kind: str) -> bool:
        """Whether there is a finding of a kind."""
        return any(finding.kind == kind for finding in self.findings)

    @property
    def broken(self) -> bool:
        """Whether something is wrong with the pair by itself."""
        return any(severity_of(finding) is Severity.ERROR for finding in self.findings)


_AS_JSON = TypeAdapter(Look)
Looks = Mapping[str, Sequence[Look]]
"""By split, what was seen of each pair."""


def inspect(
    splits: Mapping[str, Sequence[Pair | Sample]],
    progress: Progress = silent,
    memory: "LookCache | None" = None,
    processes: int | None = None,
) -> dict[str, list[Look]]:
    """Looks at every pair, by several processes; gives the looks by split in the pairs' order."""
    items = [item for found in splits.values() for item in found]
    keys = [_key(item) if memory else b"" for item in items]
    seen = [memory.get(key) if memory else None for key in keys]
    new = [item for item, look in zip(items, seen, strict=True) if look is None]
    fresh = each(look_at, new, "checking files", progress, processes)
    looks = []
    for key, look in zip(keys, seen, strict=True):
        if look is None:
            look = next(fresh)
            if memory:
                memory.put(key, look)
        looks.append(look)
    ordered = iter(looks)
    return {split: list(islice(ordered, len(found))) for split, found in splits.items()}


def look_at(item: Pair | Sample) -> Look:
    """Decodes an image and its mask in full; what is wrong becomes a finding."""
    if not isinstance(item, Pair):
        return _look_at_made(item)
    findings: list[Finding] = []
    size, image_digest, likeness = None, "", 0
    try:
        content = read_whole(item.image)
        decoded = load_image(item.image, content)
        size, image_digest = decoded.size, hashlib.sha256(content).hexdigest()
        likeness = perceptual_hash(decoded.image)
        findings += [_note(kind, item.image) for kind in decoded.peculiarities()]
    except FileProblem as problem:
        findings.append(Finding(problem.kind, item.image, str(problem)))
    mask = _look_at_mask(item, size, findings)
    values, mask_digest = (mask.values, mask.digest) if mask else (None, "")
    return Look(size, values, image_digest, mask_digest, likeness, tuple(findings))


def _look_at_mask(item: Pair, size: tuple[int, int] | None, findings: list[Finding]) -> MaskLook | None:
    if item.mask is None or (size is None and not isinstance(item.mask, MaskFile)):
        return None
    mask = None
    try:
        mask = look_at_mask(item.mask, *(size or (0, 0)))
        findings += [_note(kind, item.mask.path) for kind in mask.peculiarities]
        if problem := objects_problem(item.mask, *mask.size):
            findings.append(Finding("instances", item.mask.path, problem))
        if size is not None:
            check_same_size(size, mask.size, item.image, item.mask.path)
    except FileProblem as error:
        findings.append(Finding(error.kind, item.mask.path, str(error)))
    return mask


def _note(kind: str, file: Path) -> Finding:
    return Finding(kind, file, f"{file}: {KINDS[kind].title}")


def _look_at_made(item: Sample) -> Look:
    image, mask = item.read()
    height, width = mask.shape
    return Look(
        (height, width),
        count_values(mask),
        hashlib.sha256(image.tobytes()).hexdigest(),
        hashlib.sha256(mask.tobytes()).hexdigest(),
        perceptual_hash(Image.fromarray(image)),
    )


def perceptual_hash(image: Image.Image) -> int:
    """256 bits that are alike where pictures are: whether each cell of a 16×17 grid is darker than the next one.

    A difference hash; see N. Krawetz, "Kind of Like That", 2013. Only every few pixels are looked at.
    """
    grid = (4 * (_SIDE + 1), 4 * _SIDE)
    small = np.asarray(image.resize(grid, Image.Resampling.NEAREST).convert("L").reduce(4))
    return int.from_bytes(np.packbits(small[:, :-1] < small[:, 1:]).tobytes())


class Seen(NamedTuple):
    """A pair of a split, and what was seen of it."""

    split: str
    item: Pair | Sample
    look: Look

    @property
    def name(self) -> str:
        """SPLIT/NAME."""
        return f"{self.split}/{self.item.name}"

    @property
    def mask(self) -> MaskValues:
        """The values of its mask; none where there is none that can be read."""
        mask = self.item.mask if isinstance(self.item, Pair) else None
        return MaskValues(
            mask.path if mask else Path(self.item.name), self.look.values or {}, self.look.has("jpeg-mask")
        )


def seen_pairs(source: Source, looks: Looks) -> list[Seen]:
    """The pairs of all splits with what was seen of them."""
    return [
        Seen(split, item, look)
        for split, items in source.splits.items()
        for item, look in zip(items, looks[split], strict=True)
    ]


class LookCache:
    """Looks at the pairs of a dataset: a file with a line each, by the paths, sizes, times and inodes of their files.

    Lines are only ever appended, each in one go, so that several processes may use it at once; a line that is damaged
    is passed over. Where the folder cannot be written, every file is looked at each time.
    """

    def __init__(self, source: Source) -> None:
        name = hashlib.sha256(f"{VERSION} {Path(source.origin).resolve()}".encode(errors="surrogatepass"))
        self._path = cache_folder() / "looks" / f"{name.hexdigest()[:32]}.jsonl"
        self._lines: dict[bytes, bytes] = {}
        with suppress(OSError):
            self._lines = {line[:_KEY]: line[_KEY:] for line in self._path.read_bytes().split(b"\n")}
            os.utime(self._path)

    def get(self, key: bytes) -> Look | None:
        """What was seen of a pair whose files are as they were."""
        with suppress(KeyError, ValueError):
            return _AS_JSON.validate_json(self._lines[key])
        return None

    def put(self, key: bytes, look: Look) -> None:
        """Keeps what was seen of a pair, if its files had settled when its key was made."""
        if not key:
            return
        with suppress(OSError, ValueError):  # of a path that is no UTF-8
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                _drop_old(self._path.parent)
            with self._path.open("ab", buffering=0) as stream:
                stream.write(b"\n" + key + _AS_JSON.dump_json(look))


def files_of(item: Pair | Sample) -> list[Path]:
    """The files that a pair is read from."""
    if not isinstance(item, Pair):
        return []
    mask = item.mask
    return [path for path in (item.image, mask and mask.path, getattr(mask, "instance_path", None)) if path]


def _key(pair: Pair | Sample) -> bytes:
    """Changes with the files of a pair; empty where there are none, or one could still change without a trace."""
    if not isinstance(pair, Pair):
        return b""
    now = time.time_ns()
    if pair.mask is None or isinstance(pair.mask, MaskFile):
        parts = [str(pair.mask and pair.mask.colours)]
    else:  # what is drawn depends on more than the file it comes from
        parts = [hashlib.sha256(pickle.dumps(pair.mask)).hexdigest()]
    for path in files_of(pair):
        try:
            state = path.stat()
        except OSError:
            return b""
        if state.st_mtime_ns > now - _RACY:
            return b""
        parts.append(f"{path} {state.st_size} {state.st_mtime_ns} {state.st_ino}")
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:_KEY].encode()


def _drop_old(folder: Path) -> None:
    left = _MOST
    states = [(path.stat(), path) for path in folder.glob("*.jsonl")]
    for state, path in sorted(states, key=lambda entry: -entry[0].st_mtime_ns):
        left -= state.st_size
        if left < 0:
            path.unlink(missing_ok=True)
