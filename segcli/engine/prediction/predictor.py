"""The predictor border: images in, logits out, in the arrays of whatever computes them."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from segcli.engine.arrays import Logits, operations
from segcli.io.card import ModelCard
from segcli.io.images import Mask, Pixels

Batch = TypeVar("Batch")


class Predictor(Protocol):
    """Maps images (N×H×W×3 uint8 RGB, numpy's) to logits (N×C×H×W float32) that stay where they were computed."""

    @property
    def card(self) -> ModelCard:
        """What the model carries."""

    @property
    def precision(self) -> str:
        """The number format that it computes in: fp32, bf16 or fp16."""

    @property
    def batch_size(self) -> int:
        """How many images it computes well at a time."""

    @property
    def concurrency(self) -> int:
        """How many calls it computes well side by side, each from a thread of its own."""

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, at the size of the images."""


@dataclass(frozen=True)
class Wrapper:
    """What every predictor says of itself that works by another one.

    Attributes:
        inner: the other one, which takes images of any size.
    """

    inner: Predictor

    @property
    def card(self) -> ModelCard:
        """The card of the predictor inside."""
        return self.inner.card

    @property
    def precision(self) -> str:
        """The number format of the predictor inside."""
        return self.inner.precision

    @property
    def batch_size(self) -> int:
        """How many images the predictor inside computes well at a time."""
        return self.inner.batch_size

    @property
    def concurrency(self) -> int:
        """How many calls the predictor inside computes well side by side."""
        return self.inner.concurrency


def predict_mask(predictor: Predictor, image: Pixels) -> Mask:
    """The class index of every pixel (H×W uint8, uint16 beyond 256 classes) of an image (H×W×3)."""
    logits = predictor(image[None])
    ops = operations(logits)
    return ops.to_numpy(ops.labels(logits)[0])


def each_batch(predictor: Predictor, batches: Iterable[tuple[Batch, Pixels]]) -> Iterator[tuple[Batch, Logits]]:
    """The logits of many batches, in order, as many computed side by side as suits the predictor.

    An image's logits do not depend on what is computed beside it.

    Args:
        predictor: the model.
        batches: each with its images (N×H×W×3); taken a little ahead of what is given back.
    """
    if predictor.concurrency == 1:
        for batch, images in batches:
            yield batch, predictor(images)
        return
    waiting: deque[tuple[Batch, Future[Logits]]] = deque()
    with side_by_side(predictor.concurrency) as pool:
        for batch, images in batches:
            waiting.append((batch, pool.submit(predictor, images)))
            if len(waiting) > predictor.concurrency:
                done, logits = waiting.popleft()
                yield done, logits.result()
        for done, logits in waiting:
            yield done, logits.result()


@contextmanager
def side_by_side(number: int) -> Iterator[ThreadPoolExecutor]:
    """Gives a number of threads to compute in, as long as the block runs.

    Where torch is imported they share its own threads among them; where it is not, it stays so.
    """
    if "torch" in sys.modules:
        from segcli.engine.device import threads_side_by_side

        with threads_side_by_side(number) as pool:
            yield pool
        return
    pool = ThreadPoolExecutor(number, "computing")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
