"""The images of a split that a model does worst on."""

from collections.abc import Sequence

import numpy as np

from segcli.datasets.dataset import Sample
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.evaluation.scores import Counts, Ratios
from segcli.engine.prediction.predictor import Predictor
from segcli.parallel import Progress, silent


def worst_samples(
    predictor: Predictor, samples: Sequence[Sample], number: int, progress: Progress = silent
) -> list[Sample]:
    """Evaluates all samples and gives those of the lowest mean IoU, the worst first.

    Args:
        predictor: the model.
        samples: with masks.
        number: how many to give at most.
        progress: told of each image.
    """
    evaluation = evaluate(predictor, samples, progress=progress)
    iou = dict(zip(evaluation.names, image_miou(evaluation.image_counts).tolist(), strict=True))
    judged = [sample for sample in samples if not np.isnan(iou[sample.name])]
    return sorted(judged, key=lambda sample: iou[sample.name])[:number]


def image_miou(image_counts: Counts) -> Ratios:
    """The mean IoU of each image over the classes that occur in its truth or prediction; NaN where all is ignored.

    Args:
        image_counts: N×3×C pixels that are hit, true and predicted, by class.
    """
    hits, true, predicted = image_counts.swapaxes(0, 1)
    union = true + predicted - hits
    occurs = union > 0
    iou = np.divide(hits, union, out=np.zeros(union.shape), where=occurs)
    mean = np.divide(iou.sum(1), occurs.sum(1), out=np.full(len(iou), np.nan), where=occurs.any(1))
    return np.asarray(mean)
