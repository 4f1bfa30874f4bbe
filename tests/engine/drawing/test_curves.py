from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from segcli.engine.drawing.confusion import draw_confusion
from segcli.engine.drawing.curves import draw_curves
from segcli.engine.evaluation.scores import Scores
from segcli.task import Task


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes of the last figure that was written."""
    from matplotlib.figure import Figure

    seen: list[Axes] = []
    write = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (seen.extend(self.axes), write(self, *a, **k)))
    return seen


def rows(*names: str, miou: tuple[float, ...] = (0.2, 0.6, 0.5)) -> list[dict[str, Any]]:
    return [
        {
            "epoch": place + 1, "step": 5 * place + 5, "train_loss": 1.0 / (place + 1), "val_loss": (0.9, 0.8, 0.7)[place],
            "train_miou": value, "val_miou": value, "lr": 1e-3,
            **{f"val_iou/{name}": value / (number + 1) for number, name in enumerate(names)},
        }
        for place, value in enumerate(miou)
    ]  # fmt: skip


def titles(axes: list[Axes]) -> list[str]:
    return [one.get_title() for one in axes]


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("best", "title"), [("val_miou", "mean IoU (best: val_miou 0.600 at epoch 2)"), ("val_loss", "loss (best: val_loss 0.700 at epoch 3)")]
)  # fmt: skip
def test_the_best_epoch_is_marked_by_the_metric(drawn: list[Axes], tmp_path: Path, best: str, title: str) -> None:
    draw_curves(rows(), tmp_path / "results.png", best)
    assert len(drawn) == 3
    assert title in titles(drawn)
    with Image.open(tmp_path / "results.png") as image:
        assert image.size == (1430, 418)


def test_classes_have_curves_from_the_highest_down(drawn: list[Axes], tmp_path: Path) -> None:
    table = rows("road", "a class, with a long name and $", "sky")
    table[1]["val_iou/sky"] = float("nan")
    draw_curves(table, tmp_path / "results.png")
    assert titles(drawn)[3] == "IoU of each class (beside the names: at epoch 2)"
    assert legend(drawn[3]) == ["0.60  road", "0.30  a class, with a long na…", "   –  sky"]
    # With more than 25 classes nobody could tell the curves apart.
    drawn.clear()
    draw_curves(rows(*(f"c{index}" for index in range(26))), tmp_path / "results.png")
    assert len(drawn) == 3


def test_curves_go_on_over_epochs_that_were_not_validated(drawn: list[Axes], tmp_path: Path) -> None:
    table = rows()
    table[1]["val_loss"] = None
    draw_curves(table, tmp_path / "results.png", "val_loss")
    assert [line.get_xdata().tolist() for line in drawn[0].get_lines()[:2]] == [[1, 2, 3], [1, 3]]


def test_curves_do_with_the_columns_that_there_are(drawn: list[Axes], tmp_path: Path) -> None:
    nothing = [{"epoch": 1, "step": 1, "val_miou": float("nan"), "lr": 0.1}]
    draw_curves(nothing, tmp_path / "results.png")
    assert titles(drawn) == ["mean IoU", "learning rate"]


# 10 pixels of wall: 8 are found, 2 taken for sky; 4 of sky: 3 found; no field, but one pixel taken for it.
COUNTS = np.array([[8, 2, 0], [0, 3, 1], [0, 0, 0]])


def texts(axes: Axes) -> dict[tuple[float, float], str]:
    return {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}


def test_confusion_is_in_percent_of_the_true_class(drawn: list[Axes], tmp_path: Path) -> None:
    draw_confusion(
        COUNTS, Scores(COUNTS).iou.tolist(), Task.of(["wall", "天空 $x^", "field"]), tmp_path / "confusion.png"
    )
    axes = drawn[0]
    assert texts(axes) == {(0, 0): "80", (0, 1): "20", (1, 1): "75", (1, 2): "25"}
    # IoU by hand: 8/10, 3/6 and 0/1; the mean is 0.433.
    assert [label.get_text() for label in axes.get_yticklabels()] == ["wall  0.80", r"天空 \$x^  0.50", "field  0.00"]
    assert axes.get_title().endswith("mean IoU 0.433")
    assert axes.images[0].get_array().filled(-1)[2].tolist() == [-1, -1, -1]


def test_many_classes_have_colours_and_names_only(drawn: list[Axes], tmp_path: Path) -> None:
    def drawing(number: int) -> Axes:
        drawn.clear()
        task = Task.of([f"c{index}" for index in range(number)], [(0, 0, 0)] * number)
        draw_confusion(np.eye(number, dtype=np.int64), [1.0] * number, task, tmp_path / "confusion.png")
        return drawn[0]

    assert len(drawing(25).texts) == 25
    many = drawing(26)
    assert len(many.texts) == 0
    assert len(many.get_yticklabels()) == 26
    huge = drawing(251)
    assert not any(label.get_text().startswith("c") for label in huge.get_yticklabels())


@pytest.mark.parametrize("draw", [
    lambda path: draw_curves(rows(), path),
    lambda path: draw_confusion(COUNTS, Scores(COUNTS).iou.tolist(), Task.of(["a", "b", "c"]), path),
])  # fmt: skip
def test_a_picture_is_whole_or_the_old_one(
    draw: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def half(self: Any, path: Path, **options: Any) -> None:
        path.write_bytes(b"half")
        raise RuntimeError

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(RuntimeError):
        draw(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
