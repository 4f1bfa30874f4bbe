"""Files that are whole or not there: everything is written beside its place first, then renamed."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unicodedata import category

import platformdirs
from filelock import FileLock, Timeout

from segcli.errors import DataError, FileProblem, SegError, UsageError

_UMASK = threading.Lock()


def cache_folder() -> Path:
    """Where files go that only save time: the user's cache folder, or the one that SEGCLI_CACHE names."""
    named = os.environ.get("SEGCLI_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("segcli")


def walk(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Everything below a folder, subfolders too, in the order of the paths.

    Names that begin with a dot are passed over. Links are followed, but not those to a folder that they lie in.

    Args:
        folder: where to begin.
        above: the folders that it lies in, which are not entered again.

    Raises:
        FileProblem: if there is no such folder, or it cannot be read.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problem = error.strerror if folder.is_dir() else "no such folder"
        raise FileProblem(f"{folder}: {problem}", "missing") from None
    above = (*above, folder.resolve())
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        if not (path.is_dir() if entry.is_symlink() else entry.is_dir()):
            yield path
        elif path.resolve() not in above:
            yield path
            yield from walk(path, above)


@contextmanager
def replacing(path: Path, durable: bool = False, staging: Path | None = None) -> Iterator[Path]:
    """Gives a temporary file to write; it takes the place of `path` when the block ends without an error.

    Args:
        path: the file to make or to replace.
        durable: wait until the disk holds it, so that not even a power cut leaves half of it.
        staging: an existing folder on the same disk for the temporary file, where what a killed process leaves is
            found at once; None puts it beside `path`.

    Raises:
        SegError: if the place cannot be written, or the disk is full.
    """
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=staging or path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(descriptor)
        staged = Path(name)
        try:
            yield staged
            staged.chmod(0o666 & ~_umask())
            if durable:
                _sync(staged)
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, durable: bool = False) -> Iterator[Path]:
    """Gives a temporary folder to fill; it takes the place of `path` when the block ends without an error.

    Args:
        path: the folder to make or to replace.
        durable: wait until the disk holds every file of it.
    """
    path = path.resolve()
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        staged.chmod(0o777 & ~_umask())
        _put_back(path)
        try:
            yield staged
            for file in staged.rglob("*") if durable else ():
                if file.is_file():
                    _sync(file)
            _swap(staged, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def going_on_in(path: Path) -> Iterator[Path]:
    """Gives a hidden folder beside `path` to fill, with what an interrupted attempt left there.

    It takes the place of `path` when the block ends without an error. It stays where the block was interrupted or the
    disk is full, and goes where an error says that what is to be written is wrong.

    Raises:
        UsageError: if another process fills it at this moment.
        SegError: if it cannot be written, or the disk is full.
    """
    path = path.resolve()
    staged = path.with_name(f".{path.name}.part")
    with _write_errors(path), only_one(path):
        _put_back(path)
        staged.mkdir(parents=True, exist_ok=True)
        try:
            yield staged
        except (DataError, UsageError):
            shutil.rmtree(staged)
            raise
        _swap(staged, path)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Keeps other processes from writing the same folder meanwhile.

    Raises:
        UsageError: if another process writes it at this moment.
    """
    was_there = path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    try:
        with FileLock(file, blocking=False):
            try:
                yield
            finally:
                # While it is held, so that nobody's new lock goes; whoever opened this file sees that it is gone.
                with suppress(PermissionError):  # Windows keeps files that are open
                    file.unlink(missing_ok=True)
    except Timeout:
        raise UsageError(f"another seg is writing {path} at this moment; wait for it, or stop it") from None
    finally:
        if not was_there and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _swap(staged: Path, path: Path) -> None:
    """Puts a folder into its place; what stands there goes, unless that fails."""
    old = path.with_name(f".{path.name}.old")
    try:
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.replace(old)
        staged.replace(path)
    finally:
        _put_back(path)
        shutil.rmtree(old, ignore_errors=True)


def _put_back(path: Path) -> None:
    """Undoes a replacement that was stopped between its two renames."""
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.replace(path)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if isinstance(error.filename, str) and not Path(error.filename).resolve().is_relative_to(path.parent.resolve()):
            why += f" ({error.filename})"  # what the writing itself needs, such as a program
        raise SegError(f"{path} cannot be written: {why}. What was there before is kept.") from error


def write_text(path: Path, text: str) -> None:
    """Writes a text file in one go."""
    with replacing(path) as staged:
        staged.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    with _UMASK:  # which can be read only by setting it; two threads at once would lose it
        mask = os.umask(0)
        os.umask(mask)
    return mask


def is_text(name: str) -> bool:
    """Whether a path is UTF-8 without control characters, so that it can be written in a list and a terminal."""
    plain = name.isascii() and name.isprintable()
    return plain or not any(category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name)
