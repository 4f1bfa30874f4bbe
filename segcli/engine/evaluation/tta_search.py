"""What test-time augmentation gives on a split, and what it costs: named policies, and those that a search finds.

Every view of an image is computed once; all policies are sums of views. The search is greedy: to the image as it is, it
adds the view that raises the mIoU most, then another one, as long as one does. What it chooses by are the images whose
views fit into memory together, drawn from all over the split; what it has chosen is counted on the whole split.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segcli.datasets.dataset import Sample
from segcli.engine.arrays import Logits, operations
from segcli.engine.evaluation.scores import Counts, Scores
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import Resizing, resize_images
from segcli.engine.prediction.tta import Policy, View, mean, summand
from segcli.parallel import Progress, silent
from segcli.task import Task

VIEWS = tuple(View(scale, 0, mirrored) for scale in (1.0, 0.75, 1.25, 1.5, 0.5) for mirrored in (False, True))
"""What a search chooses from, where nothing else is said."""

_MOST_KEPT = 4 << 30  # bytes of views that are kept to choose by
_SHARE_KEPT = 0.25  # of the free memory, likewise
_RESAMPLES = 1000


@dataclass(frozen=True)
class Trial:
    """What a policy gives and costs.

    Attributes:
        policy: the views.
        found: whether the search found it.
        scores: on the split.
        interval: where 95 of 100 mean IoUs lie when images are drawn anew from the split.
        images_per_second: what computing its views one after the other, averaging them and taking labels comes to.
    """

    policy: Policy
    found: bool
    scores: Scores
    interval: tuple[float, float]
    images_per_second: float


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        trials: of all policies, by cost.
        chosen_on: how many images the search chose by.
    """

    trials: Sequence[Trial]
    chosen_on: int

    @property
    def plain(self) -> Trial:
        """The image as it is."""
        return next(trial for trial in self.trials if trial.policy.views == (View(),))

    @property
    def best(self) -> Trial:
        """The highest mIoU, by the cheapest of equals."""
        return max(self.trials, key=lambda trial: (trial.scores.miou, -trial.policy.cost))

    @property
    def front(self) -> list[Trial]:
        """The policies than which none gives as much for less, by cost."""
        front: list[Trial] = []
        for trial in self.trials:
            if not front or trial.scores.miou > front[-1].scores.miou:
                front.append(trial)
        return front

    def rows(self) -> list[dict[str, Any]]:
        """The table: a row a policy."""
        plain = self.plain.scores.miou
        front = [trial.policy for trial in self.front]
        return [
            {
                "policy": trial.policy.name,
                "views": len(trial.policy.views),
                "cost": trial.policy.cost,
                "miou": trial.scores.miou,
                "miou_low": trial.interval[0],
                "miou_high": trial.interval[1],
                "gain": trial.scores.miou - plain,
                "gain_per_cost": gain_per_cost(trial, self.plain),
                "pixel_accuracy": trial.scores.pixel_accuracy,
                "images_per_second": trial.images_per_second,
                "found": trial.found,
                "front": trial.policy in front,
            }
            for trial in self.trials
        ]


def gain_per_cost(trial: Trial, plain: Trial) -> float | None:
    """What a policy adds to the mIoU for each time that it computes more than the image as it is; None without more."""
    more = trial.policy.cost - plain.policy.cost
    return (trial.scores.miou - plain.scores.miou) / more if more > 0 else None


@dataclass(frozen=True)
class _Seen:
    """An image's views.

    Attributes:
        summands: what each adds, at the network's size.
        truth: the mask (1×H×W), beside them.
    """

    summands: Mapping[View, Logits]
    truth: Any


class _Looking:
    """Computes views of images, and measures how long each takes.

    Args:
        predictor: the model; its resizing is left to the policies' sums, as where a policy predicts.
        of_logits: whether logits are added up.
    """

    def __init__(self, predictor: Predictor, of_logits: bool) -> None:
        self.predictor, self.of_logits = predictor, of_logits
        self._times: dict[View, list[float]] = {}

    @property
    def seconds(self) -> dict[View, float]:
        """The middle one of the times that each view took."""
        return {view: float(np.median(times)) for view, times in self._times.items()}

    def at(self, sample: Sample, views: Sequence[View]) -> _Seen:
        """Reads an image and computes its views."""
        image, mask = sample.read()
        inner, images = self.predictor, image[None]
        if isinstance(inner, Resizing):
            size = inner.inference.network_size(*mask.shape)
            inner, images = inner.inner, images if size == mask.shape else resize_images(images, size)
        summands = {}
        for view in views:
            started = time.perf_counter()
            added = summands[view] = summand(inner, images, view, self.of_logits)
            operations(added).to_numpy(added[0, 0, 0, :1])  # waits for it
            self._times.setdefault(view, []).append(time.perf_counter() - started)
        one = summands[views[0]]
        return _Seen(summands, operations(one).beside(mask[None], one))


