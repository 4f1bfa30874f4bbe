"""Archives, unpacked so that none of their members can do harm and a stop midway can be gone on from."""

import bz2
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from segcli.errors import DataError
from segcli.io.files import replacing, write_text

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much is done and how much there is."""

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by their first two bytes

# No dataset is like this, but a bomb is: so much larger than its archive, or so many entries.
_MOST_RATIO = 200
_MOST_ENTRIES = 5_000_000
_UNSUSPICIOUS = 1 << 30  # bytes; what unpacks to less may be of any ratio

_CHUNK = 1 << 20
_MIB = 1 << 20
_SPECIAL = (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK)

# The parsers of the standard library meet damage with any of these.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


def is_archive(path: Path) -> bool:
    """Whether a path is a file that `unpack` reads, by its name."""
    return path.name.lower().endswith(_SUFFIXES) and path.is_file()


def unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpacks the files of a zip or tar archive; what an interrupted call has unpacked is kept and not done again.

    All members are looked at before anything is written. `.NAME.unpacked` in the folder says that the archive of that
    name is unpacked, and by its size and time which one it was.

    Args:
        archive: a .zip, or a .tar that may be compressed by gzip, bzip2 or xz.
        folder: where its files go; files there that have the right size are kept.
        progress: told of each file.

    Raises:
        DataError: if the archive is missing, damaged, encrypted or a bomb, or if a member of it is a link or a device
            or would be written outside the folder.
        SegError: if a file cannot be written, or the disk is full.
    """
    if not archive.is_file():
        raise DataError(f"{archive}: no such file")
    state = archive.stat()
    stamp = f"{state.st_size} {state.st_mtime_ns}"
    begun, done = (folder / f".{archive.name}.{how}" for how in ("unpacking", "unpacked"))
    if _text(done) == stamp:
        return
    root = folder.resolve()
    plan = _plan(archive, root, progress)
    if {_text(begun), _text(done)} - {"", stamp}:
        # They came from another archive of this name: a file of the same size may still be another.
        _remove(root, [*plan, done.name])
    _check_room(archive, root, plan)
    write_text(begun, stamp)
    _write(archive, root, plan, progress)
    begun.replace(done)


class _Planned(NamedTuple):
    place: int  # of the member in the archive
    size: int  # bytes


@dataclass(frozen=True)
class _Member:
    """An entry of an archive.

    Attributes:
        name: as it stands there.
        size: in bytes, as it stands there.
        is_folder: a folder, and so nothing to write.
        fault: why it cannot be unpacked, whatever it is called; empty where it can.
        open: gives its bytes, as long as no later member was asked for.
    """

    name: str
    size: int
    is_folder: bool
    fault: str
    open: Callable[[], IO[bytes]]

    @property
    def path(self) -> str:
        """Where it belongs below the folder."""
        return "/".join(PurePosixPath(self.name).parts)

    @property
    def label(self) -> str:
        """What to call it in a message of one line."""
        return repr(self.name if len(self.name) <= 200 else f"{self.name[:200]}…")


