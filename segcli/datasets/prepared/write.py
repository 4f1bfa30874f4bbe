"""Writes prepared datasets: checked, converted, whole or not at all, and gone on with after a break."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

from segcli.datasets.check.judge import Survey, survey
from segcli.datasets.check.kinds import refuse_errors
from segcli.datasets.check.scan import Look, LookCache, broken, look_closely
from segcli.datasets.dataset import Dataset, Sample
from segcli.datasets.encoding import MaskEncoding
from segcli.datasets.layouts.base import UNDEALT, Finding, Options, Pair, Source
from segcli.datasets.prepared.format import (
    DESCRIPTION,
    FILES,
    FORMAT,
    Description,
    FileRow,
    Manifest,
    open_prepared,
    row_of,
)
from segcli.errors import DataError, UsageError
from segcli.io.files import going_on_in, write_text
from segcli.io.images import Mask, encode_mask, write_image
from segcli.parallel import Progress, each, silent
from segcli.task import default_ignore_index
from segcli.yamlfile import dump_yaml

Linking = Literal["any", "hard", "none"]

_LOOKS, _DONE = ".looks.jsonl", ".done.jsonl"
_KINDS = ("images", "masks", "instances")
_NO_TIME = 315532800  # 1980, for masks that come from no file


@dataclass(frozen=True)
class Preparation:
    """What `prepare` made.

    Attributes:
        dataset: the prepared dataset.
        findings: what was found that is no error.
    """

    dataset: Dataset
    findings: Sequence[Finding]


def prepare(
    source: Source,
    target: Path,
    options: Options | None = None,
    linking: Linking = "any",
    progress: Progress = silent,
    where_to_look: str = "seg dataset check",
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

    Raises:
        DataError: if the target is another folder with files in it, or a pair is wrong.
    """
    _refuse_to_replace(target, Path(source.origin))
    with going_on_in(target) as folder:
        with closing(LookCache(folder / _LOOKS)) as memory:
            if source.task is not None and UNDEALT not in source.splits:
                _write_ahead(source, folder, linking, progress, memory)
            found = survey(source, options, progress, memory)
        # The same image in two splits spoils figures, but the official splits of a dataset are what they are.
        refuse_errors((finding for finding in found.findings if finding.kind != "duplicate"), where_to_look)
        if UNDEALT in found.source.splits:
            raise UsageError(f"{source.origin} holds too few pairs to deal to train and val; name them with --names")
        _write(replace(found, encoding=_standard(found.settled())), folder, linking, progress)
    return Preparation(open_prepared(target), found.findings)


def _standard(encoding: MaskEncoding) -> MaskEncoding:
    """The encoding with the ignored value that prepared masks have: 255, or 65535 beyond 255 classes."""
    task, ignored = encoding.task, default_ignore_index(encoding.task.num_classes)
    if task.ignore_index == ignored:
        return encoding
    value_map = {**({} if encoding.colours else {task.ignore_index: ignored}), **encoding.value_map}
    value_map = {value: ignored if index == task.ignore_index else index for value, index in value_map.items()}
    return replace(encoding, task=replace(task, ignore_index=ignored), value_map=value_map)


def _refuse_to_replace(target: Path, origin: Path) -> None:
    """Raises DataError where writing a dataset would remove anything but a dataset that was prepared before."""
    if origin.exists() and origin.resolve().is_relative_to(target.resolve()):
        raise DataError(f"{target} holds the data that is to be prepared; choose another folder with --to")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        listed = {row.path for row in Manifest.read(target).rows}
        Description.read(target)
    except (DataError, OSError):
        listed = set()
    own = {*listed, DESCRIPTION, FILES}
    others = (path for path in target.rglob("*") if not path.is_dir() and path.name not in {".DS_Store", "Thumbs.db"})
    strange = next((path for path in others if path.relative_to(target).as_posix() not in own), None)
    if not listed:
        raise DataError(f"{target} exists and is no prepared dataset; choose another folder with --to")
    if strange is not None:
        raise DataError(f"{target} would be replaced, but {strange} in it is none of its files; move it away")


