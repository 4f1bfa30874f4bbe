"""The one evaluation: a pass over samples with a predictor, feeding accumulators at the masks' own size."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice

import numpy as np

from segcli.datasets.dataset import Sample
from segcli.engine.evaluation.accumulators import Accumulator, ConfusionMatrix
from segcli.engine.evaluation.scores import Scores
from segcli.engine.prediction.predictor import Predictor
from segcli.io.images import Mask, Pixels
from segcli.parallel import Progress, silent

_READERS = 2
_READ_AHEAD = 8


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    others: Sequence[Accumulator] = (),
    batch_size: int = 1,
    progress: Progress = silent,
) -> Scores:
    """Predicts every sample once and counts.

    Args:
        predictor: what is evaluated.
        samples: with masks.
        others: more accumulators to feed.
        batch_size: images at a time, where consecutive ones have the same size; no figure depends on it.
        progress: told of each image.

    Returns:
        The scores over all samples.

    Raises:
        DataError: if an image and its mask differ in size, or a file is damaged.
    """
    counts = ConfusionMatrix(predictor.card.task)
    done = 0
    for chunk in _chunks(samples, batch_size):
        logits = predictor(np.stack([image for _, image, _ in chunk]))
        for (name, _, mask), image_logits in zip(chunk, logits, strict=True):
            for accumulator in (counts, *others):
                accumulator.add(name, image_logits, mask)
        done += len(chunk)
        progress("evaluating", done, len(samples))
    return counts.scores()


Loaded = tuple[str, Pixels, Mask]


def _chunks(samples: Sequence[Sample], batch_size: int) -> Iterator[list[Loaded]]:
    """Batches by place, each split where the size changes."""
    loaded_samples = _read_ahead(samples)
    while group := list(islice(loaded_samples, batch_size)):
        for _, same_size in groupby(group, key=lambda loaded: loaded[1].shape):
            yield list(same_size)


def _read_ahead(samples: Sequence[Sample]) -> Iterator[Loaded]:
    """Reads samples in order, some ahead of the one that is used."""
    with ThreadPoolExecutor(_READERS) as pool:
        waiting: deque[Future[Loaded]] = deque()
        for sample in samples:
            waiting.append(pool.submit(_read, sample))
            if len(waiting) > _READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(sample: Sample) -> Loaded:
    return sample.name, *sample.read()
