"""What every product is made of: a prediction in, files or a record out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from segcli.engine.prediction.streams import Item
from segcli.errors import UsageError, did_you_mean
from segcli.io.files import replacing
from segcli.io.images import Mask, Pixels
from segcli.task import Task

Floats = NDArray[np.float32]
Record = Any
"""What a sink says of an image, as plain JSON values."""
Records = Callable[[], Iterator[Record]]
"""Gives the records of all images once more, in the order of the images, without holding them."""


@dataclass(frozen=True)
class Prediction:
    """What a model makes of an image.

    Attributes:
        item: the image's names.
        image: H×W×3 uint8 RGB.
        labels: H×W class indices, or the ignore index where the model is not sure enough.
        confidence: H×W uint8, the probability of the likeliest class as 0…255; None where no sink asked for it.
        probabilities: C×H×W float32; None likewise.
    """

    item: Item
    image: Pixels
    labels: Mask
    confidence: Mask | None = None
    probabilities: Floats | None = None


class Group(NamedTuple):
    """Classes that are one thing in a product.

    Attributes:
        name: as the user wrote it.
        indices: of the classes.
    """

    name: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What the sinks share.

    Attributes:
        output: the folder to write to.
        task: classes and colours.
        mark: what ends the name of a file that every shard writes.
        only: the classes that `binary` and `cutouts` are about; none means all.
        threshold: the probability from which a pixel belongs to such a class; None takes the likeliest class.
        tolerance: pixels by which outlines may be off.
        model: what made it.
        say: takes lines for stdout.
    """

    output: Path
    task: Task
    mark: str = ""
    only: tuple[Group, ...] = ()
    threshold: float | None = None
    tolerance: float = 0.5
    model: str = "segcli"
    say: Callable[[str], None] = print

    @property
    def staging(self) -> Path:
        """The hidden folder where files are made, so that a killed process leaves their halves in one place."""
        return self.output / f".staging{self.mark}"

    def replacing(self, path: Path) -> AbstractContextManager[Path]:
        """Gives a temporary file, which takes the place of a path when the block ends without an error."""
        return replacing(path, staging=self.staging)

    def write(self, path: Path, content: bytes) -> None:
        """Writes a file, whole or not at all."""
        with self.replacing(path) as staged:
            staged.write_bytes(content)


class Sink(Protocol):
    """A product."""

    @property
    def needs(self) -> frozenset[str]:
        """Of `confidence` and `probabilities`, what must leave the device for it."""

    @property
    def only_says(self) -> bool:
        """Whether it writes no files."""

    def files(self, name: str) -> tuple[Path, ...]:
        """The files that it writes for the image of a name."""

    def write(self, prediction: Prediction) -> Record:
        """Writes the files of an image and says what `finish` must know; called by several threads."""

    def add(self, record: Record) -> None:
        """Takes the record of each image, in the order of the images."""

    def finish(self, records: Records) -> list[Path]:
        """Writes what all images have in common; gives what there is to look at."""


@dataclass(frozen=True)
class FileEach:
    """A sink that writes a file an image.

    Attributes:
        plan: where to write.
        kind: the folder there.
        suffix: of the files.
        encode: the content of an image's file.
        needs: of `confidence` and `probabilities`.
    """

    plan: Plan
    kind: str
    suffix: str
    encode: Callable[[Prediction], bytes]
    needs: frozenset[str] = frozenset()

    only_says = False

    def files(self, name: str) -> tuple[Path, ...]:
        """The one file."""
        return (self.plan.output / self.kind / f"{name}{self.suffix}",)

    def write(self, prediction: Prediction) -> Record:
        """Writes it, whole or not at all."""
        self.plan.write(self.files(prediction.item.name)[0], self.encode(prediction))

    def add(self, record: Record) -> None:
        """Has nothing to add up."""

    def finish(self, records: Records) -> list[Path]:
        """Names the folder."""
        return [self.plan.output / self.kind]


@dataclass(frozen=True)
class OneOfAll:
    """A sink that writes one file of all images, from a record of each.

    Attributes:
        plan: where to write.
        name: the file's place there.
        record: what is kept of an image, as plain JSON values.
        lines: the file's text in pieces, from the records.
    """

    plan: Plan
    name: str
    record: Callable[[Prediction], Record]
    lines: Callable[[Records], Iterable[str]]

    needs = frozenset[str]()
    only_says = False

    def files(self, name: str) -> tuple[Path, ...]:
        """None for a single image."""
        return ()

    def write(self, prediction: Prediction) -> Record:
        """Gives the record."""
        return self.record(prediction)

    def add(self, record: Record) -> None:
        """Keeps nothing; the records are read again at the end."""

    def finish(self, records: Records) -> list[Path]:
        """Writes the file, whole or not at all."""
        path = self.plan.output / self.name
        with self.plan.replacing(path) as staged, staged.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(self.lines(records))
        return [path]


def chosen(prediction: Prediction, indices: Sequence[int], threshold: float | None) -> NDArray[np.bool_]:
    """Where an image (H×W) shows one of some classes: the likeliest there, or their probabilities sum to a threshold.

    Pixels that are ignored show none.
    """
    if threshold is None or prediction.probabilities is None:
        return np.isin(prediction.labels, indices)
    return np.asarray(prediction.probabilities[list(indices)].sum(axis=0) >= threshold)


def parse_groups(text: str | None, task: Task) -> tuple[Group, ...]:
    """Reads `car,truck`, or `car+truck` for two classes as one thing.

    Raises:
        UsageError: if there is no such class.
    """
    return tuple(_group(part, task) for part in text.split(",")) if text else ()


def _group(text: str, task: Task) -> Group:
    names = [text] if text in task.classes else text.split("+")
    for name in names:
        if name not in task.classes:
            raise UsageError(f"--only {text}: the model knows no class {name!r}; {did_you_mean(name, task.classes)}")
    return Group(text, tuple(task.classes.index(name) for name in names))
