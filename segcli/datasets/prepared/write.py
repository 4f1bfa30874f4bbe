"""Writes prepared datasets: checked, converted, whole or not at all, and gone on with after a break."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from segcli.datasets.check.judge import Survey, survey
from segcli.datasets.check.kinds import refuse_errors
from segcli.datasets.check.scan import LookCache, Seen, files_of, seen_pairs
from segcli.datasets.dataset import Dataset, Sample
from segcli.datasets.encoding import MaskEncoding
from segcli.datasets.layouts.base import UNDEALT, Finding, Options, Pair, Source
from segcli.datasets.layouts.pairing import is_plain
from segcli.datasets.prepared.format import DESCRIPTION, FILES, Description, FileRow, Manifest, open_prepared, row_of
from segcli.errors import DataError, FileProblem, UsageError
from segcli.io.files import going_on_in
from segcli.io.images import Mask, encode_mask, write_image
from segcli.parallel import Progress, each, silent
from segcli.task import default_ignore_index

Linking = Literal["any", "hard", "none"]

_DONE = ".done.jsonl"
_NO_TIME = 315532800  # 1980, for masks that come from no file


@dataclass(frozen=True)
class Preparation:
    """What `prepare` made."""

    dataset: Dataset
    findings: Sequence[Finding]  # those that are no errors


def prepare(
    source: Source,
    target: Path,
    options: Options | None = None,
    linking: Linking = "any",
    progress: Progress = silent,
    where_to_look: str = "seg dataset check",
    overwrite: bool = True,
) -> Preparation:
    """Checks a source and writes it as a prepared dataset; the folder appears whole or not at all.

    What is done stays in a hidden folder beside the target, so that a preparation that was interrupted goes on.

    Args:
        source: what to write.
        target: the folder; a prepared dataset that stands there is replaced.
        options: how to deal splits and name classes, where the source leaves it open.
        linking: how images get there: by `any` link, hard where the disk allows it; by `hard` links, else copied; or
            by `none`: copied.
        progress: told of each pair looked at and written.
        where_to_look: the command that lists all findings.
        overwrite: also a dataset that was prepared from another source.

    Raises:
        UsageError: if the target holds the dataset of another source, which is not to be overwritten.
        DataError: if the target is another folder with files in it, or a pair is wrong.
    """
    _refuse_to_replace(target, Path(source.origin), overwrite)
    with going_on_in(target) as folder:
        found = survey(source, options, progress, LookCache(source))
        # The same image in two splits spoils figures, but the official splits of a dataset are what they are.
        refuse_errors((finding for finding in found.findings if finding.kind != "duplicate"), where_to_look)
        if UNDEALT in found.source.splits:
            raise UsageError(
                f"{source.origin} holds too few pairs to deal to train and val; name them with --split-file"
            )
        found = replace(found, encoding=_standard(found.settled()))
        manifest = Manifest(_write(found, _PairWriter(folder, found.settled(), linking), progress))
        _remove_strays(folder, {row.path for row in manifest.rows})
        manifest.write(folder)
        _described(found, manifest.fingerprint()).write(folder)
        open_prepared(folder)  # what cannot be opened takes no other dataset's place
        (folder / _DONE).unlink()
    return Preparation(open_prepared(target), found.findings)


def _standard(encoding: MaskEncoding) -> MaskEncoding:
    """The encoding with the ignored value that prepared masks have: 255, or 65535 beyond 255 classes."""
    task, ignored = encoding.task, default_ignore_index(encoding.task.num_classes)
    if task.ignore_index == ignored:
        return encoding
    value_map = {**({} if encoding.colours else {task.ignore_index: ignored}), **encoding.value_map}
    value_map = {value: ignored if index == task.ignore_index else index for value, index in value_map.items()}
    return replace(encoding, task=replace(task, ignore_index=ignored), value_map=value_map)


def _refuse_to_replace(target: Path, origin: Path, overwrite: bool) -> None:
    """Raises an error where writing a dataset would remove anything but a dataset that was prepared before."""
    if origin.exists() and origin.resolve().is_relative_to(target.resolve()):
        raise DataError(f"{target} holds the data that is to be prepared; choose another folder with --to")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        listed = {row.path for row in Manifest.read(target).rows}
        before = Description.read(target).source
    except (DataError, OSError):
        listed, before = set(), ""
    own = {*listed, DESCRIPTION, FILES}
    others = (path for path in target.rglob("*") if not path.is_dir() and path.name not in {".DS_Store", "Thumbs.db"})
    strange = next((path for path in others if path.relative_to(target).as_posix() not in own), None)
    if not listed:
        raise DataError(f"{target} exists and is no prepared dataset; choose another folder with --to")
    if strange is not None:
        raise DataError(f"{target} would be replaced, but {strange} in it is none of its files; move it away")
    if not overwrite and place_of(before) != place_of(origin):
        raise UsageError(
            f"{target} holds the dataset that was prepared from {before}; choose another folder with --to, or "
            f"replace it with --overwrite"
        )


def place_of(origin: Path | str) -> str:
    """Where a source lies; an archive is the same one whatever it holds, as the second digest in its folder says."""
    return re.sub(r"(/[0-9a-f]{12})-[0-9a-f]{12}/", r"\1/", Path(origin).resolve().as_posix())


def _write(found: Survey, writer: "_PairWriter", progress: Progress) -> list[FileRow]:
    """Writes every pair that no earlier attempt has written; gives all files."""
    pairs = seen_pairs(found.source, found.looks)
    _check_names(pairs)
    done = dict(_read_done(writer.folder))
    waiting = [seen for seen in pairs if writer.key(seen) not in done]
    rows = [row for seen in pairs for row in done.get(writer.key(seen), ())]
    with (writer.folder / _DONE).open("a", encoding="utf-8") as journal:
        for seen, written in zip(waiting, each(writer.write, waiting, "writing", progress), strict=True):
            rows += written
            journal.write(json.dumps([writer.key(seen), [row.line() for row in written]]) + "\n")
            journal.flush()
    return sorted(rows, key=lambda row: row.path)


def _check_names(pairs: Sequence[Seen]) -> None:
    """Raises DataError where a pair's name cannot be listed, or two of a split would be written to the same files."""
    names = Counter(seen.name for seen in pairs)
    for seen in pairs:
        if not is_plain(seen.item.name):
            raise DataError(f"{seen.item.name!r} ({seen.split}) is not named in UTF-8, or is hidden; rename it")
        if names[seen.name] > 1:
            raise DataError(f"two {seen.split} images are called {seen.item.name}; rename one")


