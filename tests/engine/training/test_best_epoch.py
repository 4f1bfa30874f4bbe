import math
from collections.abc import Callable

import numpy as np
import pytest

from segcli.config import EarlyStopping, RunConfig
from segcli.engine.evaluation.scores import Scores
from segcli.engine.training.best_epoch import (
    check_metrics,
    gain,
    out_of_patience,
    val_figures,
    validations_without_gain,
)
from segcli.errors import ConfigError
from segcli.task import Task

NAN, INF = math.nan, math.inf


# of two figures that are the larger the better: how much the new one (row) gains on the old one (column)
GAINS = {
    "": (0.4, 0.5, INF, -INF, NAN),
    0.4: (0.0, -0.1, -INF, INF, INF),
    0.5: (0.1, 0.0, -INF, INF, INF),
    INF: (INF, INF, 0.0, INF, INF),
    -INF: (-INF, -INF, -INF, 0.0, INF),
    NAN: (-INF, -INF, -INF, -INF, 0.0),
}


@pytest.mark.parametrize(
    ("new", "old", "gained"),
    [(new, old, gained) for new in list(GAINS)[1:] for old, gained in zip(GAINS[""], GAINS[new], strict=True)],
)
def test_any_two_figures_can_be_compared(new: float, old: float, gained: float) -> None:
    """No number is worse than any; a loss is better when lower."""
    assert gain("val_iou/car", new, old) == pytest.approx(gained)
    assert gain("val_loss", -new, -old) == pytest.approx(gained)


@pytest.mark.parametrize(
    ("values", "min_delta", "since", "reference"),
    [
        ([0.1, 0.2, 0.3], 0.0, 0, 0.3),
        ([0.3, 0.2, 0.1], 0.0, 2, 0.3),
        ([0.1, 0.15, 0.19, 0.25], 0.1, 0, 0.25),  # small gains add up to one that counts
        ([0.1, 0.15, 0.19], 0.1, 2, 0.1),
        ([NAN, 0.2, 0.1], 0.0, 1, 0.2),
        ([0.2, NAN, NAN], 0.0, 2, 0.2),
        ([NAN, NAN, NAN], 0.0, 2, NAN),  # a class that never occurs
        ([-INF, -INF, 0.1], 0.0, 0, 0.1),
        ([-INF, -INF, NAN], 0.0, 2, -INF),
    ],
)
def test_patience_by_hand(values: list[float], min_delta: float, since: int, reference: float) -> None:
    assert validations_without_gain(values, "val_miou", min_delta) == pytest.approx((since, reference), nan_ok=True)


def test_early_stopping_watches_the_figure_of_the_best_epoch_unless_told_otherwise() -> None:
    rows = [{"val_miou": 0.1 * epoch, "val_loss": 1.0 + epoch} for epoch in range(3)]
    assert out_of_patience(rows, None, "val_miou") is None
    assert out_of_patience(rows, EarlyStopping(patience=2), "val_miou") is None
    assert out_of_patience(rows, EarlyStopping(patience=2), "val_loss") == (
        "stopped early: no better val_loss than 1.0000 for 2 validations"
    )
    assert out_of_patience(rows, EarlyStopping(patience=2, metric="val_loss"), "val_miou") == (
        "stopped early: no better val_loss than 1.0000 for 2 validations"
    )


def test_patience_counts_validations() -> None:
    rows = [{"val_miou": value} for value in (0.5, None, None, 0.4, None, 0.3, None)]
    assert out_of_patience(rows, EarlyStopping(patience=3), "val_miou") is None
    assert out_of_patience(rows, EarlyStopping(patience=2), "val_miou") is not None


def test_every_figure_of_a_validation_can_be_watched(tiny: Callable[..., RunConfig]) -> None:
    task = Task.of(["road", "car"])
    figures = val_figures(Scores(np.array([[3, 1], [0, 4]])), 0.25, task)
    assert figures == pytest.approx(
        {
            "val_loss": 0.25,
            "val_miou": (3 / 4 + 4 / 5) / 2,
            "val_accuracy": 7 / 8,
            "val_dice": (6 / 7 + 8 / 9) / 2,
            "val_iou/road": 3 / 4,
            "val_iou/car": 4 / 5,
        }
    )
    for name in figures:
        check_metrics(tiny(checkpoint={"best": name}), task)


def test_a_figure_that_is_not_there_is_answered_with_a_near_one(tiny: Callable[..., RunConfig]) -> None:
    task = Task.of(["road", "car"])
    check_metrics(tiny(checkpoint={"best": "val_iou/car"}, early_stopping={"metric": "val_dice"}), task)
    with pytest.raises(ConfigError, match=r"checkpoint.best: there is no figure 'miou'; did you mean val_miou\?"):
        check_metrics(tiny(checkpoint={"best": "miou"}), task)
    with pytest.raises(ConfigError, match=r"early_stopping.metric: .*'val_iou/cat'; did you mean val_iou/car\?"):
        check_metrics(tiny(early_stopping={"metric": "val_iou/cat"}), task)
