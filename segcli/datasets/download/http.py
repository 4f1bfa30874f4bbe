"""Files of datasets, fetched over http(s): gone on with after a break, and verified."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from segcli import __version__
from segcli.errors import DataError, SegError
from segcli.io.files import write_text
from segcli.parallel import Progress

_MIB = 1 << 20
_PASSING = {408, 425, 429}  # the statuses below 500 that another try may cure
_BY_HAND = "get it by hand and give its folder with --from DIR"


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        url: where it is, over http or https.
        size: in bytes, where it is known.
        checksum: "md5:…" or "sha256:…" in hex, where one is published.
        source: where the checksum is published.
        name: what to call the file; None is the last part of the url's path.
    """

    url: str
    size: int | None = None
    checksum: str | None = None
    source: str | None = None
    name: str | None = None

    @property
    def file(self) -> str:
        """What the file is called on disk."""
        return self.name or PurePosixPath(unquote(urlsplit(self.url).path)).name


@dataclass(frozen=True)
class Downloaded:
    """A file that is here.

    Attributes:
        path: where it is.
        sha256: of its bytes, in hex; None where only another checksum is published.
        verified: a published checksum says that these are the right bytes. Otherwise the sha256 of the first download
            is recorded beside the file, and these are still the same.
    """

    path: Path
    sha256: str | None
    verified: bool


def download(
    remote: Remote, folder: Path, progress: Progress, *, tries: int = 6, timeout: float = 30, pause: float = 1.0
) -> Downloaded:
    """Fetches a file and verifies it; a whole file that is there is only verified, and a part of it is gone on with.

    What has come stands in FILE.part, and where that is from in FILE.part.origin. Where no checksum is published, the
    sha256 of the first download is kept in FILE.sha256. `.FILE.verified` saves reading a large file at each call.

    Args:
        remote: the file.
        folder: where it goes.
        progress: told of each MiB.
        tries: how often in a row the connection may fail without more of the file coming.
        timeout: seconds without a byte after which the connection has failed.
        pause: seconds before the second try; twice as many before each further one.

    Raises:
        DataError: if the server refuses to give the file, or gives another one.
        SegError: if the server cannot be reached, or the file cannot be written.
    """
    if urlsplit(remote.url).scheme not in ("http", "https") or not remote.file.strip("."):
        raise DataError(f"{remote.url} is no address of a file over http or https; {_BY_HAND}")
    path = folder / remote.file
    with _writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    if not _is_here(remote, path, progress):
        _fetch_right(remote, path, progress, _Patience(tries, timeout, pause))
    algorithm, _, digest = (_expected(remote, path) or "").partition(":")
    return Downloaded(path, digest if algorithm == "sha256" else None, remote.checksum is not None)


class _Wrong(Exception):
    """These are not the right bytes; the message says what was expected and what came."""


class _Broken(Exception):
    """The connection failed in a way that another try may cure."""


@dataclass(frozen=True)
class _Patience:
    tries: int
    timeout: float
    pause: float


def _is_here(remote: Remote, path: Path, progress: Progress) -> bool:
    """Whether the right file is there already; where nothing says which is right, it is taken for that."""
    if not path.is_file():
        return False
    expected = _expected(remote, path)
    if expected and _text(_memory(path)) == f"{_stamp(path)} {expected}":
        return True
    try:
        _remember(remote, path, _verified(remote, path, expected, progress))
    except _Wrong:
        return False
    return True


def _fetch_right(remote: Remote, path: Path, progress: Progress, patience: _Patience) -> None:
    """Fetches a file; where wrong bytes come, it is fetched once more from its start."""
    part, expected = _Part(path.with_name(f"{path.name}.part"), remote.url), _expected(remote, path)
    try:
        checksum = _fetch_and_verify(remote, part, expected, progress, patience)
    except _Wrong:
        part.discard()
        try:
            checksum = _fetch_and_verify(remote, part, expected, progress, patience)
        except _Wrong as wrong:
            part.discard()
            source = remote.source if remote.checksum else _record(path) if expected else None
            said = f" (as {source} says)" if source else ""
            raise DataError(f"{remote.url}: {wrong}{said}, and likewise at a second try; {_BY_HAND}") from None
    with _writing(path):
        part.path.replace(path)
        part.origin.unlink(missing_ok=True)
    _remember(remote, path, checksum)


def _fetch_and_verify(
    remote: Remote, part: "_Part", expected: str | None, progress: Progress, patience: _Patience
) -> str:
    failures, most = 0, part.size
    while True:
        try:
            _fetch(remote, part, progress, patience.timeout)
            return _verified(remote, part.path, expected, progress)
        except _Broken as broken:
            # A connection that breaks often, but brings more each time, gets there.
            failures = 1 if part.size > most else failures + 1
            most = max(most, part.size)
            if failures >= patience.tries:
                times = "once" if failures == 1 else f"{failures} times in a row"
                raise SegError(
                    f"{remote.url}: {broken}, {times}; call again to go on where it stopped, or {_BY_HAND}"
                ) from broken
        time.sleep(patience.pause * 2 ** (failures - 1))


@dataclass(frozen=True)
class _Part:
    """What has come of a file so far."""

    path: Path
    url: str

    @property
    def origin(self) -> Path:
        return self.path.with_name(f"{self.path.name}.origin")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str:
        """The ETag, or the date, that the server gave with it; empty where it gave none or it came from elsewhere."""
        url, _, version = _text(self.origin).partition("\n")
        return version if url == self.url else ""

    def begin(self, version: str) -> None:
        """Empties it for another version of the file."""
        # In this order: bytes must never stand beside the version of others.
        self.discard()
        write_text(self.origin, f"{self.url}\n{version}\n")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)


