"""The files of a prepared dataset with their sizes, times and hashes: what its fingerprint is made of."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segcli.errors import DataError, SegError
from segcli.io.files import write_text

NAME = "files.tsv"


@dataclass(frozen=True)
class FileRow:
    """A file.

    Attributes:
        path: below the dataset's folder, with forward slashes.
        size: in bytes.
        mtime_ns: when it was changed last, as its file system says.
        sha256: of its content, as hexadecimal digits.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str

    def values(self) -> tuple[Any, ...]:
        """The row as it is written."""
        return self.path, self.size, self.mtime_ns, self.sha256

    def is_there(self, folder: Path) -> bool:
        """Whether the file is there, with this size and time."""
        try:
            state = (folder / self.path).stat()
        except OSError:
            return False
        return (state.st_size, state.st_mtime_ns) == (self.size, self.mtime_ns)


def row_of(path: Path, folder: Path, sha256: str | None = None) -> FileRow:
    """The row of a file below a folder; its content is hashed where the hash is not known."""
    if sha256 is None:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    state = path.stat()
    return FileRow(path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns, sha256)


class Manifest:
    """The files of a prepared dataset.

    Args:
        rows: a row a file.
    """

    def __init__(self, rows: Sequence[FileRow]) -> None:
        self.rows = list(rows)

    @classmethod
    def read(cls, root: Path) -> "Manifest":
        """Reads the manifest of a prepared dataset; an old dataset has none.

        Raises:
            DataError: if it is damaged.
        """
        path = root / NAME
        if not path.is_file():
            return cls([])
        try:
            rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
            return cls([FileRow(name, int(size), int(time), digest) for name, size, time, digest in rows])
        except ValueError as error:
            raise DataError(f"{path} is damaged ({error}); prepare the dataset again") from None

    def write(self, root: Path) -> None:
        """Writes it, in the order of the paths."""
        rows = [FileRow.__match_args__, *(row.values() for row in self.rows)]
        write_text(root / NAME, "".join("\t".join(map(str, row)) + "\n" for row in rows))

    def fingerprint(self) -> str:
        """The sha256 over the sorted paths, sizes and hashes."""
        digest = hashlib.sha256()
        for row in sorted(self.rows, key=lambda row: row.path):
            digest.update(f"{row.path}\0{row.size}\0{row.sha256}\n".encode())
        return digest.hexdigest()

    def refresh(self, root: Path) -> list[str]:
        """Hashes the files whose size or time is another than before; gives the paths whose content is another.

        A file that is no longer there counts as changed. Where only times differ, the new ones are kept, if the
        folder can be written.
        """
        changed, touched = [], False
        for place, row in enumerate(self.rows):
            if row.is_there(root):
                continue
            touched = True
            try:
                self.rows[place] = row_of(root / row.path, root)
            except OSError:
                self.rows[place] = replace(row, size=0, sha256="gone")
            if self.rows[place].sha256 != row.sha256:
                changed.append(row.path)
        if touched and not changed:
            with suppress(SegError):  # of a folder that cannot be written, files are hashed again each time
                self.write(root)
        return changed
