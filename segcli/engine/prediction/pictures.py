"""Pictures of what a model makes of images, of any kind, and contact sheets of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from segcli.datasets.dataset import Dataset, Sample
from segcli.engine.arrays import operations
from segcli.engine.drawing.kinds import panel
from segcli.engine.drawing.kinds.base import CONFIDENCE, TRUTH, Kind, Seen
from segcli.engine.drawing.legend import Entry, draw_legend, text_scale
from segcli.engine.drawing.masks import below_one_another
from segcli.engine.drawing.sheet import contact_sheet, size_on_sheet
from segcli.engine.drawing.sizes import drawn_size
from segcli.engine.drawing.video import RATE, write_video
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.streams import Item
from segcli.errors import DataError, UsageError
from segcli.io.images import Mask, Pixels, write_image
from segcli.parallel import Progress, silent

_SHEET = 64  # pictures on a sheet at most
_LEGEND = 0.4  # of a frame's height that a video's legend may take


@dataclass(frozen=True)
class Subject:
    """An image to draw.

    Attributes:
        name: the path of its pictures below their folder, without suffix.
        read: gives the image (H×W×3), and its mask where there is one.
        stream: the video that it belongs to.
        rate: frames a second of that video.
    """

    name: str
    read: Callable[[], tuple[Pixels, Mask | None]]
    stream: str = "images"
    rate: float = RATE


@dataclass
class Drawn:
    """What came of drawing.

    Attributes:
        files: the pictures, and of several the contact sheets.
        failed: a line for each image that could not be read.
    """

    files: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def of_samples(samples: Sequence[Sample], with_masks: bool = True) -> list[Subject]:
    """The samples of a split as subjects."""
    return [Subject(sample.name, sample.read if with_masks else _alone(sample.image)) for sample in samples]


def of_items(items: Iterable[Item]) -> Iterator[Subject]:
    """Images without masks as subjects."""
    return (Subject(item.name, _alone(item.read), item.stream or Subject.stream, item.rate or RATE) for item in items)


def has_masks(dataset: Dataset, split: str) -> bool:
    """Whether the masks of a split are there."""
    return split in dataset.figures


def require_masks(kind: Kind, what: str) -> None:
    """Raises UsageError where a kind of picture shows the truth, and there is none to what is drawn."""
    if TRUTH in kind.needs:
        raise UsageError(
            f"--{kind.name} compares with masks, and {what} has none; try --confidence, or a dataset with -d"
        )


def draw(
    predictor: Predictor,
    kind: Kind,
    subjects: Iterable[Subject],
    folder: Path,
    progress: Progress = silent,
    total: int = 0,
) -> Drawn:
    """Draws the prediction on each subject; one that cannot be read is named, and the others go on.

    Args:
        predictor: the model.
        kind: of picture.
        subjects: what to draw.
        folder: where the pictures go, into a folder of the kind.
        progress: told of each picture.
        total: how many subjects there are; 0 where that is not known.
    """
    drawn, sheets = Drawn(), _Sheets(folder / f"{kind.folder}.jpg", kind)
    for done, subject in enumerate(subjects, 1):
        try:
            image, truth = subject.read()
        except DataError as error:
            drawn.failed.append(str(error))
            continue
        seen = look(predictor, image, truth, CONFIDENCE in kind.needs)
        path = folder / kind.folder / f"{subject.name}.png"
        write_image(path, kind.picture(seen))
        drawn.files.append(path)
        sheets.add(subject.name, seen)
        progress("drawing", done, total)
    sheets.flush()
    drawn.files += sheets.files
    return drawn


def film(
    predictor: Predictor,
    kind: Kind,
    subjects: Iterable[Subject],
    folder: Path,
    progress: Progress = silent,
    total: int = 0,
) -> Drawn:
    """Draws each subject as `draw` does, and writes what belongs to one video as one.

    Their legends hold all classes, so that frames have one size; where there are too many classes for that, none.
    """
    drawn, names = Drawn(), dict[str, int]()
    told = _told(subjects, progress, total)
    for (stream, rate), frames in groupby(told, lambda subject: (subject.stream, subject.rate)):
        names[stream] = names.get(stream, 0) + 1
        name = stream if names[stream] == 1 else f"{stream}-{names[stream]}"
        path = folder / kind.folder / f"{name}.mp4"
        if write_video(path, _frames(predictor, kind, frames, drawn.failed), rate):
            drawn.files.append(path)
    return drawn


def _told(subjects: Iterable[Subject], progress: Progress, total: int) -> Iterator[Subject]:
    for done, subject in enumerate(subjects, 1):
        yield subject
        progress("drawing", done, total)


def _frames(predictor: Predictor, kind: Kind, subjects: Iterable[Subject], failed: list[str]) -> Iterator[Pixels]:
    legend: Pixels | None = None
    for subject in subjects:
        try:
            image, truth = subject.read()
        except DataError as error:
            failed.append(str(error))
            continue
        seen = look(predictor, image, truth, CONFIDENCE in kind.needs)
        picture, _ = kind.draw(seen, drawn_size(image.shape))
        if legend is None:
            legend = draw_legend(_entries_of_all_classes(kind, seen), picture.shape[1], text_scale(picture))
            legend = legend if len(legend) < _LEGEND * len(picture) else legend[:0]
        yield below_one_another([picture, legend])


def _entries_of_all_classes(kind: Kind, seen: Seen) -> Sequence[Entry]:
    """The legend of a picture with every class in it, each found and missed, and with ignored pixels."""
    height, width = seen.image.shape[:2]
    stripes = (np.arange(height) * seen.task.num_classes // height).astype(seen.prediction.dtype)
    prediction = np.repeat(stripes[:, None], width, axis=1)
    truth = seen.truth
    if truth is not None:
        truth = prediction[::-1].astype(truth.dtype)
        truth[:, 0] = seen.task.ignore_index
    return kind.draw(replace(seen, prediction=prediction, truth=truth), (height, width)).entries


def look(predictor: Predictor, image: Pixels, truth: Mask | None = None, with_confidence: bool = False) -> Seen:
    """What a model makes of an image (H×W×3)."""
    logits = predictor(image[None])
    ops = operations(logits)
    confidence = ops.to_numpy(ops.confidence(logits)[0]) if with_confidence else None
    return Seen(image, ops.to_numpy(ops.labels(logits)[0]), predictor.card.task, truth, confidence)


def evenly(samples: Sequence[Sample], number: int) -> list[Sample]:
    """A number of samples from all over a split; neighbours are often frames of one video."""
    number = min(number, len(samples))
    return [samples[place * len(samples) // number] for place in range(number)]


def draw_panels(path: Path, predictor: Predictor, samples: Sequence[Sample]) -> None:
    """Draws a panel for each of a few samples, one below the other."""
    panels = []
    for sample in samples:
        image, truth = sample.read()
        panels.append(panel.KIND.picture(look(predictor, image, truth)))
    write_image(path, below_one_another(panels))


def _alone(read: Callable[[], Pixels]) -> Callable[[], tuple[Pixels, None]]:
    return lambda: (read(), None)


class _Sheets:
    """Draws pictures small, and writes them as contact sheets where there are several."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path, self.kind = path, kind
        self.files: list[Path] = []
        self._pictures: list[tuple[str, Pixels]] = []
        self._entries: dict[Entry, None] = {}  # in order, each once

    def add(self, name: str, seen: Seen) -> None:
        """Takes what a picture shows; a sheet that is full is written before."""
        if len(self._pictures) == _SHEET:
            self.flush()
        columns = self.kind.columns
        picture, entries = self.kind.draw(seen, size_on_sheet(seen.image.shape, columns))
        self._pictures.append((name, picture))
        self._entries.update(dict.fromkeys(entries))

    def flush(self) -> None:
        """Writes what is there, but no sheet of a single picture in all."""
        if len(self._pictures) < 2 and not self.files:
            return
        if self._pictures:
            number = len(self.files) + 1
            path = self.path if number == 1 else self.path.with_stem(f"{self.path.stem}-{number}")
            write_image(path, contact_sheet(self._pictures, list(self._entries)))
            self.files.append(path)
        self._pictures, self._entries = [], {}
