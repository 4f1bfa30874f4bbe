"""dataset: images and predicted masks as a prepared dataset, for the next training."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segcli.components.class_weights import ClassFigures
from segcli.datasets.prepared.format import Description, FileRow, Manifest, row_of
from segcli.engine.prediction.sinks.areas import count_pixels
from segcli.engine.prediction.sinks.base import Plan, Prediction, Record, Records
from segcli.io.images import SUFFIXES, encode_mask, encode_png

_SPLIT = "train"


@dataclass(frozen=True)
class PseudoLabels:
    """Writes images and masks; the description, which makes it a dataset, comes last."""

    plan: Plan

    needs = frozenset[str]()
    only_says = False

    @property
    def root(self) -> Path:
        """The folder of the dataset."""
        return self.plan.output / f"dataset{self.plan.mark}"

    def files(self, name: str) -> tuple[Path, ...]:
        """The mask."""
        return (self.root / "masks" / _SPLIT / f"{name}.png",)

    def write(self, prediction: Prediction) -> Record:
        """Writes image and mask, and says what they hold."""
        mask = self.files(prediction.item.name)[0]
        self.plan.write(mask, encode_mask(prediction.labels, self.plan.task.palette))
        counts = count_pixels(prediction, self.plan)[:-1]
        held = tuple(index for index, count in enumerate(counts) if count)
        found = row_of(mask, self.root)
        rows = [row_of(self._write_image(prediction), self.root), _with_classes(found, held)]
        return {"rows": [row.line() for row in rows], "pixels": counts}

    def add(self, record: Record) -> None:
        """Keeps nothing; the records are read again at the end."""

    def finish(self, records: Records) -> list[Path]:
        """Lists the files and describes the dataset."""
        manifest = Manifest(sorted(self._rows(records), key=lambda row: row.path))
        if not manifest.rows:
            return []
        manifest.write(self.root)
        name, counts = self.root.resolve().parent.name, {_SPLIT: len(manifest.rows) // 2}
        figures = {_SPLIT: ClassFigures.of([record["pixels"] for record in records()])}
        task, fingerprint = self.plan.task, manifest.fingerprint()
        Description(name, task, counts, figures, fingerprint, {}, (), self.plan.model).write(self.root)
        return [self.root]

    def _rows(self, records: Records) -> Iterator[FileRow]:
        return (FileRow.of(line) for record in records() for line in record["rows"])

    def _write_image(self, prediction: Prediction) -> Path:
        """Links the image, else copies it; what is no file, or of a name that would not be found, becomes a PNG."""
        item = prediction.item
        path = self.root / "images" / _SPLIT / f"{item.name}.png"
        if item.path is None or item.path.suffix.lower() not in SUFFIXES:
            self.plan.write(path, encode_png(prediction.image))
            return path
        path = path.with_name(f"{path.stem}{item.path.suffix.lower()}")
        with self.plan.replacing(path) as staged:
            staged.unlink()
            with suppress(OSError):
                staged.hardlink_to(item.path.resolve())
            if not staged.exists():
                shutil.copy2(item.path, staged)
        return path


def _with_classes(row: FileRow, classes: tuple[int, ...]) -> FileRow:
    return FileRow(row.path, row.size, row.mtime_ns, row.sha256, classes)


def open_sink(plan: Plan) -> PseudoLabels:
    """dataset/, or dataset-2-of-8/ of a shard."""
    return PseudoLabels(plan)
