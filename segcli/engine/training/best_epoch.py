"""Which figure of an epoch tells whether it is better than another, and when a training no longer gets better."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from segcli.config import EarlyStopping, RunConfig
from segcli.engine.evaluation.scores import Scores
from segcli.errors import ConfigError, did_you_mean
from segcli.task import Task


def val_figures(scores: Scores, loss: float, task: Task) -> dict[str, float]:
    """The figures of a validation that can be watched, under the names of their columns in results.csv."""
    values = (scores.miou, scores.mean_dice, scores.pixel_accuracy, loss, *(float(iou) for iou in scores.iou))
    return dict(zip(figure_names(task), values, strict=True))


def figure_names(task: Task) -> list[str]:
    """The columns of results.csv that a validation gives."""
    return ["val_miou", "val_dice", "val_accuracy", "val_loss", *(f"val_iou/{name}" for name in task.classes)]


def check_metrics(config: RunConfig, task: Task) -> None:
    """Raises ConfigError where the config watches a figure that there is none of."""
    known = figure_names(task)
    watched = {"checkpoint.best": config.checkpoint.best}
    if config.early_stopping is not None and config.early_stopping.metric is not None:
        watched["early_stopping.metric"] = config.early_stopping.metric
    for key, metric in watched.items():
        if metric not in known:
            raise ConfigError(f"{key}: there is no figure {metric!r}; {did_you_mean(metric, known)}")


def gain(metric: str, new: float, old: float) -> float:
    """By how much a figure is better than another; losses are better when lower, and no number is worse than any."""
    if new == old or (math.isnan(new) and math.isnan(old)):  # infinite ones have no difference
        return 0.0
    if math.isnan(new) or math.isnan(old):
        return -math.inf if math.isnan(new) else math.inf
    return old - new if metric.endswith("_loss") else new - old


def validations_without_gain(figures: Sequence[float], metric: str, min_delta: float) -> tuple[int, float]:
    """How many of the last validations gained nothing on the figure before them, and that figure; of one at least."""
    reference, since = figures[0], 0
    for figure in figures[1:]:
        if gain(metric, figure, reference) > min_delta:
            reference, since = figure, 0
        else:
            since += 1
    return since, reference


def out_of_patience(rows: Sequence[Mapping[str, Any]], rule: EarlyStopping | None, best: str) -> str | None:
    """What to say where a training is to stop early; None where it goes on.

    Args:
        rows: those of results.csv.
        rule: when to stop; None never does.
        best: the figure that the best epoch is told by, which the rule means unless it names another.
    """
    metric = (rule and rule.metric) or best
    figures = [row[metric] for row in rows if row[metric] is not None]  # None where an epoch was not validated
    if rule is None or not figures:
        return None
    since, reference = validations_without_gain(figures, metric, rule.min_delta)
    if since < rule.patience:
        return None
    return f"stopped early: no better {metric} than {reference:.4f} for {since} validations"
