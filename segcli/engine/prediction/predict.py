"""From sources to products: read ahead by threads, computed in batches, written by threads, told in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segcli.engine.arrays import operations
from segcli.engine.prediction.huge import Huge, HugeImages
from segcli.engine.prediction.journal import Journal
from segcli.engine.prediction.predictor import Predictor, side_by_side
from segcli.engine.prediction.reading import Chunk, read_ahead
from segcli.engine.prediction.sinks.base import Prediction, Sink
from segcli.engine.prediction.streams import Item
from segcli.engine.prediction.tiles import SURELY_FITS, fits
from segcli.errors import DataError
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
        confidence: N×H×W uint8, the probability of the likeliest class as 0…255; None where nobody asked.
        probabilities: N×C×H×W float32; None likewise.
    """

    labels: Any
    confidence: Any = None
    probabilities: Any = None

    def on_host(self, ignore_index: int, min_confidence: float) -> tuple[Mask, Any, Any]:
        """Labels, with the ignore index where they are unsure, confidence and probabilities; waits for them."""
        ops = operations(self.labels)
        labels = ops.to_numpy(self.labels)
        confidence = None if self.confidence is None else ops.to_numpy(self.confidence)
        probabilities = None if self.probabilities is None else ops.to_numpy(self.probabilities)
        if confidence is not None and min_confidence > 0:
            wide = ignore_index > np.iinfo(labels.dtype).max
            labels = labels.astype(np.uint16) if wide else labels.copy()
            labels[confidence < 255 * min_confidence] = ignore_index
        return labels, confidence, probabilities


def predict_images(predictor: Predictor, images: Pixels, needs: frozenset[str] = frozenset()) -> Computed:
    """Computes what is asked for of images (N×H×W×3 uint8 RGB, of one size); does not wait for the device.

    Args:
        predictor: the model.
        images: of one size.
        needs: of `confidence` and `probabilities`, what is to leave the device beside the labels.
    """
    logits = predictor(images)
    ops = operations(logits)
    return Computed(
        ops.labels(logits),
        ops.confidence(logits) if CONFIDENCE in needs else None,
        ops.softmax(logits) if PROBABILITIES in needs else None,
    )


def predict_items(
    predictor: Predictor,
    items: Iterable[Item],
    sinks: Mapping[str, Sink],
    work: Work,
    journal: Journal | None,
    huge: HugeImages | None = None,
) -> Generator[Predicted | DataError, None, None]:
    """Predicts images and writes their products; what the sinks have in common is left to `finish`.

    An image that cannot be used gives its error, and the others go on. Whenever this is stopped, each file is whole
    or not there, and the journal holds no image whose files are not.

    Args:
        predictor: the model.
        items: what to predict; walked by a thread of its own.
        sinks: what to write, by name.
        work: how much at a time.
        journal: what is done already is left out of, and what gets done is added to; None keeps none.
        huge: predicts images that memory does not hold whole; None predicts every image whole.

    Raises:
        SegError: if a product cannot be written.
    """
    needs = frozenset({CONFIDENCE} if work.min_confidence > 0 else ()).union(*(sink.needs for sink in sinks.values()))
    is_done = journal.holds if journal else _never
    task = predictor.card.task
    with ExitStack() as stack:
        launch = stack.enter_context(_launcher(predictor, needs, huge))
        read = huge.read if huge else _read
        chunks = stack.enter_context(read_ahead(items, work.batch_size, work.workers, is_done, read))
        writers = stack.enter_context(_threads(work.workers))
        waiting: deque[tuple[Item, _Outcome]] = deque()
        launched = (None if chunk is None else _Launched.of(chunk, launch) for chunk in chunks)
        for computed in _ahead(launched, predictor.concurrency):
            for item, found in computed.predictions(task.ignore_index, work.min_confidence) if computed else ():
                if isinstance(found, DataError):
                    waiting.append((item, found))
                elif isinstance(found, Huge):
                    assert huge is not None
                    waiting.append((item, _write_huge(found, item, huge, sinks, work)))
                else:
                    waiting.append((item, writers.submit(_write, found, sinks, task.num_classes)))
            most = 2 * work.workers + work.batch_size if computed else 0
            while len(waiting) > most:
                yield from _told(*waiting.popleft(), sinks, journal)
        while waiting:
            yield from _told(*waiting.popleft(), sinks, journal)


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


