"""Keeps what was seen of files, so that files that have not changed are not decoded again."""

import hashlib
import json
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from segcli.datasets.check.kinds import Finding
from segcli.datasets.check.scan import Look
from segcli.datasets.dataset import Sample
from segcli.datasets.layouts.pairing import Pair
from segcli.datasets.masks import MaskFile


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
