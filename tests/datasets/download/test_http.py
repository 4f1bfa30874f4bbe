import base64
import gzip
import hashlib
import os
import random
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from segcli.datasets.download.http import Remote, download
from segcli.errors import DataError, SegError
from segcli.parallel import silent

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


def silence(handler: Handler) -> None:
    handler.told.stopped.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reset(handler: Handler) -> None:
    """Hangs up without an answer."""
    handler.connection.close()


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.send(code, b"<html>no</html>", **headers)


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


def fetch(told: Server, folder: Path, tries: int = 6, **how: Any) -> bytes:
    """What is in the file after its download."""
    remote = Remote(told.url, **({"size": len(told.data), "checksum": SHA256} | how))
    download(remote, folder, silent, tries=tries, timeout=0.3, pause=0)
    return (folder / "data set.zip").read_bytes()


def names(folder: Path) -> list[str]:
    """The files that are not hidden."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        (Remote("https://host/a/b%20c.zip?x=/y.tar#z"), "b c.zip"),
        (Remote("https://host/download/17", name="set.tgz"), "set.tgz"),
        (Remote("https://host/a/..%2F..%2Fetc%2Fpasswd"), "passwd"),
    ],
)
def test_the_file_is_called_after_the_path_of_its_url(remote: Remote, name: str) -> None:
    assert remote.file == name


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a.zip", "/a.zip", "https://host/", "http://host/.."])
def test_what_is_no_address_of_a_file_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=f"{re.escape(url)} is no address of a file .*--from DIR"):
        download(Remote(url), tmp_path, silent)


@pytest.mark.parametrize("checksum", [SHA256, MD5, SHA256.upper().replace("SHA", "sha"), None])
def test_a_file_is_fetched_and_verified_once(
    tmp_path: Path, serve: Callable[..., Server], checksum: str | None
) -> None:
    told, steps = serve(right), []
    remote = Remote(told.url, len(DATA), checksum)
    folder = tmp_path / "new" / "cache"
    came = download(remote, folder, lambda *step: steps.append(step), timeout=5)
    assert came == (SHA256 if checksum is None else checksum.lower())
    assert (folder / "data set.zip").read_bytes() == DATA
    assert set(steps) == {("downloading data set.zip", 1, 1), ("verifying data set.zip", 1, 1)}
    assert told.requests[0]["User-Agent"].startswith("segcli/")
    # Neither fetched nor read again, unless it is another by its time.
    steps.clear()
    assert download(remote, folder, lambda *step: steps.append(step)) == came
    assert not steps and len(told.requests) == 1
    (folder / "data set.zip").write_bytes(NEW)
    os.utime(folder / "data set.zip", ns=(1, 1))
    assert fetch(told, folder, checksum=checksum) == DATA


def test_a_file_put_there_by_hand_is_verified_and_not_fetched(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(right)
    (tmp_path / "data set.zip").write_bytes(DATA)
    assert fetch(told, tmp_path) == DATA and not told.requests


@pytest.mark.parametrize("there", [NEW, DATA[:-1], DATA + b"x", b""])
def test_a_wrong_file_that_is_there_is_fetched(tmp_path: Path, serve: Callable[..., Server], there: bytes) -> None:
    (tmp_path / "data set.zip").write_bytes(there)
    with pytest.raises(DataError):
        fetch(serve(status(404)), tmp_path)
    assert (tmp_path / "data set.zip").read_bytes() == there
    assert fetch(serve(right), tmp_path) == DATA


@pytest.mark.parametrize("broken", [broken_off, stalled])
@pytest.mark.parametrize("version", [{"ETag": '"1"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {}])
def test_a_broken_connection_is_gone_on_from(
    tmp_path: Path, serve: Callable[..., Server], broken: Callable[[Handler], None], version: dict[str, str]
) -> None:
    told = serve(broken, right, version=version)
    assert fetch(told, tmp_path) == DATA
    assert told.ranges() == [None, f"bytes={HALF}-"]
    assert told.requests[1].get("If-Range") == next(iter(version.values()), None)
    assert names(tmp_path) == ["data set.zip"]


def test_without_version_and_checksum_nothing_is_glued_together(tmp_path: Path, serve: Callable[..., Server]) -> None:
    for version in ({}, {"ETag": 'W/"1"'}):
        told = serve(broken_off, right, version=version)
        assert fetch(told, tmp_path / str(len(version)), checksum=None) == DATA
        assert told.ranges() == [None, None]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(broken_off, reset, reset, right)
    match = r"http://127.* 2 times in a row; call again to go on where it stopped, or .*--from DIR$"
    with pytest.raises(SegError, match=match) as caught:
        fetch(told, tmp_path, tries=2)
    assert "\n" not in str(caught.value) and len(told.requests) == 3
    assert names(tmp_path) == ["data set.zip.part", "data set.zip.part.origin"]
    assert fetch(told, tmp_path) == DATA and told.ranges()[-1] == f"bytes={HALF}-"


def test_a_part_from_elsewhere_is_not_gone_on_with(tmp_path: Path, serve: Callable[..., Server]) -> None:
    with pytest.raises(SegError, match="once"):
        fetch(serve(broken_off), tmp_path, tries=1, checksum=None)
    told = serve(right, data=NEW)
    assert fetch(told, tmp_path, checksum=None) == NEW and told.ranges() == [None]


def test_a_connection_that_brings_little_each_time_gets_there(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(*[ten_more] * 20, right)
    assert fetch(told, tmp_path, tries=2) == DATA
    assert told.ranges()[:3] == [None, "bytes=10-", "bytes=20-"] and len(told.requests) == 21


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path, serve: Callable[..., Server]) -> None:
    for url, why in [
        (f"http://127.0.0.1:{free_port()}/a.zip", "refused"),
        (serve(silence).url, "no answer came in time"),
    ]:
        with pytest.raises(SegError, match=rf"^{re.escape(url)}: .*{why}.*, 2 times in a row; .*--from DIR$") as caught:
            download(Remote(url), tmp_path, silent, tries=2, timeout=0.2, pause=0)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_passing_refusal_is_tried_again(tmp_path: Path, serve: Callable[..., Server], code: int) -> None:
    told = serve(status(code), status(code), right)
    fetch(told, tmp_path)
    assert len(told.requests) == 3
    with pytest.raises(SegError, match=f"the server answered {code} .*, 2 times in a row") as caught:
        fetch(serve(status(code)), tmp_path / "other", tries=2)
    assert not isinstance(caught.value, DataError)


def test_a_server_that_says_when_to_come_again_is_obeyed(tmp_path: Path, serve: Callable[..., Server]) -> None:
    begun = time.monotonic()
    fetch(serve(status(503, Retry_After="1"), right), tmp_path)
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_lasting_refusal_is_not(tmp_path: Path, serve: Callable[..., Server], code: int) -> None:
    told = serve(status(code))
    with pytest.raises(DataError, match=rf"^{re.escape(told.url)}: the server answered {code} .*--from DIR$") as caught:
        fetch(told, tmp_path)
    assert "\n" not in str(caught.value) and len(told.requests) == 1 and names(tmp_path) == []


def test_a_redirection_is_followed_and_an_endless_one_is_not(tmp_path: Path, serve: Callable[..., Server]) -> None:
    goal = serve(broken_off, right)
    told = serve(lambda handler: handler.send(302, b"", Location=goal.url))
    assert fetch(told, tmp_path) == DATA and goal.ranges() == [None, f"bytes={HALF}-"]
    told = serve(lambda handler: handler.send(302, b"", Location=handler.path))
    with pytest.raises(DataError, match="the server answered 302") as caught:
        fetch(told, tmp_path / "again")
    assert "\n" not in str(caught.value)


def test_the_proxy_of_the_environment_is_used(
    tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(right)
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    download(Remote("http://nowhere.invalid/a.zip", checksum=SHA256), tmp_path, silent, tries=1)
    assert (tmp_path / "a.zip").read_bytes() == DATA and proxy.requests[0]["Host"] == "nowhere.invalid"
    assert proxy.requests[0]["proxy-authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


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
    tmp_path: Path, serve: Callable[..., Server], second: Callable[[Handler], None], checksum: str | None
) -> None:
    told = serve(broken_off, second, right)
    assert fetch(told, tmp_path, checksum=checksum, size=None) == DATA
    assert told.ranges()[1] == f"bytes={HALF}-"
    assert len(told.requests) == (2 if second is without_ranges else 3)


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_file(tmp_path: Path, serve: Callable[..., Server]) -> None:
    for start in (0, HALF):
        told = serve(partial(DATA[start:], f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"), right)
        folder = tmp_path / str(start)
        folder.mkdir()
        (folder / "data set.zip.part").write_bytes(b"of another version")
        assert fetch(told, folder, checksum=None, size=None) == DATA
        assert told.ranges() == [None, None]


def test_a_part_that_is_the_whole_file_is_not_fetched_again(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(right)
    (tmp_path / "data set.zip.part").write_bytes(DATA)
    fetch(told, tmp_path)
    assert told.ranges() == [f"bytes={len(DATA)}-"] and names(tmp_path) == ["data set.zip"]


def test_a_part_longer_than_the_file_is_begun_anew(tmp_path: Path, serve: Callable[..., Server]) -> None:
    (tmp_path / "data set.zip.part").write_bytes(DATA + b"more")
    assert fetch(serve(right), tmp_path) == DATA


def without_if_range(handler: Handler) -> None:
    del handler.headers["If-Range"]
    right(handler)


@pytest.mark.parametrize("how", [right, without_if_range])
def test_a_file_that_changes_between_two_parts_is_not_glued_together(
    tmp_path: Path, serve: Callable[..., Server], how: Callable[[Handler], None]
) -> None:
    def changed(handler: Handler) -> None:
        handler.told.data, handler.told.version = NEW, {"ETag": '"2"'}
        how(handler)

    assert fetch(serve(broken_off, changed), tmp_path, checksum=None) == NEW


def test_a_body_without_length_is_whole_when_its_size_is(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told = serve(lambda handler: handler.send(200, DATA[:HALF], Content_Length=""), right)
    assert fetch(told, tmp_path, checksum=None) == DATA
    told = serve(lambda handler: handler.send(200, DATA, Content_Length=""))
    assert fetch(told, tmp_path / "other", checksum=None, size=None) == DATA


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
    assert fetch(told, tmp_path, checksum=None, size=None) == DATA
    assert len(told.requests) == 2


def test_bytes_are_kept_as_the_server_has_them(tmp_path: Path, serve: Callable[..., Server]) -> None:
    packed = gzip.compress(DATA)
    told = serve(lambda handler: handler.send(200, packed, Content_Encoding="gzip"))
    assert fetch(told, tmp_path, size=None, checksum=None) == packed


def test_an_empty_file_is_a_file(tmp_path: Path, serve: Callable[..., Server]) -> None:
    assert fetch(serve(right, data=b""), tmp_path, checksum=None, size=None) == b""


@pytest.mark.parametrize("wrong", [NEW, DATA[:-1], DATA + b"x", b"<html>log in</html>"])
@pytest.mark.parametrize("size", [len(DATA), None])
def test_wrong_bytes_are_fetched_once_more_from_the_start(
    tmp_path: Path, serve: Callable[..., Server], wrong: bytes, size: int | None
) -> None:
    told = serve(gives(wrong), right)
    assert fetch(told, tmp_path, size=size) == DATA
    assert told.ranges() == [None, None] and names(tmp_path) == ["data set.zip"]


def test_bytes_that_are_always_wrong_are_refused(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told, came = serve(gives(NEW)), hashlib.sha256(NEW).hexdigest()
    match = f"{SHA256} was expected .as a page says., but sha256:{came} came.*second try.*--from DIR"
    with pytest.raises(DataError, match=match):
        fetch(told, tmp_path, source="a page")
    assert len(told.requests) == 2 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [str(len(DATA)), ""], ids=["Content-Length", "none"])
def test_a_size_that_is_always_wrong_is_refused(tmp_path: Path, serve: Callable[..., Server], length: str) -> None:
    told = serve(lambda handler: handler.send(200, DATA, Content_Length=length))
    with pytest.raises(DataError, match=r"200000 bytes were expected, but (300000 are offered|there are [23]\d{5})"):
        fetch(told, tmp_path, size=200_000, checksum=None)
    assert len(told.requests) == 2 and names(tmp_path) == []


def test_without_a_checksum_that_of_the_first_download_is_recorded_and_held(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    assert fetch(serve(right), tmp_path, checksum=None) == DATA
    assert (tmp_path / "data set.zip.sha256").read_text() == f"{SHA256[7:]}  data set.zip\n"
    # Damaged here: it is fetched anew, and another file is not taken for it.
    (tmp_path / "data set.zip").write_bytes(DATA[:-1] + b"?")
    os.utime(tmp_path / "data set.zip", ns=(1, 1))
    with pytest.raises(DataError, match=rf"{SHA256} was expected \(as .*data set.zip.sha256 says\)"):
        fetch(serve(gives(NEW)), tmp_path, checksum=None)
    assert fetch(serve(right), tmp_path, checksum=None) == DATA
    # A published one goes before it.
    assert fetch(serve(gives(NEW)), tmp_path, checksum="sha256:" + hashlib.sha256(NEW).hexdigest()) == NEW


def test_a_full_disk_is_said_plainly_and_gone_on_from(tmp_path: Path, serve: Callable[..., Server]) -> None:
    told, limits = serve(right), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(SegError, match=r"set.zip cannot be written: File too large. What has come is kept"):
            fetch(told, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "data set.zip.part").read_bytes() == DATA[:100_000] and len(told.requests) == 1
    assert fetch(told, tmp_path) == DATA and told.ranges()[-1] == "bytes=100000-"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, serve: Callable[..., Server]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SegError, match=r"file/data set.zip cannot be written"):
        fetch(serve(right), tmp_path / "file")


def test_a_stop_by_the_user_keeps_the_part(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    told = serve(right)
    with pytest.raises(KeyboardInterrupt):
        download(Remote(told.url, len(DATA), SHA256), tmp_path, stop)
    come = (tmp_path / "data set.zip.part").stat().st_size
    assert 0 < come <= len(DATA)
    assert fetch(told, tmp_path) == DATA and told.ranges()[-1] == f"bytes={come}-"
