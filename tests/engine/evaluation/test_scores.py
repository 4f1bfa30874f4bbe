import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index
from torchmetrics.functional.segmentation import dice_score

from segcli.engine.arrays.numpy_arrays import confusion
from segcli.engine.evaluation.accumulators import PixelCounts
from segcli.engine.evaluation.scores import Scores
from segcli.engine.evaluation.worst import image_miou
from segcli.task import Task


def test_by_hand() -> None:
    truth = np.array([[0, 0, 1], [1, 1, 255], [0, 2, 255]])
    prediction = np.array([[0, 1, 1], [1, 0, 2], [0, 2, 0]])
    counts = confusion(truth[None], prediction[None], 4, 255)[0]
    assert counts.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    scores = Scores(counts)
    assert scores.iou[:3] == pytest.approx([2 / 4, 2 / 4, 1.0])
    assert np.isnan(scores.iou[3])
    assert scores.dice[:3] == pytest.approx([4 / 6, 4 / 6, 1.0])
    assert scores.accuracy[:3] == pytest.approx([2 / 3, 2 / 3, 1.0])
    assert scores.miou == pytest.approx(2 / 3)
    assert scores.pixel_accuracy == pytest.approx(5 / 7)


@pytest.mark.parametrize("num_classes", [2, 5, 21])
def test_against_torchmetrics(num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    truth = rng.integers(0, num_classes, (4, 30, 40))
    prediction = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, num_classes, truth.shape))
    truth[rng.random(truth.shape) < 0.1] = 255
    scores = Scores(confusion(truth, prediction, num_classes, 255).sum(0))
    p, t = torch.from_numpy(prediction), torch.from_numpy(truth)
    options = {"num_classes": num_classes, "ignore_index": 255}
    assert scores.miou == pytest.approx(multiclass_jaccard_index(p, t, **options).item(), abs=1e-6)
    assert scores.iou == pytest.approx(multiclass_jaccard_index(p, t, average="none", **options).numpy(), abs=1e-6)
    assert scores.pixel_accuracy == pytest.approx(
        multiclass_accuracy(p, t, average="micro", **options).item(), abs=1e-6
    )
    assert scores.mean_accuracy == pytest.approx(multiclass_accuracy(p, t, average="macro", **options).item(), abs=1e-6)
    valid = t != 255
    dice = dice_score(p[valid][None], t[valid][None], num_classes, input_format="index", average="none")
    assert scores.dice == pytest.approx(dice[0].numpy(), abs=1e-6)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_counts_are_kept_of_all_and_of_each_image(library: Callable[[np.ndarray], Any]) -> None:
    rng = np.random.default_rng(0)
    accumulator = PixelCounts(Task.of("abc", ignore_index=7))
    assert accumulator.scores().confusion.tolist() == [[0] * 3] * 3
    each = []
    for height in (5, 9):
        logits = rng.normal(size=(2, 3, height, 4)).astype(np.float32)
        masks = rng.choice([0, 1, 2, 7], (2, height, 4)).astype(np.uint8)
        accumulator.add(["x", "y"], library(logits), library(masks))
        each.append(confusion(masks, logits.argmax(1), 3, 7))
    matrices = np.concatenate(each)
    assert np.array_equal(accumulator.scores().confusion, matrices.sum(0))
    hits, true, predicted = accumulator.image_counts().swapaxes(0, 1)
    assert np.array_equal(hits, matrices.diagonal(axis1=1, axis2=2))
    assert np.array_equal(true, matrices.sum(2))
    assert np.array_equal(predicted, matrices.sum(1))


def test_json_has_null_for_what_does_not_occur() -> None:
    values = Scores(np.array([[1, 0], [0, 0]])).to_json(Task.of("ab"))
    assert values["classes"]["b"] == {"iou": None, "dice": None, "accuracy": None}
    assert values["miou"] == 1.0


def test_json_of_many_classes_takes_a_few_times_as_long_as_one_figure_of_them() -> None:
    scores, task = Scores(np.ones((500, 500), np.int64)), Task.of([f"class {index}" for index in range(500)])

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    one_figure = min(seconds(lambda: scores.iou) for _ in range(5))
    assert min(seconds(lambda: scores.to_json(task)) for _ in range(3)) < 100 * one_figure


def test_the_worst_images_are_those_of_the_lowest_iou() -> None:
    counts = np.array([[[4, 0], [6, 0], [6, 0]], [[5, 2], [5, 3], [6, 2]], [[0, 0], [0, 0], [0, 0]]])
    # 4 of 8; the mean of 5 of 6 and 2 of 3; nothing to judge by
    assert image_miou(counts) == pytest.approx([0.5, 0.75, np.nan], nan_ok=True)
