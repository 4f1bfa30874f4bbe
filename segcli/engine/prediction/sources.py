"""What is to be predicted, one item after the other: no source is listed before it begins."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import chain, count, islice, takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from segcli.datasets.prepared.format import is_prepared
from segcli.engine.prediction import streams
from segcli.engine.prediction.streams import Item
from segcli.errors import DataError, FileProblem, UsageError
from segcli.io.files import is_text
from segcli.io.images import SUFFIXES, Pixels, read_image

Value = TypeVar("Value")

_SORTED = 20_000  # entries of a folder that are put in order; beyond, sorting would keep the first one waiting
_LISTS = {".txt", ".lst"}
_PATTERN = re.compile(r"[*?[]")


class Found(NamedTuple):
    """An image file to predict.

    Attributes:
        path: the file.
        name: where its products go below the output folder, without suffix.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Reading:
    """How sources are read.

    Attributes:
        split: of a prepared dataset.
        lines: what `-` reads.
        seconds: that a URL may stall.
    """

    split: str = "val"
    lines: Iterable[str] = ()
    seconds: float = streams.PATIENCE


@dataclass(frozen=True)
class Kind:
    """A kind of source.

    Attributes:
        name: what it is called.
        example: how it is written.
        knows: whether a text names one.
        items: its images.
        countable: whether all of them can be listed again, to know how many there are.
    """

    name: str
    example: str
    knows: Callable[[str], bool]
    items: Callable[[str, Reading], Iterator[Item]]
    countable: bool = True


def open_sources(sources: Sequence[str], reading: Reading) -> Iterator[Item]:
    """The items of sources, in their order, each under a name of its own.

    An item that takes a name which another one has keeps its suffix in it, and a number where that is not enough.

    Raises:
        UsageError: if a source is missing.
        DataError: if a folder holds no images.
    """
    opened = [_kind_of(source).items(source, reading) for source in sources]
    return _distinct(_apart(opened))


def _apart(opened: Iterable[Iterator[Item]]) -> Iterator[Item]:
    """The items of all sources; a video gets a number where another one has its name."""
    taken: set[str] = set()
    for items in opened:
        stream = ""
        for item in items:
            if item.stream and not stream:
                names = chain([item.stream], (f"{item.stream}-{number}" for number in count(2)))
                stream = next(name for name in names if name not in taken)
                taken.add(stream)
            if item.stream in {"", stream}:
                yield item
            else:
                name, file_name = (stream + text.removeprefix(item.stream) for text in (item.name, item.file_name))
                yield replace(item, name=name, file_name=file_name, stream=stream)


def count_sources(sources: Sequence[str], reading: Reading) -> int | None:
    """How many items there are; None where a source can be read only once, or never ends."""
    kinds = [_kind_of(source) for source in sources]
    if not all(kind.countable for kind in kinds):
        return None
    return sum(1 for kind, source in zip(kinds, sources, strict=True) for _ in kind.items(source, reading))


def find_sources(sources: Sequence[Path]) -> list[Found]:
    """The image files that files and folders name, all at once; raises as `open_sources` does."""
    items = open_sources([str(source) for source in sources], Reading())
    return [Found(item.path, item.name) for item in items if item.path is not None]


@dataclass(frozen=True)
class Shard:
    """A part of the items: those whose name falls to it, whatever else is listed.

    Attributes:
        number: from 1.
        of: how many parts there are.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads `2/8`; raises UsageError where it is none."""
        number, _, of = text.partition("/")
        if not number.isdecimal() or not of.isdecimal() or not 1 <= int(number) <= int(of):
            raise UsageError(f"--shard {text}: expected the number of the part and how many there are, as 2/8")
        return cls(int(number), int(of))

    @property
    def mark(self) -> str:
        """What names of files end with that would be the same in every part; empty where there is one."""
        return f"-{self.number}-of-{self.of}" if self.of > 1 else ""

    def holds(self, item: Item) -> bool:
        """Whether an item falls to this part: by the hash of its name modulo the number of parts."""
        return _hash(item.name) % self.of == self.number - 1


def _kind_of(source: str) -> Kind:
    kind = next((kind for kind in KINDS if kind.knows(source)), None)
    if kind is not None:
        return kind
    if Path(source).is_file():
        return _FILE  # whatever its name says, its content tells
    raise UsageError(f"{source}: no such file or folder")


def _distinct(items: Iterable[Item]) -> Iterator[Item]:
    taken: set[int] = set()  # hashes, since a million names would take a hundred megabytes
    for item in items:
        names = chain([item.name, item.file_name], (f"{item.file_name}-{number}" for number in count(2)))
        name = next(name for name in names if _hash(name) not in taken)
        taken.add(_hash(name))
        if is_text(f"{item.name}{item.origin}"):
            yield item if name == item.name else replace(item, name=name)
        else:
            yield replace(item, name=name, read=partial(_refuse_name, item.origin), path=None)


def _refuse_name(origin: str) -> Pixels:
    raise FileProblem(f"{origin!r} is not named in UTF-8, or with control characters; rename it", "name")


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest())


def of_file(path: Path, file_name: str) -> Item:
    """The item of an image file, which is looked for when it is read."""
    return Item(_without_suffix(file_name), file_name, str(path), partial(read_image, path), path)