class _Count:
    """Adds up what a policy gives.

    Args:
        task: its classes.
        of_logits: whether logits are averaged.
    """

    def __init__(self, task: Task, of_logits: bool) -> None:
        self.task, self.of_logits = task, of_logits
        self._confusion: Any = 0
        self._images: list[Counts] = []
        self._times: list[float] = []

    def take(self, seen: _Seen, views: Sequence[View]) -> None:
        """Takes an image, and measures how long its sum and its labels take."""
        started = time.perf_counter()
        total = seen.summands[views[0]]
        for view in views[1:]:
            total = total + seen.summands[view]
        self.add(total, len(views), seen.truth)
        self._times.append(time.perf_counter() - started)

    def add(self, total: Logits, number: int, truth: Any) -> None:
        """Takes the sum of what a number of views of an image add."""
        ops = operations(total)
        logits = mean(total, number, self.of_logits)
        if logits.shape[2:] != truth.shape[1:]:
            logits = ops.resize(logits, (truth.shape[1], truth.shape[2]))
        counts = ops.confusion(truth, ops.labels(logits), self.task.num_classes, self.task.ignore_index)
        self._confusion = self._confusion + counts.sum(0)
        self._images.append(ops.to_numpy(ops.image_counts(counts)))

    def scores(self) -> Scores:
        """The figures so far."""
        return Scores(operations(self._confusion).to_numpy(self._confusion))

    def trial(self, policy: Policy, found: bool, seconds: float) -> Trial:
        """What is known of a policy whose views take an image some seconds."""
        interval = mean_iou_interval(np.concatenate(self._images))
        speed = 1 / (seconds + float(np.median(self._times)))
        return Trial(policy, found, self.scores(), interval, speed)


def search(
    predictor: Predictor,
    samples: Sequence[Sample],
    policies: Sequence[Policy],
    views: Sequence[View] = VIEWS,
    at_most: float = 8.0,
    of_logits: bool = False,
    progress: Progress = silent,
) -> Found:
    """Compares policies on samples, and finds more of them.

    Args:
        predictor: the model, without augmentation.
        samples: with masks.
        policies: to compare in any case.
        views: what the search may take; none searches nothing.
        at_most: the highest cost that the search goes to.
        of_logits: average logits instead of probabilities, in the policies to compare too.
        progress: told of the images.

    Raises:
        DataError: if an image or a mask cannot be read.
    """
    looking = _Looking(predictor, of_logits)
    order = [samples[index] for index in np.random.default_rng(0).permutation(len(samples))]
    wanted = list(dict.fromkeys([View(), *views, *(view for policy in policies for view in policy.views)]))
    kept: list[_Seen] = []
    while len(kept) < len(order) and (not kept or _has_room(kept)):
        kept.append(looking.at(order[len(kept)], wanted))
        progress("views", len(kept), len(order))
    paths = _greedy(kept, views, at_most, predictor.card.task, of_logits) if views else []
    counts = {
        policy: _Count(predictor.card.task, of_logits)
        for policy in dict.fromkeys(
            Policy.of(path, of_logits) for path in ([View()], *(p.views for p in policies), *paths)
        )
    }
    used = [view for view in wanted if any(view in policy.views for policy in counts)]
    for done, sample in enumerate(order):
        seen = kept[done] if done < len(kept) else looking.at(sample, used)
        for policy, count in counts.items():
            count.take(seen, policy.views)
        progress("counting", done + 1, len(order))
    found = {frozenset(path) for path in paths}
    trials = [
        count.trial(policy, frozenset(policy.views) in found, sum(looking.seconds[view] for view in policy.views))
        for policy, count in counts.items()
    ]
    return Found(sorted(trials, key=lambda trial: trial.policy.cost), len(kept))


def _has_room(kept: Sequence[_Seen]) -> bool:
    """Whether one more image like those that are kept may be kept."""
    taken = sum(summand.nbytes for seen in kept for summand in seen.summands.values())
    summand = next(iter(kept[0].summands.values()))
    room = min(_MOST_KEPT, _SHARE_KEPT * (operations(summand).free_memory(summand) + taken))
    return bool(taken * (len(kept) + 1) / len(kept) <= room)


def _greedy(
    kept: Sequence[_Seen], views: Sequence[View], at_most: float, task: Task, of_logits: bool
) -> list[list[View]]:
    """The policies on the way to the best, each by a view longer than the one before."""
    path = [View()]
    totals = [seen.summands[View()] for seen in kept]
    best = _miou(kept, totals, 1, task, of_logits)
    paths = [path]
    while True:
        spent = sum(view.scale**2 for view in path)
        tried = [view for view in views if view not in path and spent + view.scale**2 <= at_most]
        scored = []
        for view in tried:
            sums = [total + seen.summands[view] for total, seen in zip(totals, kept, strict=True)]
            scored.append((_miou(kept, sums, len(path) + 1, task, of_logits), view))
        if not scored or max(scored)[0] <= best:
            return paths
        best, view = max(scored, key=lambda entry: entry[0])
        totals = [total + seen.summands[view] for total, seen in zip(totals, kept, strict=True)]
        path = [*path, view]
        paths.append(path)


def _miou(kept: Sequence[_Seen], totals: Sequence[Logits], number: int, task: Task, of_logits: bool) -> float:
    count = _Count(task, of_logits)
    for seen, total in zip(kept, totals, strict=True):
        count.add(total, number, seen.truth)
    return count.scores().miou


def mean_iou_interval(image_counts: Counts, resamples: int = _RESAMPLES) -> tuple[float, float]:
    """Where 95 of 100 mean IoUs lie when as many images are drawn with replacement: the percentile bootstrap.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979.

    Args:
        image_counts: N×3×C pixels of each image that are hit, true and predicted, by class.
        resamples: how often images are drawn; the same ones for equal N.
    """
    number = len(image_counts)
    drawn = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), resamples)
    hits, true, predicted = np.tensordot(drawn, image_counts, 1).swapaxes(0, 1)
    union = true + predicted - hits
    occurs = union > 0
    iou = np.divide(hits, union, out=np.zeros(union.shape), where=occurs)
    low, high = np.percentile(iou.sum(1) / np.maximum(occurs.sum(1), 1), [2.5, 97.5])
    return float(low), float(high)