def _plan(archive: Path, root: Path, progress: Progress) -> dict[str, _Planned]:
    """The files to write, by where they belong; of those that share a place the last counts."""
    plan: dict[str, _Planned] = {}
    packed, total = archive.stat().st_size, 0

    def tell(position: int) -> None:
        progress(f"checking {archive.name}", -(-position // _MIB), -(-packed // _MIB))

    with closing(_members(archive, tell)) as members:
        for place, member in enumerate(members):
            fault = member.fault or _fault_of_name(member)
            if fault:
                raise _refused(archive, f"its member {member.label} {fault}")
            total += member.size
            if total > _most_bytes(packed) or place >= _MOST_ENTRIES:
                raise _bomb(archive, f"its member {member.label} and those before it")
            if not member.is_folder:
                plan[member.path] = _Planned(place, member.size)
    if not plan:
        raise DataError(f"{archive} holds no files; if it should, fetch it anew")
    _check_links(archive, root, plan)
    return plan


def _fault_of_name(member: _Member) -> str:
    path = PurePosixPath(member.name)
    if not (path.parts or member.is_folder):
        return "has no name"
    if re.search(r"[\x00-\x1f\\]", member.name):
        return "has a backslash or a control character in its name"
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member.path):
        return "would be written outside the folder"
    return ""


def _check_links(archive: Path, root: Path, plan: Iterable[str]) -> None:
    for parent in {path.rpartition("/")[0] for path in plan}:
        place = (root / parent).resolve()
        if not place.is_relative_to(root):
            raise DataError(
                f"{archive}: its folder {parent!r} would be written to {place}, where a link in {root} points; "
                f"remove the link, or unpack to an empty folder"
            )


def _check_room(archive: Path, root: Path, plan: Mapping[str, _Planned]) -> None:
    needed = sum(planned.size for path, planned in plan.items() if not _is_there(root / path, planned.size))
    free = shutil.disk_usage(next(place for place in (root, *root.parents) if place.is_dir())).free
    if needed > free:
        raise DataError(
            f"{archive}: its {len(plan)} files need {_gib(needed)} more, but the disk of {root} has {_gib(free)} free; "
            f"make room, or unpack elsewhere"
        )


def _write(archive: Path, root: Path, plan: Mapping[str, _Planned], progress: Progress) -> None:
    done = 0
    with closing(_members(archive)) as members:
        for place, member in enumerate(members):
            # What was not planned (a folder, a file that comes again, a change meanwhile) is passed over.
            if member.is_folder or plan.get(member.path) != (place, member.size):
                continue
            target = root / member.path
            if not _is_there(target, member.size):
                _copy(archive, member, target)
            done += 1
            progress(f"unpacking {archive.name}", done, len(plan))
    if done != len(plan):
        raise DataError(f"{archive} was changed while it was unpacked; unpack it again")


def _copy(archive: Path, member: _Member, target: Path) -> None:
    left = member.size
    with _damage(archive, member):
        stream = member.open()
    with stream, replacing(target) as staged, staged.open("wb") as out:
        while chunk := _read(archive, member, stream):
            left -= len(chunk)
            if left < 0:
                break
            out.write(chunk)
        if left:
            raise _refused(archive, f"its member {member.label} is not of the {member.size} bytes that it declares")


def _read(archive: Path, member: _Member, stream: IO[bytes]) -> bytes:
    with _damage(archive, member):
        return stream.read(_CHUNK)


def _members(archive: Path, tell: Callable[[int], None] = lambda position: None) -> Generator[_Member, None, None]:
    """The entries in their order.

    Args:
        archive: the file.
        tell: told how many of its bytes are read, where finding the entries means reading it all.
    """
    with _damage(archive):
        yield from _of_zip(archive) if archive.name.lower().endswith(".zip") else _of_tar(archive, tell)


def _of_zip(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            open_it = partial(packed.open, info)
            yield _Member(info.orig_filename, info.file_size, info.is_dir(), _fault_in_zip(info), open_it)


def _fault_in_zip(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind in _SPECIAL:
        return "is a device or a pipe"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Python expands bzip2 and lzma in zip files at one go, however much it is; it cannot read others.
        return "is compressed by another method than deflate"
    return ""


def _of_tar(archive: Path, tell: Callable[[int], None]) -> Iterator[_Member]:
    with archive.open("rb") as raw, _expanded(raw) as stream, tarfile.open(fileobj=stream, mode="r:") as packed:
        while (info := packed.next()) is not None:
            packed.members.clear()  # type: ignore[attr-defined]  # it would keep every one in memory
            yield _Member(info.name, info.size, info.isdir(), _fault_in_tar(info), partial(_open_in_tar, packed, info))
            tell(raw.tell())
        # The parser takes a damaged header, and the end of the file, for the end of the archive.
        stream.seek(packed.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it breaks off before its end")
        # What compresses it checks its sum at the end of the file.
        end = stream.tell()
        while stream.read(_CHUNK):
            if stream.tell() - end > _most_bytes(archive.stat().st_size):
                raise _bomb(archive, "what follows its last member")
        tell(raw.tell())


def _open_in_tar(packed: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = packed.extractfile(info)
    assert stream is not None, "only files are opened"
    return stream


def _fault_in_tar(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "is a symbolic link" if info.issym() else "is a hard link"
    if not (info.isreg() or info.isdir()):
        return "is a device, a pipe or of an unknown kind"
    if info.issparse() or info.size < 0:
        return "is a sparse file" if info.issparse() else "has no proper size"
    return ""


class _Bounded(io.BufferedReader):
    """A stream that a header with a false length cannot make read everything into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _CHUNK:
            raise tarfile.ReadError(f"a header of it claims a length of {size} bytes")
        return super().read(size)


def _expanded(raw: io.BufferedReader) -> _Bounded:
    start = raw.peek(2)[:2]
    return _Bounded(_OPENERS[start](raw, "rb") if start in _OPENERS else raw)  # type: ignore[operator]


def _most_bytes(packed: int) -> int:
    return max(_UNSUSPICIOUS, _MOST_RATIO * packed)


@contextmanager
def _damage(archive: Path, member: _Member | None = None) -> Iterator[None]:
    """Says of which archive, and which member of it, is what cannot be read."""
    try:
        yield
    except _DAMAGE as error:
        where = f"{archive}, member {member.label}," if member else f"{archive}"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where} cannot be unpacked: {reason}; if it is damaged, fetch it anew") from error


def _refused(archive: Path, why: str) -> DataError:
    return DataError(f"{archive}: {why}; if you trust it, unpack it by hand and give the folder")


def _bomb(archive: Path, what: str) -> DataError:
    limit = f"{_MOST_RATIO} times the archive's size or {_MOST_ENTRIES:,} entries"
    return _refused(archive, f"{what} come to more than {limit}")


def _is_there(path: Path, size: int) -> bool:
    try:
        state = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_size == size


def _remove(root: Path, paths: Iterable[str]) -> None:
    for path in paths:
        if (root / path).is_file() or (root / path).is_symlink():
            (root / path).unlink()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
