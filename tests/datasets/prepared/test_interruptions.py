"""Prepared folders: gone on with after a break, the same to the byte, whole or not there, and true to their files."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from native import write_camvid
from PIL import Image
from typer.testing import Result

from segcli.datasets.check.scan import inspect, look_at
from segcli.datasets.layouts import camvid, folder, shapes
from segcli.datasets.layouts.base import UNDEALT, Options, Source
from segcli.datasets.open import open_folders
from segcli.datasets.prepared.format import open_prepared, prepared_source
from segcli.datasets.prepared.write import Linking, prepare
from segcli.errors import DataError, SegError, UsageError
from segcli.io.files import going_on_in, only_one
from segcli.task import Task


def content(root: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of every file below a folder, hidden ones too."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {
        path.relative_to(root).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            0 if path.parent == root else path.stat().st_mtime_ns,
        )
        for path in files
    }


class Stop(Exception):
    pass


def stopping_at(number: int) -> Callable[[str, int, int], None]:
    """A progress that breaks off the work."""

    def progress(what: str, done: int, total: int) -> None:
        if "writing" in what and done == number:
            raise Stop

    return progress


class Told:
    """A progress that keeps how many pairs were to be worked on, by what was done."""

    def __init__(self) -> None:
        self.work: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        self.work[what] = total


def age(root: Path) -> None:
    """Makes all files a minute older: what was seen of files that just changed is not kept."""
    for path in root.rglob("*.*"):
        if path.is_file():
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 60 * 10**9))


SOURCES = {
    "layout": lambda root: camvid.find(root / "camvid"),
    "folder": lambda root: folder.find(root / "mine", Options()),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_preparation_goes_on_to_the_same_bytes(tmp_path: Path, kind: str, stop: int) -> None:
    write_camvid(tmp_path / "camvid")
    write_pairs(tmp_path / "mine", 6)
    age(tmp_path)
    source = SOURCES[kind](tmp_path)
    prepare(source, tmp_path / "whole")
    with pytest.raises(Stop):
        prepare(source, tmp_path / "broken", progress=stopping_at(stop))
    assert not (tmp_path / "broken").exists()
    told = Told()
    made = prepare(source, tmp_path / "broken", progress=told)
    told.work.pop("comparing images", None)  # hashes, not files
    assert told.work == {"writing": sum(map(len, made.dataset.splits.values())) - stop + 1}
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_source_that_changed_meanwhile_is_written_anew(tmp_path: Path) -> None:
    write_camvid(tmp_path / "camvid")
    with pytest.raises(Stop):
        prepare(camvid.find(tmp_path / "camvid"), tmp_path / "out", progress=stopping_at(3))
    Image.fromarray(np.full((40, 56), 5, np.uint8)).save(tmp_path / "camvid" / "trainannot" / "0.png")
    (tmp_path / "camvid" / "train" / "1.jpg").unlink()
    (tmp_path / "camvid" / "trainannot" / "1.png").unlink()
    made = prepare(camvid.find(tmp_path / "camvid"), tmp_path / "out").dataset
    assert [sample.name for sample in made.splits["train"]] == ["0", "2"]
    assert (made.splits["train"][0].read()[1] == 5).all()
    assert not (tmp_path / "out" / "images" / "train" / "1.jpg").exists()


def test_signals_leave_no_half_dataset(tmp_path: Path) -> None:
    """The whole command, stopped while it works with several processes, goes on to the same result."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 300), ("val", 60)):
        for name in (split, f"{split}annot"):
            (tmp_path / "native" / name).mkdir(parents=True)
        for index in range(number):
            image = Image.fromarray(rng.integers(0, 255, (120, 160, 3), np.uint8))
            image.save(tmp_path / "native" / split / f"{index}.jpg")
            mask = Image.fromarray(rng.integers(0, 11, (120, 160)).astype(np.uint8))
            mask.save(tmp_path / "native" / f"{split}annot" / f"{index}.png")
    command = [sys.executable, "-m", "segcli", "dataset", "prepare", "camvid", "--from", "native", "--to"]
    subprocess.run([*command, "whole"], cwd=tmp_path, check=True, capture_output=True)
    # A shell's background jobs ignore it, and so would the command.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    codes = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        running = subprocess.Popen(
            [*command, "out"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        journal = tmp_path / ".out.part" / ".done.jsonl"
        before = journal.stat().st_size if journal.exists() else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not journal.exists() or journal.stat().st_size == before):
            time.sleep(0.005)
        os.killpg(running.pid, number)
        _, stderr = running.communicate(timeout=30)
        codes.append(running.returncode)
        assert b"Traceback" not in stderr, stderr.decode()
        assert not (tmp_path / "out").exists()
    assert codes == [130, 143, -signal.SIGKILL]
    subprocess.run([*command, "out"], cwd=tmp_path, check=True, capture_output=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets no file grow beyond a size, which fails as a full disk does."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    source = camvid.find(write_camvid(tmp_path / "native"))
    prepare(source, tmp_path / "out")
    before = content(tmp_path / "out")
    with largest_file(150), pytest.raises(SegError, match=r"out cannot be written: .*What was there before is kept"):
        prepare(source, tmp_path / "out", linking="none")
    assert content(tmp_path / "out") == before
    assert (
        prepare(source, tmp_path / "out", linking="none").dataset.fingerprint
        == open_prepared(tmp_path / "out").fingerprint
    )


def test_two_preparations_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    source = camvid.find(write_camvid(tmp_path / "native"))
    with only_one(tmp_path / "out"), pytest.raises(UsageError, match="another seg is writing .*out at this moment"):
        prepare(source, tmp_path / "out")


def test_a_half_written_folder_is_no_dataset(tmp_path: Path, seg: Callable[..., Result]) -> None:
    with pytest.raises(Stop), going_on_in(tmp_path / "out") as folder:
        (folder / "images").mkdir()
        raise Stop
    assert not (tmp_path / "out").exists()
    for command in (["dataset", "check", ".out.part"], ["dataset", "stats", ".out.part"]):
        assert seg(*command).exit_code != 0
    with pytest.raises(DataError, match=r"holds no dataset.yml"):
        open_prepared(tmp_path / ".out.part")


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    made = prepare(camvid.find(write_camvid(tmp_path / "native")), tmp_path / "out", linking="none").dataset
    opened = open_prepared(tmp_path / "out")
    assert (opened.fingerprint, opened.remarks) == (made.fingerprint, [])
    image = tmp_path / "out" / "images" / "train" / "0.jpg"
    os.utime(image, (1, 1))
    assert open_prepared(tmp_path / "out").fingerprint == made.fingerprint  # touched, but the same
    assert "\t1000000000\t" in (tmp_path / "out" / "files.tsv").read_text()
    Image.new("RGB", (56, 40)).save(image)
    changed = open_prepared(tmp_path / "out")
    assert changed.fingerprint != made.fingerprint
    assert "1 file of" in changed.remarks[0]
    assert "images/train/0.jpg" in changed.remarks[0]


def test_the_fingerprint_is_that_of_sorted_paths_sizes_and_hashes(tmp_path: Path) -> None:
    made = prepare(camvid.find(write_camvid(tmp_path / "native")), tmp_path / "out").dataset
    digest = hashlib.sha256()
    files = sorted(
        path.relative_to(tmp_path / "out").as_posix() for kind in ("images", "masks") for path in (tmp_path / "out" / kind).rglob("*.*")
    )  # fmt: skip
    for file in files:
        data = (tmp_path / "out" / file).read_bytes()
        digest.update(f"{file}\0{len(data)}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    assert made.fingerprint == digest.hexdigest()


def test_processes_see_what_one_sees(tmp_path: Path) -> None:
    source = folder.find(write_pairs(tmp_path, 20), Options())
    assert inspect(source.splits, processes=2) == {
        split: [look_at(item) for item in items] for split, items in source.splits.items()
    }


def test_a_test_split_of_explicit_folders_needs_no_masks(tmp_path: Path) -> None:
    for split, start in (("train", 0), ("val", 10), ("test", 20)):
        write_pairs(tmp_path / split, 3, start=start)
    folders = {split: (tmp_path / split / "images", tmp_path / split / "masks") for split in ("train", "val")}
    dataset = open_folders("x", {**folders, "test": (tmp_path / "test" / "images", None)}, Options())
    assert len(dataset.split("test")) == 3
    assert "test" not in dataset.figures


def test_nothing_but_a_prepared_dataset_is_ever_replaced(tmp_path: Path) -> None:
    source = camvid.find(write_camvid(tmp_path / "native"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "dataset.yml").write_text("names: [a, b]\n")
    with pytest.raises(DataError, match="foreign exists and is no prepared dataset"):
        prepare(source, tmp_path / "foreign")
    prepare(source, tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("important")
    with pytest.raises(DataError, match=r"mine would be replaced, but .*notes.txt in it is none of its files"):
        prepare(source, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "important"
    with pytest.raises(DataError, match="holds the data that is to be prepared"):
        prepare(source, tmp_path / "native")
    with pytest.raises(DataError, match="holds the data that is to be prepared"):
        prepare(prepared_source(tmp_path / "mine"), tmp_path / "mine")


def test_an_interrupted_preparation_of_drawn_samples_goes_on(tmp_path: Path) -> None:
    few = Source(
        "shapes", "x", {split: list(items)[:4] for split, items in shapes.source().splits.items()}, shapes.TASK
    )
    whole = prepare(few, tmp_path / "whole").dataset
    with pytest.raises(Stop):
        prepare(few, tmp_path / "out", progress=stopping_at(3))
    assert prepare(few, tmp_path / "out").dataset.figures == whole.figures
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_after_a_refusal_only_what_was_mended_is_looked_at_again(tmp_path: Path) -> None:
    write_pairs(tmp_path / "mine", 8)
    mask = tmp_path / "mine" / "masks" / "003.png"
    whole = mask.read_bytes()
    mask.write_bytes(whole[:60])
    age(tmp_path)
    for number in (8, 0):  # what was seen of the damaged file is known the second time, too
        told = Told()
        with pytest.raises(DataError, match=r"003.png is damaged"):
            prepare(folder.find(tmp_path / "mine", Options()), tmp_path / "out", progress=told)
        assert told.work == ({"checking files": number} if number else {})
    mask.write_bytes(whole)
    told = Told()
    prepare(folder.find(tmp_path / "mine", Options()), tmp_path / "out", progress=told)
    assert told.work == {"checking files": 1, "writing": 8}


def test_what_cannot_be_opened_takes_no_datasets_place(tmp_path: Path) -> None:
    prepare(camvid.find(write_camvid(tmp_path / "native")), tmp_path / "out")
    before = content(tmp_path / "out")
    found = folder.find(write_pairs(tmp_path / "mine", 4), Options())
    one, other, third, _ = found.splits[UNDEALT]
    # the folder images/train/0.jpg looks like an image of the same stem as images/train/0.png
    train = [replace(one, name="0"), replace(other, name="0.jpg/a")]
    source = Source("x", str(tmp_path / "mine"), {"train": train, "val": [third]}, Task.of("abc"))
    with pytest.raises(DataError, match="the same stem"):
        prepare(source, tmp_path / "out")
    assert content(tmp_path / "out") == before
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("linking", ["any", "hard", "none"])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_source_file_that_vanishes_is_named(tmp_path: Path, linking: Linking, kind: str) -> None:
    write_pairs(tmp_path / "mine", 6)
    gone = next((tmp_path / "mine" / kind).glob("*4.png"))

    def vanish(what: str, done: int, total: int) -> None:
        if (what, done) == ("checking files", total):
            gone.unlink()

    with pytest.raises(DataError, match=rf"{kind}/004.png.*(is gone|no such file)"):
        prepare(folder.find(tmp_path / "mine", Options()), tmp_path / "out", linking=linking, progress=vanish)
    assert not (tmp_path / "out").exists()
