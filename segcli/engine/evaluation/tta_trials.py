"""What test-time augmentation gives on a split, and what it costs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from segcli.datasets.dataset import Sample
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.evaluation.scores import Scores
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.tta import Policy, with_policy
from segcli.parallel import Progress, silent


@dataclass(frozen=True)
class Trial:
    """What a policy gives and costs.

    Attributes:
        policy: the views.
        scores: on the split.
        seconds_per_image: wall time, reading and counting included.
    """

    policy: Policy
    scores: Scores
    seconds_per_image: float


def compare(
    predictor: Predictor, samples: Sequence[Sample], policies: Sequence[Policy], progress: Progress = silent
) -> list[Trial]:
    """Evaluates each policy on the samples.

    Args:
        predictor: the model, without augmentation.
        samples: with masks.
        policies: what to compare.
        progress: told of each image of each policy.
    """
    trials = []
    for policy in policies:
        started = time.perf_counter()
        scores = evaluate(
            with_policy(predictor, policy),
            samples,
            progress=lambda _, done, total, name=policy.name: progress(f"policy {name}", done, total),  # type: ignore[misc]
        ).scores
        trials.append(Trial(policy, scores, (time.perf_counter() - started) / len(samples)))
    return trials