def _described(found: Survey, fingerprint: str) -> Description:
    source, task, figures = found.source, found.settled().task, found.class_figures()
    counts = {split: len(items) for split, items in source.splits.items()}
    return Description(
        source.name, task, counts, figures, fingerprint, source.categories, source.guessed, source.origin
    )


def _read_done(folder: Path) -> Iterator[tuple[str, list[FileRow]]]:
    """What an earlier attempt wrote and is still there."""
    path = folder / _DONE
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            key, lines = json.loads(line)
            rows = [FileRow.of(line) for line in lines]
        except (ValueError, TypeError):
            continue  # the line at which it was stopped
        if all(row.is_there(folder) for row in rows):
            yield key, rows


def _remove_strays(folder: Path, wanted: set[str]) -> None:
    """Removes what an attempt with other files has left."""
    for path in folder.rglob("*"):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in {*wanted, _DONE}:
            path.unlink()


@dataclass(frozen=True)
class _PairWriter:
    """Writes the image, the mask and the instances of a pair into a prepared folder."""

    folder: Path
    encoding: MaskEncoding
    linking: Linking

    def key(self, seen: Seen) -> str:
        """What the written files depend on."""
        return f"{seen.name} {seen.look.image_digest} {seen.look.mask_digest} {self._settings}"

    @cached_property
    def _settings(self) -> str:
        encoding = (self.encoding.task.to_json(), sorted(self.encoding.value_map.items()), self.encoding.colours)
        return hashlib.sha256(repr((encoding, self.linking)).encode()).hexdigest()

    def write(self, seen: Seen) -> list[FileRow]:
        """Writes a pair; gives the files written.

        Raises:
            FileProblem: if a file of the pair is gone.
        """
        try:
            item = seen.item
            return list(self._write_pair(seen, item) if isinstance(item, Pair) else self._write_made(seen, item))
        except OSError:
            for path in files_of(seen.item):
                if not path.exists():
                    raise FileProblem(f"{path} was there and is gone; put it back, and go on", "missing") from None
            raise

    def _write_made(self, seen: Seen, sample: Sample) -> Iterator[FileRow]:
        image, mask = sample.read()
        path = self.folder / "images" / f"{seen.name}.png"
        write_image(path, image)
        os.utime(path, (_NO_TIME, _NO_TIME))
        yield row_of(path, self.folder)
        yield self._write_mask(seen, mask, None)

    def _write_pair(self, seen: Seen, pair: Pair) -> Iterator[FileRow]:
        path = self.folder / "images" / f"{seen.name}{pair.image.suffix.lower()}"
        _link(pair.image, path, self.linking)
        yield row_of(path, self.folder, seen.look.image_digest)
        if pair.mask is None or seen.look.size is None:
            return
        mask = self.encoding.encode(pair.mask.values(*seen.look.size), pair.mask.path)
        yield self._write_mask(seen, mask, pair.mask.path)
        instances = pair.mask.instances(mask.shape[0], mask.shape[1])
        if instances is not None:
            yield self._write_png("instances", seen, encode_mask(instances, deep=True), pair.mask.path)

    def _write_mask(self, seen: Seen, mask: Mask, source: Path | None) -> FileRow:
        row = self._write_png("masks", seen, encode_mask(mask, self.encoding.task.palette), source)
        return replace(row, classes=self.encoding.classes_among(seen.look.values or {}))

    def _write_png(self, kind: str, seen: Seen, content: bytes, source: Path | None) -> FileRow:
        path = self.folder / kind / f"{seen.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)  # in a folder that is not in its place yet; a torn file stands in no journal
        # A converted mask keeps its source's time, so that preparing again gives the same folder.
        time = source.stat().st_mtime_ns if source else _NO_TIME * 10**9
        os.utime(path, ns=(time, time))
        return row_of(path, self.folder, hashlib.sha256(content).hexdigest())


def _link(source: Path, target: Path, linking: Linking) -> None:
    """Hard-links a file, else links it symbolically, else copies it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    ways = {"any": (target.hardlink_to, target.symlink_to), "hard": (target.hardlink_to,), "none": ()}
    for link in ways[linking]:
        with suppress(OSError):
            link(source.resolve())
            return
    shutil.copy2(source, target)
