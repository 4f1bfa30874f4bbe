"""What is done of a long prediction: a line an image, so that a stopped one can go on."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from segcli.engine.prediction.sinks.base import Plan, Sink
from segcli.engine.prediction.streams import Item
from segcli.errors import SegError, UsageError
from segcli.io.files import only_one

FORMAT = 1


class Journal:
    """Lines of what is done, in the order of the images; the first one says how.

    Of each image done, 8 bytes are held in memory.

    Args:
        path: the file.
        stream: of it, at its end.
        done: the marks of the images that it holds.
        is_whole: whether all files of an image are there.
    """

    def __init__(self, path: Path, stream: BinaryIO, done: set[int], is_whole: Callable[[str], bool]) -> None:
        self.path = path
        self.num_before = len(done)
        self._stream = stream
        self._done = done
        self._is_whole = is_whole

    def holds(self, item: Item) -> bool:
        """Whether an image is done, and all of its files are there."""
        return bool(self._done) and _mark(item.name, item.origin) in self._done and self._is_whole(item.name)

    def add(self, item: Item, records: Mapping[str, Any]) -> bool:
        """Writes down that an image is done, with what sinks must know of it; tells whether it was not yet.

        Raises:
            SegError: if the disk is full.
        """
        mark = _mark(item.name, item.origin)
        if mark in self._done:
            return False
        _append(self._stream, self.path, json.dumps([item.name, item.origin, records]).encode() + b"\n")
        self._done.add(mark)
        return True

    def records(self, sink: str) -> Iterator[Any]:
        """What a sink noted of each image, in their order."""
        with self.path.open("rb") as lines:
            next(lines)
            for line in lines:
                yield json.loads(line)[2].get(sink)


@contextmanager
def output_of(
    plan: Plan, sinks: Mapping[str, Sink], settings: Mapping[str, Any], resume: bool
) -> Iterator[Journal | None]:
    """Makes an output folder ready and gives its journal; None where no sink writes into it.

    Args:
        plan: names the folder.
        sinks: what will be written.
        settings: whatever the products depend on, as plain JSON values.
        resume: go on with what is there.

    Raises:
        UsageError: if what is there was made with other settings, or is being written at this moment.
        SegError: if the folder cannot be written.
    """
    if not resume and all(sink.only_says for sink in sinks.values()):
        yield None
        return

    def is_whole(name: str) -> bool:
        return all(path.exists() for sink in sinks.values() for path in sink.files(name))

    path = plan.output / f".predict{plan.mark}.jsonl"
    try:
        plan.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SegError(f"{plan.output} cannot be made: {error.strerror}; choose another folder with -o") from None
    try:
        with only_one(path):
            shutil.rmtree(plan.staging, ignore_errors=True)
            plan.staging.mkdir()
            try:
                with open_journal(path, settings, is_whole, resume) as journal:
                    yield journal
            finally:
                shutil.rmtree(plan.staging, ignore_errors=True)
    except PermissionError as error:
        raise SegError(f"{plan.output} cannot be written: {error.strerror}; choose another folder with -o") from None


@contextmanager
def open_journal(
    path: Path, settings: Mapping[str, Any], is_whole: Callable[[str], bool], resume: bool
) -> Iterator[Journal]:
    """Opens the journal of an output folder; without `resume`, a new one.

    Args:
        path: the file.
        settings: whatever the products depend on, as plain JSON values.
        is_whole: whether all files of the image of a name are there.
        resume: go on with what is there.

    Raises:
        UsageError: if it was made with other settings.
        SegError: if the disk is full.
    """
    head = json.dumps({"format": FORMAT, **settings}).encode() + b"\n"
    done = _read(path, head) if resume and path.is_file() else None
    stream = path.open("ab" if done is not None else "wb")
    try:
        if done is None:
            _append(stream, path, head)
        yield Journal(path, stream, done or set(), is_whole)
    finally:
        with suppress(OSError):  # of a line that found no room, as has been told
            stream.close()


def _append(stream: BinaryIO, path: Path, line: bytes) -> None:
    try:
        stream.write(line)
        stream.flush()
    except OSError as error:
        raise SegError(f"{path} cannot be written: {error.strerror}; free some space, then --resume") from None


def _read(path: Path, head: bytes) -> set[int] | None:
    """The marks of the images that are done; None where even the head is torn. Cuts off a line that is."""
    done = set()
    with path.open("r+b") as lines:
        first = lines.readline()
        if not first.endswith(b"\n"):
            return None
        _refuse_change(path, json.loads(first), json.loads(head))
        end = lines.tell()
        for line in lines:
            if not line.endswith(b"\n"):
                lines.truncate(end)
                break
            name, origin, _ = json.loads(line)
            done.add(_mark(name, origin))
            end += len(line)
    return done


def _refuse_change(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            raise UsageError(
                f"--resume: {path.parent} was made with {key} {before.get(key)}, not {now.get(key)}; "
                f"give the same options, another -o, or leave out --resume"
            )


def _mark(name: str, origin: str) -> int:
    text = f"{name}\0{origin}".encode(errors="surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=8).digest())
