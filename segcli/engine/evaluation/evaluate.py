"""The one evaluation: a pass over samples with a predictor, feeding accumulators at the masks' own size."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from segcli.datasets.dataset import Sample
from segcli.engine.arrays import operations
from segcli.engine.evaluation.accumulators import Accumulator, PixelCounts
from segcli.engine.evaluation.scores import Counts, Scores
from segcli.engine.prediction.predictor import Predictor, each_batch
from segcli.io.images import Mask, Pixels
from segcli.parallel import Progress, available_cores, silent

_MOST_READERS = 16


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation counts.

    Attributes:
        scores: over all samples.
        names: of the samples, in the order in which they were computed.
        image_counts: N×3×C, for each of them the pixels of each class that are hit, true and predicted.
    """

    scores: Scores
    names: tuple[str, ...]
    image_counts: Counts


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    others: Sequence[Accumulator] = (),
    batch_size: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Predicts every sample once and counts.

    Files are read ahead of what is computed, and nothing waits for what is computed before the last sample.

    Args:
        predictor: what is evaluated.
        samples: with masks.
        others: more accumulators to feed.
        batch_size: images in a row of which those of equal size are computed together; None takes what suits the
            predictor. No figure depends on it.
        progress: told of the images.

    Raises:
        DataError: if an image and its mask differ in size, or a file is damaged.
    """
    counts = PixelCounts(predictor.card.task)
    names: list[str] = []
    batches = _batches(samples, batch_size or predictor.batch_size)
    with_images = ((batch, np.stack([image for _, image, _ in batch])) for batch in batches)
    for batch, logits in each_batch(predictor, with_images):
        truth = operations(logits).beside(np.stack([mask for _, _, mask in batch]), logits)
        batch_names = [name for name, _, _ in batch]
        for accumulator in (counts, *others):
            accumulator.add(batch_names, logits, truth)
        names += batch_names
        progress("evaluating", len(names), len(samples))
    return Evaluation(counts.scores(), tuple(names), counts.image_counts())


Loaded = tuple[str, Pixels, Mask]


def _batches(samples: Sequence[Sample], batch_size: int) -> Iterator[list[Loaded]]:
    """Batches by place, each parted by size."""
    loaded_samples = _read_ahead(samples, batch_size)
    while group := list(islice(loaded_samples, batch_size)):
        by_size: dict[tuple[int, ...], list[Loaded]] = {}
        for loaded in group:
            by_size.setdefault(loaded[1].shape, []).append(loaded)
        yield from by_size.values()


def _read_ahead(samples: Sequence[Sample], batch_size: int) -> Iterator[Loaded]:
    """Reads samples in order, two batches ahead of the one that is used.

    The threads decode outside of Python's lock. One core is left to what computes; on a CPU, where that takes all of
    them, the readers soon have nothing to do but to wait.
    """
    readers = min(max(available_cores() - 1, 1), _MOST_READERS)
    with ThreadPoolExecutor(readers) as pool:
        waiting: deque[Future[Loaded]] = deque()
        for sample in samples:
            waiting.append(pool.submit(_read, sample))
            if len(waiting) > readers + 2 * batch_size:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(sample: Sample) -> Loaded:
    return sample.name, *sample.read()
