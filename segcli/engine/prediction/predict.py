"""From sources to products: read ahead by threads, computed in batches, written by threads, told in order."""

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segcli.engine.arrays import operations
from segcli.engine.prediction.journal import Journal, open_journal
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.reading import Chunk, read_ahead
from segcli.engine.prediction.sinks.base import Plan, Prediction, Sink
from segcli.engine.prediction.streams import Item
from segcli.errors import DataError, SegError
from segcli.io.images import Mask, Pixels

CONFIDENCE, PROBABILITIES = "confidence", "probabilities"


@dataclass(frozen=True)
class Predicted:
    """An image and what was made of it.

    Attributes:
        item: the image.
        files: what was written.
        shares: each class's share (0…1) of the pixels.
    """

    item: Item
    files: tuple[Path, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Work:
    """How much is done at a time.

    Attributes:
        batch_size: images that go through the network together, where they are of one size.
        workers: threads that read, and as many that write.
        min_confidence: pixels whose likeliest class has a smaller probability are ignored.
    """

    batch_size: int
    workers: int
    min_confidence: float = 0.0


@dataclass(frozen=True)
class Computed:
    """What is computed of some images, on the device, in the arrays of the model's library.

    Attributes:
        labels: N×H×W.
        unsure: N×H×W, where the likeliest class is not likely enough; None where nobody asked.
        confidence: N×H×W float32; None likewise.
        probabilities: N×C×H×W float32; None likewise.
    """

    labels: Any
    unsure: Any = None
    confidence: Any = None
    probabilities: Any = None

    def on_host(self, ignore_index: int) -> tuple[Mask, Any, Any]:
        """Labels with the ignore index where they are unsure, confidence and probabilities; waits for them."""
        ops = operations(self.labels)
        labels = ops.to_numpy(self.labels)
        if self.unsure is not None:
            wide = ignore_index > np.iinfo(labels.dtype).max
            labels = labels.astype(np.uint16) if wide else labels.copy()
            labels[ops.to_numpy(self.unsure)] = ignore_index
        others = (None if array is None else ops.to_numpy(array) for array in (self.confidence, self.probabilities))
        return labels, *others


def predict_images(
    predictor: Predictor, images: Pixels, needs: frozenset[str] = frozenset(), min_confidence: float = 0.0
) -> Computed:
    """Computes what is asked for of images (N×H×W×3 of one size); does not wait for the device.

    Args:
        predictor: the model.
        images: uint8 RGB.
        needs: of `confidence` and `probabilities`, what is to leave the device beside the labels.
        min_confidence: pixels whose likeliest class has a smaller probability are unsure.
    """
    logits = predictor(images)
    ops = operations(logits)
    labels = ops.labels(logits)
    if not needs and min_confidence <= 0:
        return Computed(labels)
    probabilities = ops.softmax(logits)
    confidence = ops.largest(probabilities)
    return Computed(
        labels,
        confidence < min_confidence if min_confidence > 0 else None,
        confidence if CONFIDENCE in needs else None,
        probabilities if PROBABILITIES in needs else None,
    )


def predict_items(
    predictor: Predictor, items: Iterable[Item], sinks: Mapping[str, Sink], work: Work, journal: Journal | None
) -> Iterator[Predicted | DataError]:
    """Predicts images and writes their products; what the sinks have in common is left to `finish`.

    An image that cannot be used gives its error, and the others go on. Whenever this is stopped, each file is whole
    or not there, and the journal holds no image whose files are not.

    Args:
        predictor: the model.
        items: what to predict; walked by a thread of its own.
        sinks: what to write, by name.
        work: how much at a time.
        journal: what is done already is left out of, and what gets done is added to; None keeps none.

    Raises:
        SegError: if a product cannot be written.
    """
    needs = frozenset[str]().union(*(sink.needs for sink in sinks.values()))
    is_done = journal.holds if journal else _never
    num_classes = predictor.card.task.num_classes
    with ExitStack() as stack:
        chunks = stack.enter_context(read_ahead(items, work.batch_size, work.workers, is_done))
        writers = stack.enter_context(_threads(work.workers))
        waiting: deque[tuple[Item, Future[_Written] | DataError]] = deque()
        for computed in _one_ahead(_Launched.of(predictor, chunk, needs, work) for chunk in chunks):
            for item, found in computed.predictions(predictor) if computed else ():
                waiting.append(
                    (item, found if isinstance(found, DataError) else writers.submit(_write, found, sinks, num_classes))
                )
            most = 2 * work.workers + work.batch_size if computed else 0
            while len(waiting) > most:
                yield from _told(*waiting.popleft(), sinks, journal)
        while waiting:
            yield from _told(*waiting.popleft(), sinks, journal)


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

    try:
        plan.output.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(plan.staging, ignore_errors=True)
        plan.staging.mkdir()
    except OSError as error:
        raise SegError(f"{plan.output} cannot be written: {error.strerror}; choose another folder with -o") from None
    with open_journal(plan.output / f".predict{plan.mark}.jsonl", settings, is_whole, resume) as journal:
        try:
            yield journal
        finally:
            shutil.rmtree(plan.staging, ignore_errors=True)


def finish(sinks: Mapping[str, Sink], journal: Journal | None) -> list[Path]:
    """Writes what all images have in common; gives files and folders to look at."""
    written: list[Path] = []
    for name, sink in sinks.items():
        written += sink.finish(_reader(journal, name))
    return written


def _reader(journal: Journal | None, sink: str) -> Callable[[], Iterator[Any]]:
    return (lambda: iter(())) if journal is None else (lambda: journal.records(sink))


def _never(item: Item) -> bool:
    return False


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that end what they have begun, and nothing else, when the block is left."""
    pool = ThreadPoolExecutor(number, "writing")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class _Launched:
    """A chunk whose batches are being computed."""

    chunk: Chunk
    batches: list[tuple[list[int], Computed]] = field(default_factory=list)

    @classmethod
    def of(cls, predictor: Predictor, chunk: Chunk | None, needs: frozenset[str], work: Work) -> "_Launched | None":
        """Launches a batch for each size of image in a chunk."""
        if chunk is None:
            return None
        sizes: dict[tuple[int, ...], list[int]] = {}
        for place, (_, image) in enumerate(chunk):
            if not isinstance(image, DataError):
                sizes.setdefault(image.shape, []).append(place)
        launched = cls(chunk)
        for places in sizes.values():
            images = np.stack([chunk[place][1] for place in places])
            launched.batches.append((places, predict_images(predictor, images, needs, work.min_confidence)))
        return launched

    def predictions(self, predictor: Predictor) -> Iterator[tuple[Item, Prediction | DataError]]:
        """What came of each item of the chunk, in order; waits for the device."""
        found: dict[int, Prediction] = {}
        for places, computed in self.batches:
            labels, confidence, probabilities = computed.on_host(predictor.card.task.ignore_index)
            for row, place in enumerate(places):
                item, image = self.chunk[place]
                if not isinstance(image, DataError):
                    found[place] = Prediction(
                        item,
                        image,
                        labels[row],
                        None if confidence is None else confidence[row],
                        None if probabilities is None else probabilities[row],
                    )
        for place, (item, image) in enumerate(self.chunk):
            yield item, image if isinstance(image, DataError) else found[place]


def _one_ahead(launches: Iterator[_Launched | None]) -> Iterator[_Launched | None]:
    """Gives each launched chunk once the next one is launched too, or would have to be waited for."""
    before: _Launched | None = None
    for launched in launches:
        if before is not None:
            yield before
        if launched is None:
            yield None
        before = launched
    if before is not None:
        yield before


@dataclass(frozen=True)
class _Written:
    files: tuple[Path, ...]
    records: Mapping[str, Any]
    shares: tuple[float, ...]


def _write(prediction: Prediction, sinks: Mapping[str, Sink], num_classes: int) -> _Written:
    records = {name: sink.write(prediction) for name, sink in sinks.items()}
    files = tuple(path for sink in sinks.values() for path in sink.files(prediction.item.name))
    counts = np.bincount(prediction.labels.ravel(), minlength=num_classes)[:num_classes]
    return _Written(
        files,
        {name: record for name, record in records.items() if record is not None},
        tuple((counts / prediction.labels.size).tolist()),
    )


def _told(
    item: Item, outcome: "Future[_Written] | DataError", sinks: Mapping[str, Sink], journal: Journal | None
) -> Iterator[Predicted | DataError]:
    if isinstance(outcome, DataError):
        yield outcome
        return
    try:
        written = outcome.result()
    except DataError as error:  # of a product that this image cannot have
        yield error
        return
    if journal is None or journal.add(item, written.records):
        for name, sink in sinks.items():
            sink.add(written.records.get(name))
    yield Predicted(item, written.files, written.shares)
