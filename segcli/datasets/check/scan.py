"""Looks at every file of a dataset once: decodes it in full, and keeps what all checks and figures need."""

import hashlib
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from segcli.datasets.check.kinds import KINDS, Severity, severity_of
from segcli.datasets.dataset import Sample, check_same_size
from segcli.datasets.layouts.base import Finding, Pair
from segcli.datasets.masks import MaskFile, MaskLook, count_values
from segcli.errors import FileProblem
from segcli.io.images import load_image, read_whole
from segcli.parallel import Progress, each, silent

_SIDE = 16
"""Side of the grid whose brightness steps make the perceptual hash: 256 bits."""


@dataclass(frozen=True)
class Look:
    """What was seen of an image and its mask.

    Attributes:
        size: height and width of the image, upright; None where it cannot be read.
        values: pixels of the mask by value, as they stand in the file; None where there is no readable mask.
        image_digest: sha256 of the image file.
        mask_digest: sha256 of the mask's content; empty where there is none.
        likeness: perceptual hash of the image, whose bits hardly change when it is scaled or stored anew.
        findings: what is wrong with these two files by themselves.
    """

    size: tuple[int, int] | None
    values: Mapping[int, int] | None
    image_digest: str
    mask_digest: str
    likeness: int
    findings: tuple[Finding, ...] = ()


def inspect(
    splits: Mapping[str, Sequence[Pair | Sample]],
    progress: Progress = silent,
    memory: "LookCache | None" = None,
    processes: int | None = None,
) -> dict[str, list[Look]]:
    """Looks at every pair, by several processes; gives the looks by split in the pairs' order."""
    items = [item for found in splits.values() for item in found]
    seen = [memory and memory.get(item) for item in items]
    new = [item for item, look in zip(items, seen, strict=True) if look is None]
    fresh = zip(new, each(look_at, new, "checking files", progress, processes), strict=True)
    looks = iter([look or _remember(memory, *next(fresh)) for look in seen])
    return {split: list(islice(looks, len(found))) for split, found in splits.items()}


def _remember(memory: "LookCache | None", item: Pair | Sample, look: Look) -> Look:
    if memory is not None:
        memory.put(item, look)
    return look


def look_at(item: Pair | Sample) -> Look:
    """Decodes an image and its mask in full; what is wrong becomes a finding."""
    return look_closely(item)[0] if isinstance(item, Pair) else _look_at_made(item)


def look_closely(item: Pair) -> tuple[Look, MaskLook | None]:
    """As `look_at`, with what was seen of the mask by itself; None where there is no readable one."""
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
    return Look(size, values, image_digest, mask_digest, likeness, tuple(findings)), mask


def _look_at_mask(item: Pair, size: tuple[int, int] | None, findings: list[Finding]) -> MaskLook | None:
    if item.mask is None or (size is None and not isinstance(item.mask, MaskFile)):
        return None
    mask = None
    try:
        mask = item.mask.look(*(size or (0, 0)))
        findings += [_note(kind, item.mask.path) for kind in mask.peculiarities]
        if mask.objects_problem:
            findings.append(Finding("instances", item.mask.path, mask.objects_problem))
        if size is not None:
            check_same_size(size, mask.size, item.image, item.mask.path)
    except FileProblem as problem:
        findings.append(Finding(problem.kind, item.mask.path, str(problem)))
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


def broken(look: Look) -> bool:
    """Whether something is wrong with a pair by itself."""
    return any(severity_of(finding) is Severity.ERROR for finding in look.findings)


class LookCache:
    """Looks in a file, a JSON line each, by the paths, sizes and times of the files looked at.

    Args:
        path: the file; a last line that was cut off is passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._looks = dict(_read(path))
        self._fresh: dict[
            int, Look
        ] = {}  # by the pair itself, which its caller keeps: saves asking for its files again
        self._stream: IO[str] | None = None

    def get(self, item: Pair | Sample) -> Look | None:
        """What was seen of a pair, if its files are as they were."""
        if not isinstance(item, Pair):
            return None
        return self._fresh.get(id(item)) or self._looks.get(_key(item))

    def put(self, item: Pair | Sample, look: Look) -> None:
        """Keeps what was seen of a pair, on disk at once; samples that are made are made again."""
        if not isinstance(item, Pair):
            return
        if self._stream is None:
            self._stream = self.path.open("a", encoding="utf-8")
        self._fresh[id(item)] = look
        self._stream.write(json.dumps([_key(item), _to_json(look)]) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._stream is not None:
            self._stream.close()


def _key(item: Pair) -> str:
    mask = item.mask
    if mask is None or isinstance(mask, MaskFile):
        mode = "colours" if mask and mask.colours else "values"
    else:  # what is drawn depends on more than the file it comes from
        mode = hashlib.sha256(pickle.dumps(mask)).hexdigest()
    files = [item.image, mask.path if mask else None, mask.instance_path if isinstance(mask, MaskFile) else None]
    return "|".join([item.name, mode, *(_stamp(path) for path in files if path)])


def _stamp(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return f"{path} gone"
    return f"{path} {state.st_size} {state.st_mtime_ns}"


def _read(path: Path) -> Iterator[tuple[str, Look]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            key, values = json.loads(line)
            yield key, _from_json(values)
        except (ValueError, KeyError, TypeError):
            continue


def _to_json(look: Look) -> dict[str, Any]:
    return {
        "size": look.size,
        "values": None if look.values is None else list(look.values.items()),
        "digests": [look.image_digest, look.mask_digest],
        "likeness": f"{look.likeness:x}",
        "findings": [[finding.kind, str(finding.file), finding.message] for finding in look.findings],
    }


def _from_json(values: dict[str, Any]) -> Look:
    return Look(
        None if values["size"] is None else (values["size"][0], values["size"][1]),
        None if values["values"] is None else {int(value): int(count) for value, count in values["values"]},
        values["digests"][0],
        values["digests"][1],
        int(values["likeness"], 16),
        _findings(values["findings"]),
    )


def _findings(rows: Iterable[list[str]]) -> tuple[Finding, ...]:
    return tuple(Finding(kind, Path(file), message) for kind, file, message in rows)