def _read(item: Item) -> Pixels:
    return item.read()


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that end what they have begun, and nothing else, when the block is left."""
    pool = ThreadPoolExecutor(number, "writing")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


_Launch = Callable[[Pixels], Callable[[], Computed]]
"""Begins to compute images of one size; what it gives waits for that."""


@contextmanager
def _launcher(predictor: Predictor, needs: frozenset[str], huge: HugeImages | None) -> Iterator[_Launch]:
    """Computes one batch after the other, or as many side by side as suits the predictor.

    What does not fit whole is computed in tiles, and only when it is waited for: those are computed side by side.
    """
    with ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None
        if predictor.concurrency > 1:
            pool = stack.enter_context(side_by_side(predictor.concurrency))

        def launch(images: Pixels) -> Callable[[], Computed]:
            height, width = images.shape[1:3]
            if huge and not fits(predictor, height, width):
                return partial(predict_images, huge.tiled, images, needs)
            if pool is not None and fits(predictor, height, width, predictor.concurrency):
                return pool.submit(predict_images, predictor, images, needs).result
            computed = predict_images(predictor, images, needs)
            return lambda: computed

        yield launch


@dataclass(frozen=True)
class _Launched:
    """A chunk whose batches are being computed, each with the places of its images in the chunk."""

    chunk: Chunk
    batches: list[tuple[list[int], Callable[[], Computed]]]

    @classmethod
    def of(cls, chunk: Chunk, launch: _Launch) -> "_Launched":
        """Launches a batch for each size of image in a chunk; images that are large go alone."""
        images = {place: image for place, (_, image) in enumerate(chunk) if isinstance(image, np.ndarray)}
        sizes: dict[tuple[int, ...], list[int]] = {}
        for place, image in images.items():
            large = image.size > 3 * SURELY_FITS
            sizes.setdefault((*image.shape, place if large else -1), []).append(place)
        return cls(
            chunk, [(places, launch(np.stack([images[place] for place in places]))) for places in sizes.values()]
        )

    def predictions(
        self, ignore_index: int, min_confidence: float
    ) -> Iterator[tuple[Item, Prediction | Huge | DataError]]:
        """What came of each item of the chunk, in order; waits for the device."""
        found: dict[int, tuple[Any, ...]] = {}
        for places, computed in self.batches:
            arrays = computed().on_host(ignore_index, min_confidence)
            for row, place in enumerate(places):
                found[place] = tuple(None if array is None else array[row] for array in arrays)
        for place, (item, image) in enumerate(self.chunk):
            yield item, Prediction(item, image, *found[place]) if isinstance(image, np.ndarray) else image


def _ahead(launches: Iterator[_Launched | None], number: int) -> Iterator[_Launched | None]:
    """Gives each launched chunk once some more are launched, or would have to be waited for."""
    waiting: deque[_Launched] = deque()
    for launched in launches:
        if launched is not None:
            waiting.append(launched)
        while len(waiting) > (number if launched else 0):
            yield waiting.popleft()
        if launched is None:
            yield None
    yield from waiting


@dataclass(frozen=True)
class _Written:
    files: tuple[Path, ...]
    records: Mapping[str, Any]
    shares: tuple[float, ...]


_Outcome = Future[_Written] | _Written | DataError
"""What comes of an image: what is written of it, now or soon, or why nothing is."""


def _write(prediction: Prediction, sinks: Mapping[str, Sink], num_classes: int) -> _Written:
    records = {name: sink.write(prediction) for name, sink in sinks.items()}
    counts = np.bincount(prediction.labels.ravel(), minlength=num_classes)[:num_classes]
    return _Written(
        _files(prediction.item, sinks),
        {name: record for name, record in records.items() if record is not None},
        tuple((counts / prediction.labels.size).tolist()),
    )


def _write_huge(
    image: Huge, item: Item, images: HugeImages, sinks: Mapping[str, Sink], work: Work
) -> _Written | DataError:
    try:
        shares = images.write(image, item.name, sinks, work.min_confidence)
    except DataError as error:
        return error
    return _Written(_files(item, sinks), {}, tuple(shares.tolist()))


def _files(item: Item, sinks: Mapping[str, Sink]) -> tuple[Path, ...]:
    return tuple(path for sink in sinks.values() for path in sink.files(item.name))


def _told(
    item: Item, outcome: _Outcome, sinks: Mapping[str, Sink], journal: Journal | None
) -> Iterator[Predicted | DataError]:
    if isinstance(outcome, DataError):
        yield outcome
        return
    try:
        written = outcome if isinstance(outcome, _Written) else outcome.result()
    except DataError as error:  # of a product that this image cannot have
        yield error
        return
    if journal is None or journal.add(item, written.records):
        for name, sink in sinks.items():
            sink.add(written.records.get(name))
    yield Predicted(item, written.files, written.shares)