@dataclass(frozen=True)
class _Job:
    split: str
    item: Pair | Sample
    look: Look

    @property
    def stem(self) -> str:
        return f"{self.split}/{self.item.name}"


def _write_ahead(source: Source, folder: Path, linking: Linking, progress: Progress, memory: LookCache) -> None:
    """Looks at pairs and writes those that are right in one go, where it is known what their values mean."""
    assert source.task is not None
    writer = _PairWriter(folder, _standard(MaskEncoding(source.task, source.value_map, source.colours)), linking)
    done = dict(_read_done(folder))
    jobs = [(split, item, memory.get(item)) for split, items in source.splits.items() for item in items]
    waiting = [
        (split, item)
        for split, item, look in jobs
        if isinstance(item, Pair) and (look is None or writer.key(_Job(split, item, look)) not in done)
    ]
    with (folder / _DONE).open("a", encoding="utf-8") as journal:
        work = each(writer.look_and_write, waiting, "checking and writing", progress)
        for (split, item), (look, rows) in zip(waiting, work, strict=True):
            memory.put(item, look)
            if rows:
                _add_done(journal, writer.key(_Job(split, item, look)), rows)


def _write(found: Survey, folder: Path, linking: Linking, progress: Progress) -> None:
    """Writes every pair that an earlier attempt has not written, then what describes them."""
    writer = _PairWriter(folder, found.settled(), linking)
    jobs = [
        _Job(split, item, look)
        for split, items in found.source.splits.items()
        for item, look in zip(items, found.looks[split], strict=True)
    ]
    done = dict(_read_done(folder))
    _refuse_same_names(jobs)
    waiting = [job for job in jobs if writer.key(job) not in done]
    with (folder / _DONE).open("a", encoding="utf-8") as journal:
        for job, rows in zip(waiting, each(writer.write, waiting, "writing", progress), strict=True):
            done[writer.key(job)] = rows
            _add_done(journal, writer.key(job), rows)
    rows = sorted((row for job in jobs for row in done[writer.key(job)]), key=lambda row: row.path)
    if not _is_written(rows, folder):
        _remove_strays(folder, {row.path for row in rows})
    for name in (_LOOKS, _DONE):
        (folder / name).unlink(missing_ok=True)
    manifest = Manifest(rows)
    manifest.write(folder)
    write_text(folder / DESCRIPTION, dump_yaml(_describe(found, manifest)))


def _refuse_same_names(jobs: Sequence[_Job]) -> None:
    """Raises DataError where two pairs of a split would be written to the same files."""
    first: dict[str, _Job] = {}
    for job in jobs:
        if first.setdefault(job.stem, job) is not job:
            raise DataError(f"two {job.split} images are called {job.item.name}; rename one")


def _is_written(rows: Sequence[FileRow], folder: Path) -> bool:
    """Whether a folder holds as many files as were written, and so none of an earlier attempt with other files."""
    return sum(len(files) for kind in _KINDS for _, _, files in os.walk(folder / kind)) == len(rows)


def _describe(found: Survey, manifest: Manifest) -> dict[str, Any]:
    source, encoding, pixels = found.source, found.settled(), found.class_pixels()
    splits = {
        split: {"images": len(items), **({"pixels": pixels[split]} if split in pixels else {})}
        for split, items in source.splits.items()
    }
    return {
        "format": FORMAT,
        "name": source.name,
        **encoding.task.to_json(),
        **(
            {"categories": {name: list(classes) for name, classes in source.categories.items()}}
            if source.categories
            else {}
        ),
        **({"guessed": list(source.guessed)} if source.guessed else {}),
        "splits": splits,
        "source": source.origin,
        "fingerprint": manifest.fingerprint(),
    }