def _fetch(remote: Remote, part: _Part, progress: Progress, timeout: float) -> None:
    """Fetches what is missing of a file, as far as one connection brings it."""
    # Without its version nobody knows what more bytes would be glued to, unless a checksum tells in the end.
    start = part.size if part.version or remote.checksum else 0
    headers = {"User-Agent": f"segcli/{__version__}"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": part.version} if part.version else {})
    try:
        with urlopen(Request(remote.url, headers=headers), timeout=timeout) as answer:
            _receive(answer, remote, part, start, progress)
    except HTTPError as error:
        with error:
            _on_refusal(error, remote, part, start)
    except (OSError, HTTPException) as error:
        raise _Broken(_reason(error)) from error


def _receive(answer: HTTPResponse, remote: Remote, part: _Part, start: int, progress: Progress) -> None:
    version = _version(answer.headers)
    if answer.status == 206:
        whole = _whole_of_rest(answer, start)
        if whole is None or (version and part.version and version != part.version):
            part.discard()
            raise _Broken("the server goes on with another part, or with another file")
    elif answer.status == 200:
        start, whole = 0, answer.length
        part.begin(version)
    else:
        raise _Broken(f"the server answered {answer.status} {answer.reason}")
    if remote.size is not None and whole not in (None, remote.size):
        raise _Wrong(f"{remote.size} bytes were expected, but {whole} are offered")
    _append(answer, part, start, whole or remote.size, _in_mib(progress, f"downloading {remote.file}"))


def _whole_of_rest(answer: HTTPResponse, start: int) -> int | None:
    """The size of the file, from an answer that goes on where its part ends; None where it does not."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if not found or not start or int(found[1]) != start:
        return None
    return int(found[2]) + 1 if found[3] == "*" else int(found[3])


def _append(
    answer: HTTPResponse, part: _Part, done: int, whole: int | None, tell: Callable[[int, int | None], None]
) -> None:
    with _writing(part.path), part.path.open("ab") as out:
        # A body of unknown length that has come to the size expected must also end there.
        while (whole is None or done < whole + (answer.length is None)) and (chunk := _read(answer)):
            out.write(chunk)
            done += len(chunk)
            tell(done, whole)
    if whole is not None and done < whole:
        raise _Broken(f"the connection broke off after {done} of {whole} bytes")


def _read(answer: HTTPResponse) -> bytes:
    try:
        return answer.read1(_MIB)
    except (OSError, HTTPException) as error:
        raise _Broken(_reason(error)) from error


def _on_refusal(error: HTTPError, remote: Remote, part: _Part, start: int) -> None:
    """Raises what an answer of 400 and above means; nothing where it means that the part is the whole file."""
    if error.code == 416 and start:
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return
        part.discard()
    elif error.code < 500 and error.code not in _PASSING:
        raise DataError(f"{remote.url}: the server answered {error.code} {_reason(error)}; {_BY_HAND}") from None
    raise _Broken(f"the server answered {error.code} {_reason(error)}")


def _version(headers: Message) -> str:
    etag = headers.get("ETag", "")
    # A weak one may stay the same while bytes change.
    return str(headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag)


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return "no answer came in time"
    return " ".join(str(reason).split()) or type(reason).__name__


def _verified(remote: Remote, file: Path, expected: str | None, progress: Progress) -> str:
    """The checksum of a file, of the kind that is expected, and sha256 where none is.

    Raises:
        _Wrong: if it is another than expected, or its size is.
    """
    size = file.stat().st_size
    if remote.size not in (None, size):
        raise _Wrong(f"{remote.size} bytes were expected, but there are {size}")
    algorithm = (expected or "sha256:").partition(":")[0]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    tell, done = _in_mib(progress, f"verifying {remote.file}"), 0
    with file.open("rb") as stream:
        while chunk := stream.read(_MIB):
            digest.update(chunk)
            done += len(chunk)
            tell(done, size)
    checksum = f"{algorithm}:{digest.hexdigest()}"
    if expected not in (None, checksum):
        raise _Wrong(f"{expected} was expected, but {checksum} came")
    return checksum


def _expected(remote: Remote, path: Path) -> str | None:
    """The published checksum, else that of the first download, else None."""
    if remote.checksum:
        return remote.checksum.lower()
    words = _text(_record(path)).split()
    return f"sha256:{words[0].lower()}" if words else None


def _remember(remote: Remote, path: Path, checksum: str) -> None:
    if not remote.checksum:
        write_text(_record(path), f"{checksum.removeprefix('sha256:')}  {path.name}\n")  # as sha256sum does
    write_text(_memory(path), f"{_stamp(path)} {checksum}\n")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _memory(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def _stamp(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _in_mib(progress: Progress, what: str) -> Callable[[int, int | None], None]:
    """A function that is told of bytes and tells the progress of each further MiB."""
    shown = -1

    def tell(done: int, total: int | None) -> None:
        nonlocal shown
        if done // _MIB != shown or done == total:
            shown = done // _MIB
            progress(what, -(-done // _MIB), -(-(total or done) // _MIB))

    return tell


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SegError(
            f"{path} cannot be written: {error.strerror or error}. What has come is kept; mend that and call again."
        ) from error
