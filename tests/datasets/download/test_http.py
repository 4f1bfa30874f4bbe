import hashlib
import os
import random
import re
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from segcli.datasets.download import http as module
from segcli.datasets.download.http import Downloaded, Remote, download
from segcli.errors import DataError, SegError

DATA = random.Random(0).randbytes(300_000)
NEW = random.Random(1).randbytes(300_000)
HALF = 150_000
SHA256 = "sha256:" + hashlib.sha256(DATA).hexdigest()
MD5 = "md5:" + hashlib.md5(DATA).hexdigest()


@dataclass
class Server:
    """A server of one file, of which each answer can be told how to go wrong.

    Attributes:
        answers: how to answer each request in turn; the last stands for all that follow.
        data: the file.
        version: its headers.
        requests: the headers of the requests that came.
    """

    answers: list[Callable[["Handler"], None]]
    data: bytes = DATA
    version: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    requests: list[dict[str, str]] = field(default_factory=list)
    port: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sets/data%20set.zip?key=1"

    def ranges(self) -> list[str | None]:
        return [request.get("Range") for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    told: Server

    def do_GET(self) -> None:
        self.told.requests.append(dict(self.headers))
        number = min(len(self.told.requests), len(self.told.answers)) - 1
        self.told.answers[number](self)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers | self.told.version).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def right(handler: Handler) -> None:
    """As a good server does: with Range and If-Range."""
    data, asked = handler.told.data, handler.headers.get("Range")
    version = handler.headers.get("If-Range")
    if not asked or (version and version not in handler.told.version.values()):
        return handler.send(200, data)
    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
    if start >= len(data):
        return handler.send(416, b"", Content_Range=f"bytes */{len(data)}")
    return handler.send(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")


def without_ranges(handler: Handler) -> None:
    handler.send(200, handler.told.data)


def broken_off(handler: Handler) -> None:
    """Promises all and gives the first half."""
    handler.send(200, handler.told.data[:HALF], Content_Length=str(len(handler.told.data)))


def ten_more(handler: Handler) -> None:
    """Goes on rightly, but not far."""
    data, asked = handler.told.data, handler.headers.get("Range")
    start = int(asked[6:-1]) if asked else 0
    place = f"bytes {start}-{len(data) - 1}/{len(data)}" if asked else ""
    length = str(len(data) - start)
    handler.send(206 if asked else 200, data[start : start + 10], Content_Range=place, Content_Length=length)


def stalled(handler: Handler) -> None:
    broken_off(handler)
    handler.wfile.flush()
    handler.told.stopped.wait(20)


def reset(handler: Handler) -> None:
    """Hangs up without an answer."""
    handler.connection.close()


def status(code: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send(code, b"<html>no</html>")


def partial(body: bytes, place: str) -> Callable[[Handler], None]:
    """A part whatever was asked."""
    return lambda handler: handler.send(206, body, Content_Range=place)


def gives(data: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.send(200, data)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts servers, each told how to answer each request."""
    monkeypatch.setenv("no_proxy", "*")
    started: list[tuple[Server, ThreadingHTTPServer, threading.Thread]] = []

    def start(*answers: Callable[[Handler], None], **how: Any) -> Server:
        told = Server(list(answers), **how)
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Handler,), {"told": told}))
        server.handle_error = lambda *args: None  # type: ignore[method-assign]  # of clients that hang up
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((told, server, thread))
        return told

    yield start
    for told, server, thread in started:
        told.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def silent(what: str, done: int, total: int) -> None:
    pass


def fetch(told: Server, folder: Path, **how: Any) -> Downloaded:
    patience = {key: how.pop(key) for key in ("tries",) if key in how}
    remote = Remote(told.url, **({"size": len(told.data), "checksum": SHA256} | how))
    return download(remote, folder, silent, timeout=0.3, pause=0, **patience)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


HERE = [".data set.zip.verified", "data set.zip"]


def test_the_file_is_called_after_the_path_of_its_url() -> None:
    assert Remote("https://host/a/b%20c.zip?x=/y.tar#z").file == "b c.zip"
    assert Remote("https://host/download/17", name="set.tgz").file == "set.tgz"
    assert Remote("https://host/a/..%2F..%2Fetc%2Fpasswd").file == "passwd"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/a.zip", "/a.zip", "https://host/", "http://host/a/.."]
)
def test_what_is_no_address_of_a_file_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=f"{re.escape(url)} is no address of a file .*--from DIR"):
        download(Remote(url), tmp_path, silent)
    assert names(tmp_path) == []


@pytest.mark.parametrize("checksum", [SHA256, MD5, SHA256.upper().replace("SHA", "sha")])
def test_a_file_is_fetched_and_verified(tmp_path: Path, serve: Callable[..., Server], checksum: str) -> None:
    told, steps = serve(right), []
    got = download(
        Remote(told.url, len(DATA), checksum), tmp_path / "new" / "cache", lambda *step: steps.append(step), timeout=5
    )
    sha256 = None if checksum == MD5 else SHA256.removeprefix("sha256:")
    assert got == Downloaded(tmp_path / "new" / "cache" / "data set.zip", sha256, verified=True)
    assert got.path.read_bytes() == DATA and names(got.path.parent) == HERE
    assert set(steps) == {("downloading data set.zip", 1, 1), ("verifying data set.zip", 1, 1)}
    assert told.requests[0]["User-Agent"].startswith("segcli/")


def test_progress_is_told_once_a_mib(tmp_path: Path, serve: Callable[..., Server]) -> None:
    data, steps = bytes(5 * (1 << 20) // 2), []
    told = serve(right, data=data)
    download(Remote(told.url), tmp_path, lambda what, *step: steps.append((what.split()[0], step)))
    for what in ("downloading", "verifying"):
        told_of = [step for name, step in steps if name == what]
        assert told_of[-1] == (3, 3) and len(told_of) <= 4 and told_of == sorted(told_of)


@pytest.mark.parametrize("checksum", [SHA256, MD5, None])
def test_a_file_that_is_there_is_neither_fetched_nor_read_again(
    tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, checksum: str | None
) -> None:
    told = serve(right)
    first = fetch(told, tmp_path, checksum=checksum)
    read: list[str] = []
    monkeypatch.setattr(module.hashlib, "new", lambda *args, **kwargs: read.append("read"))
    assert fetch(told, tmp_path, checksum=checksum) == first
    assert len(told.requests) == 1 and not read


def test_a_file_put_there_by_hand_is_verified_and_not_fetched(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(right)
    (tmp_path / "data set.zip").write_bytes(DATA)
    assert fetch(told, tmp_path).verified and not told.requests and names(tmp_path) == HERE


@pytest.mark.parametrize("there", [NEW, DATA[:-1], DATA + b"x", b""])
def test_a_wrong_file_that_is_there_is_fetched(tmp_path: Path, serve: Callable[..., Server], there: bytes) -> None:
    (tmp_path / "data set.zip").write_bytes(there)
    assert fetch(serve(right), tmp_path).path.read_bytes() == DATA


def test_a_verified_file_that_is_touched_is_read_again(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(right)
    path = fetch(told, tmp_path).path
    path.write_bytes(NEW)
    os.utime(path, ns=(1, 1))
    fetch(told, tmp_path)
    assert path.read_bytes() == DATA and len(told.requests) == 2


@pytest.mark.parametrize("broken", [broken_off, stalled])
@pytest.mark.parametrize("version", [{"ETag": '"1"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {}])
def test_a_broken_connection_is_gone_on_from(
    tmp_path: Path, serve: Callable[..., Server], broken: Callable[[Handler], None], version: dict[str, str]
) -> None:
    told = serve(broken, right, version=version)
    assert fetch(told, tmp_path).path.read_bytes() == DATA
    assert told.ranges() == [None, f"bytes={HALF}-"]
    assert told.requests[1].get("If-Range") == next(iter(version.values()), None)
    assert names(tmp_path) == HERE


def test_without_version_and_checksum_nothing_is_glued_together(tmp_path: Path, serve: Callable[..., Server]) -> None:
    for version in ({}, {"ETag": 'W/"1"'}):
        told = serve(broken_off, right, version=version)
        assert fetch(told, tmp_path / str(len(version)), checksum=None).path.read_bytes() == DATA
        assert told.ranges() == [None, None]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(broken_off, reset, reset, right)
    with pytest.raises(SegError, match=r"2 times in a row; call again to go on where it stopped, or .*--from DIR"):
        fetch(told, tmp_path, tries=2)
    assert names(tmp_path) == ["data set.zip.part", "data set.zip.part.origin"]
    assert (tmp_path / "data set.zip.part").read_bytes() == DATA[:HALF]
    fetch(told, tmp_path, checksum=None)
    assert told.ranges()[-1] == f"bytes={HALF}-" and (tmp_path / "data set.zip").read_bytes() == DATA


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_a_part_from_another_url_is_not_gone_on_from_by_its_version(
    tmp_path: Path, serve: Callable[..., Server], checksum: str | None
) -> None:
    with pytest.raises(SegError):
        fetch(serve(broken_off), tmp_path, tries=1)
    other = serve(right)
    assert fetch(other, tmp_path, checksum=checksum).path.read_bytes() == DATA
    # With a checksum the worst is a second fetch; without one nobody would know.
    assert other.ranges() == ([f"bytes={HALF}-"] if checksum else [None])
    assert "If-Range" not in other.requests[0]


def test_a_connection_that_always_breaks_but_brings_more_gets_there(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    told = serve(ten_more, data=DATA[:95])
    fetch(told, tmp_path, tries=2, checksum=None)
    assert (tmp_path / "data set.zip").read_bytes() == DATA[:95]
    assert told.ranges() == [None, *(f"bytes={start}-" for start in range(10, 95, 10))]


@pytest.mark.parametrize("broken", [broken_off, reset, status(503)])
def test_it_gives_up_in_the_end(
    tmp_path: Path, serve: Callable[..., Server], broken: Callable[[Handler], None]
) -> None:
    told = serve(broken)
    told.version = {}
    with pytest.raises(SegError, match=rf"^{re.escape(told.url)}: .*, 3 times in a row; call again"):
        fetch(told, tmp_path, tries=3, checksum=None)
    assert len(told.requests) in (3, 4) and "data set.zip" not in names(tmp_path)


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(right)
    told.port = 1
    with pytest.raises(SegError, match=r"127.0.0.1:1/.*refused, 2 times in a row"):
        fetch(told, tmp_path, tries=2)


def test_the_pauses_double(tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    with pytest.raises(SegError):
        download(Remote(serve(status(500)).url), tmp_path, silent, tries=5, pause=0.5)
    assert pauses == [0.5, 1, 2, 4]


@pytest.mark.parametrize("code", [500, 502, 503, 429, 408])
def test_a_passing_refusal_is_tried_again(tmp_path: Path, serve: Callable[..., Server], code: int) -> None:
    told = serve(status(code), status(code), right)
    fetch(told, tmp_path)
    assert len(told.requests) == 3


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_lasting_refusal_is_not(tmp_path: Path, serve: Callable[..., Server], code: int) -> None:
    told = serve(status(code))
    with pytest.raises(DataError, match=rf"^{re.escape(told.url)}: the server answered {code} .*--from DIR$") as caught:
        fetch(told, tmp_path)
    assert "\n" not in str(caught.value) and len(told.requests) == 1 and names(tmp_path) == []


def test_a_redirection_is_followed_and_an_endless_one_is_not(tmp_path: Path, serve: Callable[..., Server]) -> None:
    goal = serve(broken_off, right)
    told = serve(lambda handler: handler.send(302, b"", Location=goal.url))
    assert fetch(told, tmp_path).path.read_bytes() == DATA and goal.ranges() == [None, f"bytes={HALF}-"]
    told = serve(lambda handler: handler.send(302, b"", Location=handler.path))
    with pytest.raises(DataError, match="the server answered 302") as caught:
        fetch(told, tmp_path / "again")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("checksum", [SHA256, None])
@pytest.mark.parametrize(
    "second",
    [
        pytest.param(without_ranges, id="range ignored"),
        pytest.param(partial(DATA[HALF + 1 :], f"bytes {HALF + 1}-{len(DATA) - 1}/{len(DATA)}"), id="other start"),
        pytest.param(partial(DATA[HALF:], "bytes */*"), id="no place"),
        pytest.param(partial(DATA[HALF:], ""), id="no Content-Range"),
        pytest.param(status(416), id="416"),
        pytest.param(partial(DATA[HALF : HALF + 7], f"bytes {HALF}-{HALF + 6}/{len(DATA)}"), id="less than asked"),
    ],
)
def test_a_server_that_does_not_go_on_rightly_is_coped_with(
    tmp_path: Path,
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    second: Callable[[Handler], None],
    checksum: str | None,
) -> None:
    monkeypatch.setattr(module, "_MIB", 1000)  # so that the file does not come in one go
    told = serve(broken_off, second, right)
    assert fetch(told, tmp_path, checksum=checksum, size=None).path.read_bytes() == DATA
    assert told.ranges()[1] == f"bytes={HALF}-" and names(tmp_path)[:2] == HERE
    assert len(told.requests) == (2 if second is without_ranges else 3)


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_file(tmp_path: Path, serve: Callable[..., Server]) -> None:
    for start in (0, HALF):
        told = serve(partial(DATA[start:], f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"), right)
        folder = tmp_path / str(start)
        folder.mkdir()
        (folder / "data set.zip.part").write_bytes(b"of another version")
        assert fetch(told, folder, checksum=None, size=None).path.read_bytes() == DATA
        assert told.ranges() == [None, None]


def test_a_part_that_is_the_whole_file_is_not_fetched_again(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(right)
    (tmp_path / "data set.zip.part").write_bytes(DATA)
    fetch(told, tmp_path)
    assert told.ranges() == [f"bytes={len(DATA)}-"] and names(tmp_path) == HERE


def test_a_part_longer_than_the_file_is_begun_anew(tmp_path: Path, serve: Callable[..., Server]) -> None:
    (tmp_path / "data set.zip.part").write_bytes(DATA + b"more")
    assert fetch(serve(right), tmp_path).path.read_bytes() == DATA


def changed(how: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """Answers after the file on the server was replaced."""

    def answer(handler: Handler) -> None:
        handler.told.data, handler.told.version = NEW, {"ETag": '"2"'}
        how(handler)

    return answer


def without_if_range(handler: Handler) -> None:
    del handler.headers["If-Range"]
    right(handler)


@pytest.mark.parametrize("how", [right, without_if_range])
def test_a_file_that_changes_between_two_parts_is_not_glued_together(
    tmp_path: Path, serve: Callable[..., Server], how: Callable[[Handler], None]
) -> None:
    got = fetch(serve(broken_off, changed(how)), tmp_path, checksum=None)
    assert got.path.read_bytes() == NEW and got.sha256 == hashlib.sha256(NEW).hexdigest()


def test_a_body_without_length_is_whole_when_its_size_is(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def unmeasured(handler: Handler) -> None:
        handler.send(200, DATA[:HALF], Content_Length="")

    assert fetch(serve(unmeasured, right), tmp_path, checksum=None).path.read_bytes() == DATA
    (tmp_path / "other").mkdir()
    told = serve(lambda handler: handler.send(200, DATA, Content_Length=""))
    assert fetch(told, tmp_path / "other", checksum=None, size=None).path.read_bytes() == DATA


def test_a_body_without_end_is_not_read_for_ever(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def endless(handler: Handler) -> None:
        handler.send(200, b"", Content_Length="")
        while not handler.told.stopped.is_set():
            handler.wfile.write(DATA)

    with pytest.raises(DataError, match=f"{len(DATA)} bytes were expected, but there are"):
        fetch(serve(endless), tmp_path)


def test_a_body_in_chunks_is_read(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def chunked(body: bytes) -> Callable[[Handler], None]:
        return lambda handler: handler.send(200, body, Content_Length="", Transfer_Encoding="chunked")

    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (DATA[:HALF], DATA[HALF:]))
    told = serve(chunked(chunks[:200_000]), chunked(chunks + b"0\r\n\r\n"), version={})
    assert fetch(told, tmp_path, checksum=None, size=None).path.read_bytes() == DATA
    assert len(told.requests) == 2


def test_an_empty_file_is_a_file(tmp_path: Path, serve: Callable[..., Server]) -> None:
    assert fetch(serve(right, data=b""), tmp_path, checksum=None, size=None).path.read_bytes() == b""


@pytest.mark.parametrize("wrong", [NEW, DATA[:-1], DATA + b"x", b"<html>log in</html>"])
@pytest.mark.parametrize("size", [len(DATA), None])
def test_wrong_bytes_are_fetched_once_more_from_the_start(
    tmp_path: Path, serve: Callable[..., Server], wrong: bytes, size: int | None
) -> None:
    told = serve(gives(wrong), right)
    assert fetch(told, tmp_path, size=size).path.read_bytes() == DATA
    assert told.ranges() == [None, None] and names(tmp_path) == HERE


def test_bytes_that_are_always_wrong_are_refused(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(gives(NEW))
    came = hashlib.sha256(NEW).hexdigest()
    match = f"{SHA256} was expected, but sha256:{came} came .as a page says.*second try.*--from DIR"
    with pytest.raises(DataError, match=match):
        fetch(told, tmp_path, source="a page")
    assert len(told.requests) == 2 and names(tmp_path) == []


@pytest.mark.parametrize("length", [True, False], ids=["Content-Length", "none"])
def test_a_size_that_is_always_wrong_is_refused(tmp_path: Path, serve: Callable[..., Server], length: bool) -> None:
    told = serve(gives(DATA) if length else lambda handler: handler.send(200, DATA, Content_Length=""))
    with pytest.raises(DataError, match=r"200000 bytes were expected, but (300000 are offered|there are [23]\d{5})"):
        fetch(told, tmp_path, size=200_000, checksum=None)
    assert len(told.requests) == 2 and names(tmp_path) == []


def test_a_wrong_file_that_is_there_stays_until_the_right_one_comes(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    (tmp_path / "data set.zip").write_bytes(NEW)
    with pytest.raises(DataError):
        fetch(serve(status(404)), tmp_path)
    assert (tmp_path / "data set.zip").read_bytes() == NEW


def test_without_a_checksum_that_of_the_first_download_is_recorded_and_held(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    got = fetch(serve(right), tmp_path, checksum=None)
    sha256 = hashlib.sha256(DATA).hexdigest()
    assert got == Downloaded(tmp_path / "data set.zip", sha256, verified=False)
    assert (tmp_path / "data set.zip.sha256").read_text() == f"{sha256}  data set.zip\n"
    # Damaged here: it is fetched anew, and another file is not taken for it.
    got.path.write_bytes(DATA[:-1] + b"?")
    os.utime(got.path, ns=(1, 1))
    told = serve(gives(NEW))
    with pytest.raises(DataError, match=rf"{sha256} was expected, .* \(as .*data set.zip.sha256 says\)"):
        fetch(told, tmp_path, checksum=None)
    assert fetch(serve(right), tmp_path, checksum=None) == got and got.path.read_bytes() == DATA


def test_a_published_checksum_goes_before_a_recorded_one(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(gives(NEW), right)
    fetch(told, tmp_path, checksum=None)
    assert fetch(told, tmp_path) == Downloaded(tmp_path / "data set.zip", SHA256[7:], verified=True)
    assert (tmp_path / "data set.zip").read_bytes() == DATA


@pytest.fixture
def full_disk() -> Iterator[Callable[[], None]]:
    """Gives a function after which files may grow again; until then none grows beyond 100 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    yield make_room
    make_room()
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_said_plainly_and_gone_on_from(
    tmp_path: Path, serve: Callable[..., Server], full_disk: Callable[[], None]
) -> None:
    told = serve(right)
    with pytest.raises(SegError, match=r"set.zip.part cannot be written: File too large. What has come is kept"):
        fetch(told, tmp_path)
    assert (tmp_path / "data set.zip.part").read_bytes() == DATA[:100_000] and len(told.requests) == 1
    full_disk()
    assert fetch(told, tmp_path).path.read_bytes() == DATA and told.ranges()[-1] == "bytes=100000-"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, serve: Callable[..., Server]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SegError, match=r"file/data set.zip cannot be written"):
        fetch(serve(right), tmp_path / "file")


def test_a_stop_by_the_user_keeps_the_part(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(right)

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(Remote(told.url, len(DATA), SHA256), tmp_path, stop)
    come = (tmp_path / "data set.zip.part").stat().st_size
    assert 0 < come <= len(DATA)
    assert fetch(told, tmp_path).path.read_bytes() == DATA and told.ranges()[-1] == f"bytes={come}-"
