from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from segcli.cli.render_training import TrainingView, bar, clock, sparkline
from segcli.engine.training.events import EpochEnded, Progressed, Said, Started, Stepped
from segcli.task import Task

ROW = {
    "epoch": 1, "step": 57, "train_loss": 0.71, "val_loss": 0.65, "train_miou": 0.41, "val_miou": 0.45,
    "val_accuracy": 0.8, "lr": 1e-3, "images_per_second": 12.34, "data_wait": 0.02, "val_dice": 0.5,
    "val_iou/pole": 0.1, "val_iou/sky": 0.9,
}  # fmt: skip
LONG = "camvid: 367 train, 101 val, 233 test, 11 classes, read from a folder whose name is rather long as well"


def view(width: int, quiet: bool = False, terminal: bool = False) -> TrainingView:
    return TrainingView(Console(file=StringIO(), width=width, force_terminal=terminal), quiet=quiet)


def written(shown: TrainingView) -> list[str]:
    assert isinstance(shown.console.file, StringIO)
    return shown.console.file.getvalue().splitlines()


def play(shown: TrainingView, epochs: int = 120) -> None:
    """The first epoch and a half of a training of 57 steps an epoch."""
    shown(Started(Path("runs/camvid"), Task.of("ab"), {"data": LONG}, 1, epochs, 57 * epochs))
    for step in range(1, 58):
        shown(Stepped(1, step, 57, step, 1 / step, 1e-3, 12.34))
    shown(EpochEnded(ROW, True, None))
    shown(Said("the loss of one step in this epoch was no finite number; the step was left out, as are all such"))
    for step in range(1, 30):
        shown(Stepped(2, step, 57, 57 + step, 0.02, 1e-3, 12.34))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    shown = view(width)
    play(shown)
    lines = written(shown)
    assert max(map(len, [*lines, *shown.lines(width)])) <= width
    (epoch,) = [line for line in lines if line.endswith("best")]
    assert "1/120" in epoch
    assert "0.4500" in epoch


def test_wider_terminals_get_more_figures() -> None:
    shown = {width: view(width) for width in (80, 120, 200)}
    for one in shown.values():
        play(one)
    titles = {width: next(line for line in written(one) if "val mIoU" in line) for width, one in shown.items()}
    assert "images/s" in titles[80]
    assert "data wait" not in titles[80]
    assert "data wait" in titles[120]
    assert "lowest IoU" not in titles[120]
    assert "pole 0.10" in next(line for line in written(shown[200]) if line.endswith("best"))


def test_facts_and_remarks_wrap_between_words() -> None:
    shown = view(80)
    play(shown)
    text = " ".join(" ".join(line.split()) for line in written(shown))
    assert LONG in text
    assert "the step was left out, as are all such" in text


def test_the_live_view_has_step_time_left_speed_and_curves() -> None:
    shown = view(80)
    play(shown)
    first, second, third = shown.lines(80)
    assert first.startswith("step 86/6840 ━")
    assert first.endswith(" left")
    assert "epoch 2/120  29/57  12.3 images/s  loss 0.0200  lr 1.0e-03" in second
    assert third.startswith("loss █")
    shown(Progressed("validating", 20, 101))
    assert shown.lines(80)[-1].startswith("validating ━")
    assert shown.lines(80)[-1].endswith("20/101")
    shown(Progressed("validating", 101, 101))
    assert len(shown.lines(80)) == 3


def test_something_is_shown_before_the_first_step() -> None:
    shown = view(80)
    assert shown.lines(80) == ["getting ready  0:00"]
    shown(Progressed("reading masks", 3, 9))
    assert shown.lines(80)[0].startswith("reading masks ━")


def test_a_quiet_view_shows_remarks_only() -> None:
    shown = view(200, quiet=True)
    play(shown)
    assert written(shown) == [
        "note: the loss of one step in this epoch was no finite number; the step was left out, as are all such"
    ]


def test_the_live_view_is_drawn_by_rich() -> None:
    shown = view(80, terminal=True)
    with Live(get_renderable=lambda: shown, console=shown.console, auto_refresh=False) as live:
        play(shown)
        live.refresh()
    assert any("step 86/6840" in line for line in written(shown))


def test_curves_bars_and_clocks() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([1.0, float("nan"), 1.0], 9) == "▁▁"
    assert sparkline([], 9) == ""
    assert bar(0.5, 4) == "━━╌╌"
    assert [clock(seconds) for seconds in (7, 727, 3727)] == ["0:07", "12:07", "1:02:07"]
