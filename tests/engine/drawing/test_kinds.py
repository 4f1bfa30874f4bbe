import numpy as np
import pytest
from conftest import draw_pair

from segcli.cli.visualize import PICTURES
from segcli.engine.drawing.kinds import KINDS
from segcli.engine.drawing.kinds.base import CONFIDENCE, TRUTH, Kind, Seen
from segcli.engine.drawing.kinds.errors import FALSE_ALARM, MISSED, error_keys, error_map
from segcli.engine.drawing.legend import Key
from segcli.engine.drawing.sheet import size_on_sheet
from segcli.engine.drawing.sizes import drawn_size
from segcli.task import IGNORED_COLOUR, Task

TASK = Task.of(["background", "a", "b"], [(0, 0, 0), (255, 0, 0), (0, 0, 255)])
BY_NAME = {kind.name: kind for kind in KINDS}


def seen(height: int = 300, width: int = 400) -> Seen:
    """A grey image with a square of class 1 in the truth, found ten pixels too far to the right."""
    truth, prediction = np.zeros((2, height, width), np.uint8)
    truth[100:200, 100:200] = prediction[100:200, 110:210] = 1
    confidence = np.full((height, width), 51, np.uint8)
    return Seen(np.full((height, width, 3), 100, np.uint8), prediction, TASK, truth, confidence)


def test_the_options_are_the_kinds_and_what_training_sees() -> None:
    assert (*BY_NAME, "augmented") == PICTURES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_draws_at_any_size_with_a_legend_and_without_what_it_does_not_need(kind: Kind) -> None:
    whole = seen()
    bare = Seen(
        whole.image, whole.prediction, TASK, whole.truth if TRUTH in kind.needs else None,
        whole.confidence if CONFIDENCE in kind.needs else None,
    )  # fmt: skip
    for each in (whole, bare):
        for size in ((300, 400), size_on_sheet((300, 400), kind.columns)):
            picture, entries = kind.draw(each, size)
            assert entries
            assert picture.dtype == np.uint8
            assert picture.shape[1] <= kind.columns * size[1] + 3 * 6
        assert kind.picture(each).shape[0] > kind.draw(each, drawn_size((300, 400)))[0].shape[0]


def test_contours_show_the_prediction_in_colour_and_the_truth_where_it_differs() -> None:
    picture = BY_NAME["contours"].draw(seen(), (300, 400)).picture.astype(int)
    assert abs(picture[150, 110] - (255, 0, 0)).max() < 30  # antialiased
    assert picture[150, 100].min() > 200  # the truth's left edge lies ten pixels off
    assert abs(picture[100, 150] - (255, 0, 0)).max() < 30  # both edges are there
    assert (picture[98, 130:180] == 100).all()
    ignored = seen()
    truth = np.where(np.arange(400) < 105, 255, ignored.prediction).astype(np.uint8)
    alike = Seen(ignored.image, ignored.prediction, TASK, truth)
    alone = Seen(ignored.image, ignored.prediction, TASK)
    assert np.array_equal(*(BY_NAME["contours"].draw(each, (300, 400)).picture for each in (alike, alone)))


def test_confidence_has_one_colour_a_value_and_a_scale() -> None:
    drawing = BY_NAME["confidence"].draw(seen(), (300, 400))
    colours = drawing.entries[0].colour if isinstance(drawing.entries[0], Key) else drawing.entries[0].colours
    assert (drawing.picture[-300:] == colours[51]).all()
    lightness = np.array(colours) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > -1).all()
    assert lightness[-1] - lightness[0] > 150


def test_errors_mark_wrong_pixels_only() -> None:
    image, truth = draw_pair(0)
    prediction = truth.copy()
    prediction[0, 0] = 2 if truth[0, 0] != 2 else 1
    truth[1, 1] = 255
    picture = error_map(image, truth, prediction, TASK).astype(int)
    red = (picture[..., 0] - picture[..., 1]) > 100
    assert red.sum() == 1
    assert red[0, 0]
    assert picture[1, 1].tolist() == list(IGNORED_COLOUR)


def test_two_classes_tell_misses_from_false_alarms() -> None:
    task = Task.of(["road", "hole"])
    image = np.full((1, 5, 3), 200, np.uint8)
    truth, prediction = np.array([[0, 1, 1, 0, 255]], np.uint8), np.array([[0, 1, 0, 1, 0]], np.uint8)
    picture = error_map(image, truth, prediction, task)
    assert picture[0, 0].tolist() == picture[0, 1].tolist() == [216, 216, 216]
    assert [tuple(pixel) for pixel in picture[0, 2:]] == [MISSED, FALSE_ALARM, IGNORED_COLOUR]
    names = [name for name, _ in error_keys(truth, task)]
    assert names == ["missed hole", "false alarm of hole", "ignored"]


def test_a_panel_has_four_columns_with_truth_and_two_without() -> None:
    image, mask = draw_pair(0)
    width = 5 * image.shape[1]
    panel = BY_NAME["panel"]
    assert panel.picture(Seen(image, mask, TASK, mask)).shape[1] == 4 * width + 3 * 6
    assert panel.picture(Seen(image, mask, TASK)).shape[1] == 2 * width + 6