def _without_suffix(file_name: str) -> str:
    path = PurePosixPath(file_name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in SUFFIXES else path.as_posix()


def _of_file(source: str, reading: Reading) -> Iterator[Item]:
    yield of_file(Path(source), Path(source).name)


def _of_folder(source: str, reading: Reading) -> Iterator[Item]:
    root = Path(source)
    if is_prepared(root):
        root = root / "images" / reading.split
        if not root.is_dir():
            raise DataError(f"{source} has no {reading.split} split; name another with --split")
    items = (of_file(path, path.relative_to(root).as_posix()) for path in _images_below(root))
    return _not_empty(items, f"{source} holds no images ({', '.join(sorted(SUFFIXES))})")


def _not_empty(items: Iterator[Item], problem: str) -> Iterator[Item]:
    first = list(islice(items, 1))
    if not first:
        raise DataError(problem)
    return chain(first, items)


def _images_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Image files below a folder, links followed but not in circles, hidden ones passed over.

    In the order of the names, but where a folder has very many entries: in the order that the file system gives.
    """
    above = (*above, folder.resolve())
    try:
        with os.scandir(folder) as entries:
            for entry in _sorted_if_few(entries, lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                path = folder / entry.name
                if not entry.is_dir():
                    if path.suffix.lower() in SUFFIXES:
                        yield path
                elif path.resolve() not in above:
                    yield from _images_below(path, above)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None


def _of_pattern(source: str, reading: Reading) -> Iterator[Item]:
    fixed = list(takewhile(lambda part: not _PATTERN.search(part), Path(source).parts))
    root = Path(*fixed)
    found = (path.relative_to(root) for path in root.glob("/".join(Path(source).parts[len(fixed) :])))
    images = (path for path in found if path.suffix.lower() in SUFFIXES and not _is_hidden(path))
    items = (of_file(root / path, path.as_posix()) for path in _sorted_if_few(images, str))
    return _not_empty(items, f"{source} matches no images")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _sorted_if_few(values: Iterable[Value], key: Callable[[Value], str]) -> Iterator[Value]:
    """The values in order where they are few; else all but the first few as they come, so that nobody waits."""
    values = iter(values)
    return chain(sorted(islice(values, _SORTED), key=key), values)


def _of_list(source: str, reading: Reading) -> Iterator[Item]:
    try:
        with Path(source).open(encoding="utf-8", errors="surrogateescape") as lines:
            yield from _of_lines(lines, source)
    except OSError as error:
        raise DataError(f"{source}: {error.strerror}") from None


def _of_stdin(source: str, reading: Reading) -> Iterator[Item]:
    return _of_lines(reading.lines, "stdin")


def _of_lines(lines: Iterable[str], where: str) -> Iterator[Item]:
    """A path a line, relative to the current folder, or a JSON object with its `path` and maybe its `name`."""
    for number, text in enumerate(lines, 1):
        line = text.rstrip("\r\n")
        if not line.strip():
            continue
        path, name = line, None
        if line.startswith("{"):
            try:
                values = json.loads(line)
                path, name = str(values["path"]), values.get("name")
            except (ValueError, KeyError):
                raise DataError(f'{where}, line {number}: expected {{"path": …, "name": …}} or a path') from None
        item = streams.of_url(path) if streams.is_image_url(path) else of_file(Path(path), _relative(path))
        yield item if name is None else replace(item, name=_relative(str(name)))


def _relative(path: str) -> str:
    """A path as a place below the output: without root and steps upward."""
    parts = PurePosixPath(Path(path).as_posix()).parts
    return PurePosixPath(*(part for part in parts if part not in {"/", "..", Path(path).anchor})).as_posix()


def _of_video(source: str, reading: Reading) -> Iterator[Item]:
    return streams.of_video(Path(source))


def _of_url(source: str, reading: Reading) -> Iterator[Item]:
    yield streams.of_url(source, reading.seconds)


def _of_stream(source: str, reading: Reading) -> Iterator[Item]:
    return streams.of_stream(source, reading.seconds)


def _of_camera(source: str, reading: Reading) -> Iterator[Item]:
    return streams.of_camera(int(source))


def _has(suffixes: set[str]) -> Callable[[str], bool]:
    return lambda source: Path(source).suffix.lower() in suffixes and Path(source).is_file()


_FILE = Kind("file", "photo.jpg", _has(SUFFIXES), _of_file)

KINDS = (
    Kind("names on stdin", "-", lambda source: source == "-", _of_stdin, countable=False),
    Kind("image by its URL", "http://host/a.jpg", streams.is_image_url, _of_url, countable=False),
    Kind("stream", "rtsp://host/live", streams.is_url, _of_stream, countable=False),
    Kind("prepared dataset", "data/voc", lambda source: is_prepared(Path(source)), _of_folder),
    Kind("folder", "photos/", lambda source: Path(source).is_dir(), _of_folder),
    Kind("video", "drive.mp4", _has(streams.VIDEOS), _of_video, countable=False),
    Kind("list", "names.txt", _has(_LISTS), _of_list),
    _FILE,
    Kind("pattern", "'photos/**/*.png'", lambda source: bool(_PATTERN.search(source)), _of_pattern),
    Kind("camera", "0", lambda source: source.isdecimal() and not Path(source).exists(), _of_camera, countable=False),
)
"""The kinds of sources; the first that knows a text opens it."""
