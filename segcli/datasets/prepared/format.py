"""The folder that everything reads: its description in dataset.yml, its files in files.tsv."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from segcli.components.class_weights import ClassFigures
from segcli.datasets.check.kinds import check_command, refuse_errors
from segcli.datasets.dataset import SPLITS, Dataset, fingerprint
from segcli.datasets.encoding import MaskEncoding
from segcli.datasets.layouts.base import Finding, Pair, Source
from segcli.datasets.layouts.pairing import list_images, match_pairs, with_objects
from segcli.errors import ConfigError, DataError, SegError
from segcli.io.files import write_text
from segcli.task import Task
from segcli.yamlfile import dump_yaml, read_yaml

DESCRIPTION, FILES = "dataset.yml", "files.tsv"
FORMAT = 2
_NONE = "-"


def open_prepared(root: Path, ignore_index: int | None = None) -> Dataset:
    """Opens a prepared dataset by its description; no image or mask is read unless it changed since.

    Args:
        root: the folder.
        ignore_index: what ignored pixels are to be called; None leaves the value in the files.

    Raises:
        DataError: if the description is missing or does not match the folder.
    """
    from segcli.datasets.check.judge import as_samples  # not wanted by what only writes one, such as a prediction

    description = Description.read(root)
    task = description.task
    value_map = {} if ignore_index is None else {task.ignore_index: ignore_index}
    task = replace(task, ignore_index=task.ignore_index if ignore_index is None else ignore_index)
    pairs, findings = description.find_pairs(root)
    refuse_errors(findings, check_command(root))
    splits = {split: as_samples(items, MaskEncoding(task, value_map)) for split, items in pairs.items()}
    digest, remarks = description.fingerprint, []
    manifest = Manifest.read(root)
    changed = manifest.refresh(root)
    if changed:
        digest = manifest.fingerprint()
        number = f"{len(changed)} file{'s' * (len(changed) > 1)}"
        remarks.append(
            f"{number} of {root} changed since it was prepared (as {changed[0]}); its pixel counts are those of "
            f"before: check it with `{check_command(root)}`, or prepare it again"
        )
    if description.guessed:
        remarks.append(
            f"{len(description.guessed)} masks of {root} were mended by a guess (as {description.guessed[0]}); figures "
            f"of small classes may suffer"
        )
    classes = {row.path: row.classes for row in manifest.rows}
    held = {split: [classes.get(f"masks/{split}/{item.name}.png") for item in items] for split, items in splits.items()}
    return Dataset(
        description.name, task, splits, description.figures, digest, description.categories, remarks, held=held
    )


def is_prepared(root: Path) -> bool:
    """Whether a folder holds a description of a prepared dataset; other programs call other files dataset.yml, too."""
    path = root / DESCRIPTION
    try:
        return path.is_file() and {"format", "splits", "fingerprint"} <= read_yaml(path).values.keys()
    except ConfigError:
        return False


def prepared_source(root: Path) -> Source:
    """A prepared dataset as a source, to be checked anew; nothing that is wrong with its files is raised.

    Raises:
        DataError: if the description is missing or damaged.
    """
    description = Description.read(root)
    splits, findings = description.find_pairs(root)
    masks = [root / "masks" / f"{name}.png" for name in description.guessed]
    findings += [Finding("guessed-mask", path, f"{path}: odd values in it were mended by a guess") for path in masks]
    changed = Manifest.read(root).refresh(root)
    findings += [Finding("changed", root / path, f"{root / path} changed since it was prepared") for path in changed]
    return Source(
        description.name, str(root), splits, description.task, findings=findings, categories=description.categories,
        guessed=description.guessed,
    )  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What dataset.yml says."""

    name: str
    task: Task
    counts: Mapping[str, int]
    figures: Mapping[str, ClassFigures]
    fingerprint: str
    categories: Mapping[str, Sequence[str]]
    guessed: Sequence[str]
    source: str  # where the data came from

    @classmethod
    def read(cls, root: Path) -> "Description":
        """Reads it; raises DataError where it is missing or damaged."""
        path = root / DESCRIPTION
        if not is_prepared(root):
            raise DataError(f"{root} holds no {DESCRIPTION} of a prepared dataset")
        values = read_yaml(path).values
        try:
            splits = {split: values["splits"][split] for split in SPLITS if values["splits"].get(split)}
            return cls(
                str(values["name"]),
                Task.from_json(values),
                {split: int(entry["images"]) for split, entry in splits.items()},
                {
                    split: ClassFigures(entry["pixels"], entry.get("present_pixels"), entry.get("images_with"))
                    for split, entry in splits.items()
                    if "pixels" in entry
                },
                str(values["fingerprint"]),
                values.get("categories", {}),
                [str(name) for name in values.get("guessed", ())],
                str(values.get("source")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} is no description of a dataset ({error!r}); prepare it again") from None

    def write(self, root: Path) -> None:
        """Writes it; categories and guessed masks are left out where there are none."""
        splits = {
            split: {"images": number, **(asdict(self.figures[split]) if split in self.figures else {})}
            for split, number in self.counts.items()
        }
        categories = {name: [*classes] for name, classes in self.categories.items()}
        values = {
            "format": FORMAT,
            "name": self.name,
            **self.task.to_json(),
            **({"categories": categories} if categories else {}),
            **({"guessed": [*self.guessed]} if self.guessed else {}),
            "splits": splits,
            "source": self.source,
            "fingerprint": self.fingerprint,
        }
        write_text(root / DESCRIPTION, dump_yaml(values))

    def find_pairs(self, root: Path) -> tuple[dict[str, list[Pair]], list[Finding]]:
        """The pairs of each split, and what is wrong with them: files that stand alone, not as many as were written."""
        splits: dict[str, list[Pair]] = {}
        findings: list[Finding] = []
        for split, number in self.counts.items():
            splits[split], alone = _pairs_of(root, split, split in self.figures)
            findings += alone
            if len(splits[split]) + len(alone) != number:
                held = f"{root} has {len(splits[split])} {split} pairs, but {root / DESCRIPTION} says {number}"
                findings.append(Finding("missing", root / DESCRIPTION, f"{held}; prepare it again"))
        return splits, findings


def _pairs_of(root: Path, split: str, with_masks: bool) -> tuple[list[Pair], list[Finding]]:
    if not with_masks:
        return list_images(root / "images" / split)
    pairs, findings = match_pairs(root / "images" / split, root / "masks" / split)
    return with_objects(pairs, lambda name, _: root / "instances" / split / f"{name}.png"), findings


@dataclass(frozen=True)
class FileRow:
    """A file."""

    path: str  # below the dataset's folder, with forward slashes
    size: int  # in bytes
    mtime_ns: int  # when it was changed last, as its file system says
    sha256: str  # of its content, as hexadecimal digits
    classes: tuple[int, ...] | None = None  # of a mask, those that it holds, where that was written down

    @classmethod
    def of(cls, line: str) -> "FileRow":
        """Reads a line; raises ValueError where it is damaged."""
        path, size, mtime_ns, sha256, *more = line.split("\t")
        classes = tuple(int(index) for index in more[0].split(",") if index != _NONE) if more and more[0] else None
        return cls(path, int(size), int(mtime_ns), sha256, classes)

    def line(self) -> str:
        """The row as it is written."""
        classes = "" if self.classes is None else ",".join(map(str, self.classes)) or _NONE
        return "\t".join(map(str, (self.path, self.size, self.mtime_ns, self.sha256, classes)))

    def is_there(self, folder: Path) -> bool:
        """Whether the file is there, with this size and time."""
        try:
            state = (folder / self.path).stat()
        except OSError:
            return False
        return (state.st_size, state.st_mtime_ns) == (self.size, self.mtime_ns)


def row_of(path: Path, folder: Path, sha256: str | None = None) -> FileRow:
    """The row of a file below a folder; its content is hashed where the hash is not known."""
    if sha256 is None:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    state = path.stat()
    return FileRow(path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns, sha256)


class Manifest:
    """The files of a prepared dataset, a row each."""

    def __init__(self, rows: Sequence[FileRow]) -> None:
        self.rows = list(rows)

    @classmethod
    def read(cls, root: Path) -> "Manifest":
        """Reads the manifest of a prepared dataset; an old dataset has none.

        Raises:
            DataError: if it is damaged.
        """
        path = root / FILES
        if not path.is_file():
            return cls([])
        try:
            return cls([FileRow.of(line) for line in path.read_text(encoding="utf-8").split("\n")[1:] if line])
        except ValueError as error:
            raise DataError(f"{path} is damaged ({error}); prepare the dataset again") from None

    def write(self, root: Path) -> None:
        """Writes it, in the order of the paths."""
        lines = ["\t".join(FileRow.__match_args__), *(row.line() for row in self.rows)]
        write_text(root / FILES, "\n".join(lines) + "\n")

    def fingerprint(self) -> str:
        """The sha256 over the sorted paths, sizes and hashes."""
        return fingerprint(sorted((row.path, row.size, row.sha256) for row in self.rows))

    def refresh(self, root: Path) -> list[str]:
        """Hashes the files whose size or time is another than before; gives the paths whose content is another.

        A file that is no longer there counts as changed. Where only times differ, the new ones are kept, if the
        folder can be written.
        """
        changed, touched = [], False
        for place, row in enumerate(self.rows):
            if row.is_there(root):
                continue
            touched = True
            try:
                found = row_of(root / row.path, root)
            except OSError:
                found = replace(row, size=0, sha256="gone")
            if found.sha256 != row.sha256:
                changed.append(row.path)
            self.rows[place] = replace(found, classes=row.classes if found.sha256 == row.sha256 else None)
        if touched and not changed:
            with suppress(SegError):  # of a folder that cannot be written, files are hashed again each time
                self.write(root)
        return changed
