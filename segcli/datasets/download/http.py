"""Files of datasets, fetched over http(s): gone on with after a break, and verified."""

import re
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Retry, make_headers
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, TimeoutError
from urllib3.util import parse_url

from segcli import __version__
from segcli.datasets.download.checksums import MIB, checksum, mebibytes, text
from segcli.errors import DataError, SegError
from segcli.io.files import write_text
from segcli.parallel import Progress

_PASSING = frozenset({408, 425, 429, *range(500, 600)})  # the statuses that another try may cure
_LONGEST_WAIT = 120  # seconds, whatever a server asks for
_BY_HAND = "get it by hand and give its folder with --from DIR"


@dataclass(frozen=True)
class Remote:
    """A file on a server."""

    url: str  # over http or https
    size: int | None = None  # in bytes, where it is known
    checksum: str | None = None  # "md5:…", "sha1:…" or "sha256:…" in hex, where one is published
    source: str | None = None  # where the checksum is published
    name: str | None = None  # what to call the file; None is the last part of the url's path

    @property
    def file(self) -> str:
        """What the file is called on disk."""
        return self.name or PurePosixPath(unquote(urlsplit(self.url).path)).name


def download(
    remote: Remote, folder: Path, progress: Progress, *, tries: int = 6, timeout: float = 30, pause: float = 1.0
) -> str:
    """Fetches a file and verifies it; a whole file that is there is only verified, and a part of it is gone on with.

    What has come stands in FILE.part, and where that is from in FILE.part.origin. Where no checksum is published, the
    sha256 of the first download is kept in FILE.sha256. `.FILE.verified` saves reading a large file at each call.

    Args:
        remote: the file.
        folder: where it goes.
        progress: told of each MiB.
        tries: how often in a row the connection may fail without more of the file coming.
        timeout: seconds without a byte after which the connection has failed.
        pause: seconds that the waits between tries begin with; each is twice as long as the one before.

    Returns:
        The checksum of its bytes: of the kind that is published, else "sha256:…", the same as at the first download.

    Raises:
        DataError: if the server refuses to give the file, or gives another one.
        SegError: if the server cannot be reached, or the file cannot be written.
    """
    if urlsplit(remote.url).scheme not in ("http", "https") or not remote.file.strip("."):
        raise DataError(f"{remote.url} is no address of a file over http or https; {_BY_HAND}")
    path, record = folder / remote.file, folder / f"{remote.file}.sha256"
    expected = remote.checksum.lower() if remote.checksum else None
    if expected is None and text(record):
        expected = f"sha256:{text(record).split()[0].lower()}"
        remote = replace(remote, source=str(record))
    retries = Retry(
        tries - 1, status_forcelist=_PASSING, backoff_factor=pause / 2, retry_after_max=_LONGEST_WAIT,
        raise_on_status=False, raise_on_redirect=False,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _connections(remote.url, retries=retries, timeout=timeout) as pool:
            came = _Fetching(remote, path, expected, progress, pool, tries, pause).run()
        if expected is None:
            write_text(record, f"{came.removeprefix('sha256:')}  {path.name}\n")  # as sha256sum does
    except OSError as error:
        raise SegError(
            f"{path} cannot be written: {error.strerror or error}. What has come is kept; mend that and call again."
        ) from error
    return came


class _Wrong(Exception):
    """These are not the right bytes; the message says what was expected and what came."""


class _Broken(Exception):
    """The connection failed in a way that another try may cure."""


@dataclass(frozen=True)
class _Fetching:
    """A file, what it must be, and what has come of it so far."""

    remote: Remote
    path: Path
    expected: str | None
    progress: Progress
    pool: PoolManager
    tries: int
    pause: float

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def origin(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part.origin")

    @property
    def come(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    @property
    def version(self) -> str:
        """The ETag, or the date, that the server gave with the part; empty where it gave none or is another."""
        url, _, version = text(self.origin).partition("\n")
        return version if url == self.remote.url else ""

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def run(self) -> str:
        """The checksum of the file, after it has come if it was not there; wrong bytes are fetched once more."""
        for find in (partial(self.verified, self.path), self.fetched, self.fetched):
            try:
                return find()
            except _Wrong as error:
                wrong = error
        raise DataError(f"{self.remote.url}: {wrong}, and likewise at a second try; {_BY_HAND}")

    def verified(self, file: Path) -> str:
        """The checksum of a file, if it is the right one."""
        size = file.stat().st_size if file.is_file() else None
        if size is None or self.remote.size not in (None, size):
            raise _Wrong(f"{self.remote.size} bytes were expected, but there are {size}")
        memory = self.path.with_name(f".{self.path.name}.verified")
        came = checksum(file, (self.expected or "sha256:").partition(":")[0], memory, self.progress)
        if self.expected not in (None, came):
            memory.unlink()
            raise _Wrong(f"{self.expected} was expected (as {self.remote.source} says), but {came} came")
        return came

    def fetched(self) -> str:
        """The checksum of the file, after what is missing of it has come; a body that breaks off is gone on with."""
        failures, most = 0, self.come
        while True:
            try:
                self.ask()
                came = self.verified(self.part)
                self.part.replace(self.path)
                self.origin.unlink(missing_ok=True)
                return came
            except _Wrong:
                self.discard()
                raise
            except _Broken as broken:
                # A connection that breaks often, but brings more each time, gets there.
                failures = 1 if self.come > most else failures + 1
                most = max(most, self.come)
                if failures >= self.tries:
                    raise self.gave_up(str(broken)) from broken
            time.sleep(self.pause * 2 ** (failures - 1))

    def gave_up(self, why: str) -> SegError:
        times = "once" if self.tries == 1 else f"{self.tries} times in a row"
        return SegError(f"{self.remote.url}: {why}, {times}; call again to go on where it stopped, or {_BY_HAND}")

    def ask(self) -> None:
        """Fetches what is missing, as far as one answer brings it."""
        # Without its version nobody knows what more bytes would be glued to, unless a checksum tells in the end.
        start = self.come if self.version or self.remote.checksum else 0
        headers = {"User-Agent": f"segcli/{__version__}"}
        if start:
            headers |= {"Range": f"bytes={start}-"} | ({"If-Range": self.version} if self.version else {})
        try:
            answer = self.pool.request(
                "GET", self.remote.url, headers=headers, preload_content=False, decode_content=False
            )
        except HTTPError as error:
            raise self.gave_up(_reason(error)) from error
        with answer:
            if answer.status in (200, 206):
                self.receive(answer, start)
            elif answer.status != 416 or not start:
                said = f"the server answered {answer.status} {answer.reason}"
                if answer.status in _PASSING:
                    raise self.gave_up(said)
                raise DataError(f"{self.remote.url}: {said}; {_BY_HAND}")
            elif answer.headers.get("Content-Range") != f"bytes */{start}":  # else the part is the whole file
                self.discard()
                raise _Broken("the server has no such part of the file")

    def receive(self, answer: BaseHTTPResponse, start: int) -> None:
        """Adds the body of an answer to the part, or begins it anew where the whole file comes."""
        etag, length = answer.headers.get("ETag", ""), answer.length_remaining
        # A weak one may stay the same while bytes change.
        version = answer.headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag
        whole = length
        if answer.status == 206:
            found = re.fullmatch(rf"bytes {start}-\d+/(\d+)", answer.headers.get("Content-Range", ""))
            if not start or not found or (version and self.version and version != self.version):
                self.discard()
                raise _Broken("the server goes on with another part, or with another file")
            whole = int(found[1])
        else:
            start = 0
            self.discard()  # in this order: bytes must never stand beside the version of others
            write_text(self.origin, f"{self.remote.url}\n{version}\n")
        if self.remote.size is not None and whole not in (None, self.remote.size):
            raise _Wrong(f"{self.remote.size} bytes were expected, but {whole} are offered")
        whole = whole or self.remote.size
        with self.part.open("ab") as out:
            # A body of unknown length that has come to the size expected must also end there.
            while (whole is None or out.tell() < whole + (length is None)) and (chunk := _read(answer)):
                out.write(chunk)
                self.progress(f"downloading {self.remote.file}", mebibytes(out.tell()), mebibytes(whole or out.tell()))
        if whole is not None and self.come < whole:
            raise _Broken(f"the connection broke off after {self.come} of {whole} bytes")


def _connections(url: str, **how: Any) -> PoolManager:
    """Connections through the proxy that the environment names for an address, where it names one."""
    proxy = None if proxy_bypass(urlsplit(url).hostname or "") else getproxies().get(urlsplit(url).scheme)
    if not proxy:
        return PoolManager(**how)
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    name = parse_url(proxy).auth
    return ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=unquote(name)) if name else None, **how)


def _read(answer: BaseHTTPResponse) -> bytes:
    try:
        return answer.read1(MIB) or b""
    except HTTPError as error:
        raise _Broken(_reason(error)) from error


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, MaxRetryError) else error
    return (
        "no answer came in time"
        if isinstance(reason, TimeoutError) and not isinstance(reason, NewConnectionError)
        else " ".join(str(reason).split())
    )