def _read_done(folder: Path) -> Iterator[tuple[str, list[FileRow]]]:
    """What an earlier attempt wrote and is still there."""
    path = folder / _DONE
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            key, rows = json.loads(line)
            found = [FileRow(*row) for row in rows]
        except (ValueError, TypeError):
            continue  # the line at which it was stopped
        if all(row.is_there(folder) for row in found):
            yield key, found


def _add_done(journal: IO[str], key: str, rows: Sequence[FileRow]) -> None:
    journal.write(json.dumps([key, [row.values() for row in rows]]) + "\n")
    journal.flush()


def _remove_strays(folder: Path, wanted: set[str]) -> None:
    for kind in _KINDS:
        for path in (folder / kind).rglob("*"):
            if not path.is_dir() and path.relative_to(folder).as_posix() not in wanted:
                path.unlink()


@dataclass(frozen=True)
class _PairWriter:
    """Writes the image, the mask and the instances of a pair into a prepared folder."""

    folder: Path
    encoding: MaskEncoding
    linking: Linking

    def key(self, job: _Job) -> str:
        """What the written files depend on."""
        return f"{job.stem} {job.look.image_digest} {job.look.mask_digest} {self._settings}"

    @cached_property
    def _settings(self) -> str:
        encoding = (self.encoding.task.to_json(), sorted(self.encoding.value_map.items()), self.encoding.colours)
        return hashlib.sha256(repr((encoding, self.linking)).encode()).hexdigest()

    def look_and_write(self, place: tuple[str, Pair]) -> tuple[Look, list[FileRow]]:
        """Looks at a pair and writes it, if nothing is wrong with it; gives the files written."""
        split, pair = place
        look, mask = look_closely(pair)
        job = _Job(split, pair, look)
        if broken(look) or any(self.encoding.meaning(value) is None for value in look.values or ()):
            return look, []
        return look, list(self._write_pair(job, pair, mask.pixels() if mask else None))

    def write(self, job: _Job) -> list[FileRow]:
        """Writes a pair; gives the files written."""
        if isinstance(job.item, Pair):
            source = job.item.mask
            values = source.values(*job.look.size) if source and job.look.size else None
            return list(self._write_pair(job, job.item, values))
        image, mask = job.item.read()
        path = self.folder / "images" / f"{job.stem}.png"
        write_image(path, image)
        os.utime(path, (_NO_TIME, _NO_TIME))
        return [row_of(path, self.folder), self._write_mask("masks", job, mask, self.encoding.task.palette, None)]

    def _write_pair(self, job: _Job, pair: Pair, values: Mask | None) -> Iterator[FileRow]:
        path = self.folder / "images" / f"{job.stem}{pair.image.suffix.lower()}"
        _link(pair.image, path, self.linking)
        yield row_of(path, self.folder, job.look.image_digest)
        if pair.mask is None or values is None:
            return
        mask = self.encoding.encode(values, pair.mask.path)
        yield self._write_mask("masks", job, mask, self.encoding.task.palette, pair.mask.path)
        instances = pair.mask.instances(mask.shape[0], mask.shape[1])
        if instances is not None:
            yield self._write_mask("instances", job, instances, None, pair.mask.path)

    def _write_mask(self, kind: str, job: _Job, mask: Any, palette: Any, source: Path | None) -> FileRow:
        path = self.folder / kind / f"{job.stem}.png"
        content = encode_mask(mask, palette, deep=palette is None)
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
    for link in _ways_to_link(source.resolve(), linking):
        try:
            link(target)
            return
        except OSError:
            target.unlink(missing_ok=True)
    shutil.copy2(source, target)


def _ways_to_link(source: Path, linking: Linking) -> Iterator[Callable[[Path], None]]:
    if linking != "none":
        yield lambda target: target.hardlink_to(source)
    if linking == "any":
        yield lambda target: target.symlink_to(source)
