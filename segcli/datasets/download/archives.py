"""Archives, unpacked by the standard library within bounds, so that none of their members can do harm."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segcli.datasets.download.checksums import MIB, mebibytes
from segcli.errors import DataError, SegError
from segcli.parallel import Progress

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by their first two bytes

# No dataset is like this, but a bomb is: so much larger than its archive, or so many entries.
MOST_RATIO = 200
MOST_ENTRIES = 5_000_000
UNSUSPICIOUS = 1 << 30  # bytes; what unpacks to less may be of any ratio
_LONGEST_NAME = 255  # bytes, of file systems


def is_archive(path: Path) -> bool:
    """Whether a path is a file that `unpack` reads, by its name."""
    return path.name.lower().endswith(_SUFFIXES) and path.is_file()


def unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpacks the files of a .zip, or of a .tar that may be compressed by gzip, bzip2 or xz.

    Of files of one name the last counts. After an error some of them may be there.

    Raises:
        DataError: if the archive is missing, damaged, encrypted, a bomb or too large for the disk, or if a member of it
            is a link or a device or would be written outside the folder.
        OSError: if a file cannot be written, or the disk is full.
    """
    if not archive.is_file():
        raise DataError(f"{archive}: no such file")
    folder.mkdir(parents=True, exist_ok=True)
    members = _Members(archive, folder, shutil.disk_usage(folder).free)
    with _damage(archive):
        for read in (_unzip if archive.name.lower().endswith(".zip") else _untar)(members):
            progress(f"unpacking {archive.name}", mebibytes(read), mebibytes(archive.stat().st_size))
    if not members.files:
        raise DataError(f"{archive} holds no files; if it should, fetch it anew")


@dataclass
class _Members:
    """What has been let through of an archive."""

    archive: Path
    folder: Path
    free: int  # bytes on the disk
    entries: int = 0
    files: int = 0
    size: int = 0

    @property
    def most(self) -> int:
        """The bytes that it may unpack to."""
        return max(UNSUSPICIOUS, MOST_RATIO * self.archive.stat().st_size)

    def admit(self, name: str, size: int, is_folder: bool, fault: str = "") -> None:
        """Lets a member through, or says why not."""
        self.entries, self.files, self.size = self.entries + 1, self.files + (not is_folder), self.size + size
        shown = repr(name if len(name) <= 200 else f"{name[:200]}…")
        if fault := fault or _fault_of_name(name) or ("has no proper size" if size < 0 else ""):
            raise _refused(self.archive, f"its member {shown} {fault}")
        if self.size > self.most or self.entries > MOST_ENTRIES:
            raise _bomb(self.archive, f"its member {shown} and those before it")
        if self.size > self.free:
            raise DataError(
                f"{self.archive}: its files need more than {self.size / (1 << 30):.1f} GiB, but the disk of "
                f"{self.folder} has {self.free / (1 << 30):.1f} GiB free; make room, or work on another disk"
            )


def _fault_of_name(name: str) -> str:
    path = PurePosixPath(name)
    if "\\" in name:
        return "has a backslash in its name"
    if path.is_absolute() or ".." in path.parts:  # zipfile would put it elsewhere without a word
        return "would be written outside the folder"
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        return f"has a name of more than {_LONGEST_NAME} bytes"
    return ""


def _unzip(members: _Members) -> Iterator[int]:
    """Unpacks a zip, and gives after each member how much of the archive is read."""
    read = 0
    with zipfile.ZipFile(members.archive) as packed:
        for info in packed.infolist():
            members.admit(info.filename, info.file_size, info.is_dir(), _fault_in_zip(info))
        for info in packed.infolist():
            packed.extract(info, members.folder)
            read += info.compress_size
            yield read


def _fault_in_zip(info: zipfile.ZipInfo) -> str:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Python expands bzip2 and lzma in zip files at one go, however much it is; it cannot read others.
        return "is compressed by another method than deflate"
    return ""


def _untar(members: _Members) -> Iterator[int]:
    """Unpacks a tar, and gives after each member how much of the archive is read."""
    with members.archive.open("rb") as raw:
        start = raw.peek(2)[:2]
        stream = _Bounded(_OPENERS[start](raw, "rb") if start in _OPENERS else raw)  # type: ignore[operator]
        with stream, tarfile.open(fileobj=stream, mode="r:") as packed:
            while (info := packed.next()) is not None:
                packed.members.clear()  # type: ignore[attr-defined]  # it would keep every one in memory
                plain = (info.isreg() or info.isdir()) and not info.issparse()
                members.admit(
                    info.name, info.size, info.isdir(), "" if plain else "is a link, a device or a sparse file"
                )
                packed.extract(info, members.folder, set_attrs=False, filter="data")
                yield raw.tell()
            # The parser takes a damaged header, and the end of the file, for the end of the archive.
            stream.seek(packed.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it breaks off before its end")
            # What compresses it checks its sum at the end of the file.
            end = stream.tell()
            while stream.read(MIB):
                if stream.tell() - end > members.most:
                    raise _bomb(members.archive, "what follows its last member")


class _Bounded(io.BufferedReader):
    """A stream that a header with a false length cannot make read everything into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MIB:
            raise tarfile.ReadError(f"a header of it claims a length of {size} bytes")
        return super().read(size)


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    """Says of which archive is what cannot be read, but lets pass what cannot be written."""
    try:
        yield
    except SegError:
        raise
    except Exception as error:  # the parsers of the standard library meet damage with errors of many kinds
        clash = isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError)
        if isinstance(error, OSError) and error.errno is not None and not clash:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{archive} cannot be unpacked: {reason}; if it is damaged, fetch it anew") from error


def _refused(archive: Path, why: str) -> DataError:
    return DataError(f"{archive}: {why}; if you trust it, unpack it by hand and give the folder")


def _bomb(archive: Path, what: str) -> DataError:
    limit = f"{MOST_RATIO} times the archive's size or {MOST_ENTRIES:,} entries"
    return _refused(archive, f"{what} come to more than {limit}")
