"""Checksums of large files, that are computed once as long as the file stays as it is."""

import hashlib
from pathlib import Path

from segcli.errors import DataError
from segcli.io.files import write_text
from segcli.parallel import Progress

MIB = 1 << 20


def checksum(file: Path, algorithm: str, memory: Path, progress: Progress) -> str:
    """The checksum of a file, as "sha256:…" in hex.

    Args:
        file: the file.
        algorithm: "md5", "sha1" or "sha256".
        memory: where it is kept with the file's size and time, so that it is read again only when these change.
        progress: told of each MiB read.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        state = file.stat()
        stamp = f"{state.st_size} {state.st_mtime_ns} {algorithm}:"
        if not (known := text(memory)).startswith(stamp):
            digest, done = hashlib.new(algorithm, usedforsecurity=False), 0
            with file.open("rb") as stream:
                while chunk := stream.read(MIB):
                    digest.update(chunk)
                    done += len(chunk)
                    progress(f"verifying {file.name.removesuffix('.part')}", mebibytes(done), mebibytes(state.st_size))
            known = stamp + digest.hexdigest()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}; mend that, or name another file") from None
    write_text(memory, f"{known}\n")
    return known.split()[-1]


def text(path: Path) -> str:
    """What a small file holds; nothing where there is none."""
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def mebibytes(size: int) -> int:
    """A number of bytes in MiB, rounded up."""
    return -(-size // MIB)
