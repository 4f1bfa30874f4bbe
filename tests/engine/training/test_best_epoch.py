import math
from collections.abc import Callable

import pytest

from segcli.config import EarlyStopping, RunConfig
from segcli.engine.training.best_epoch import check_metrics, epochs_without_gain, gain, out_of_patience
from segcli.errors import ConfigError
from segcli.task import Task

NAN = math.nan


def test_a_loss_is_better_when_lower_and_no_number_is_never_better() -> None:
    assert gain("val_miou", 0.5, 0.4) == pytest.approx(0.1)
    assert gain("val_loss", 0.5, 0.4) == pytest.approx(-0.1)
    assert gain("val_iou/car", NAN, 0.4) == -math.inf
    assert gain("val_iou/car", 0.4, NAN) == math.inf


@pytest.mark.parametrize(
    ("values", "min_delta", "since", "reference"),
    [
        ([0.1, 0.2, 0.3], 0.0, 0, 0.3),
        ([0.3, 0.2, 0.1], 0.0, 2, 0.3),
        ([0.1, 0.15, 0.19, 0.25], 0.1, 0, 0.25),  # small gains add up to one that counts
        ([0.1, 0.15, 0.19], 0.1, 2, 0.1),
        ([NAN, 0.2, 0.1], 0.0, 1, 0.2),
        ([0.2, NAN, NAN], 0.0, 2, 0.2),
    ],
)
def test_patience_by_hand(values: list[float], min_delta: float, since: int, reference: float) -> None:
    rows = [{"val_miou": value} for value in values]
    assert epochs_without_gain(rows, "val_miou", min_delta) == (since, reference)


def test_early_stopping_watches_the_figure_of_the_best_epoch_unless_told_otherwise() -> None:
    rows = [{"val_miou": 0.1 * epoch, "val_loss": 1.0 + epoch} for epoch in range(3)]
    assert out_of_patience(rows, None, "val_miou") is None
    assert out_of_patience(rows, EarlyStopping(patience=2), "val_miou") is None
    assert out_of_patience(rows, EarlyStopping(patience=2), "val_loss") == (
        "stopped early: no better val_loss than 1.0000 for 2 epochs"
    )
    assert out_of_patience(rows, EarlyStopping(patience=2, metric="val_loss"), "val_miou") is not None


def test_a_figure_that_is_not_there_is_answered_with_a_near_one(tiny: Callable[..., RunConfig]) -> None:
    task = Task.of(["road", "car"])
    check_metrics(tiny(checkpoint={"best": "val_iou/car"}, early_stopping={"metric": "val_dice"}), task)
    with pytest.raises(ConfigError, match=r"checkpoint.best: there is no figure 'miou'; did you mean val_miou\?"):
        check_metrics(tiny(checkpoint={"best": "miou"}), task)
    with pytest.raises(ConfigError, match=r"early_stopping.metric: .*'val_iou/cat'; did you mean val_iou/car\?"):
        check_metrics(tiny(early_stopping={"metric": "val_iou/cat"}), task)
