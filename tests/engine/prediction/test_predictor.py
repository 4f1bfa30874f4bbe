from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nearest
import numpy as np
import pytest
from conftest import draw_pair

from segcli.datasets.dataset import FileSample
from segcli.datasets.encoding import MaskEncoding
from segcli.datasets.masks import MaskFile
from segcli.engine.arrays import Logits, operations
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.evaluation.tta_search import mean_iou_interval, search
from segcli.engine.prediction.predictor import predict_mask
from segcli.engine.prediction.resizing import Resizing, resize_images
from segcli.engine.prediction.tta import POLICIES, Augmented, View, find_policy, with_policy
from segcli.errors import UsageError
from segcli.io.card import Inference, ModelCard
from segcli.io.images import Pixels, write_image, write_mask
from segcli.task import Task

TASK = Task.of("abc")
CARD = ModelCard(TASK, "Unet", "resnet18", None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass
class Nearest(nearest.Nearest):
    """The predictor that knows the colours of the tiny images; it notes the sizes it saw."""

    card: ModelCard = CARD
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, images: Pixels) -> Logits:
        self.seen.append(images.shape)
        return super().__call__(images)


@dataclass
class LeftHalf:
    """A predictor with an opinion on places: class 1 on the left half, unsure of the rest."""

    card: ModelCard = CARD
    precision: str = "fp32"
    batch_size: int = 1
    concurrency: int = 1

    def __call__(self, images: Pixels) -> Logits:
        logits = np.zeros((len(images), 3, *images.shape[1:3]), np.float32)
        logits[:, 1, :, : images.shape[2] // 2] = 5
        return logits


def test_images_are_shown_at_the_models_size_and_logits_put_back() -> None:
    inner = Nearest()
    image, mask = draw_pair(0, height=60, width=80)
    prediction = predict_mask(Resizing(inner, Inference.of(30)), image)
    assert inner.seen == [(1, 30, 40, 3)]
    assert prediction.shape == (60, 80)
    assert (prediction == mask).mean() > 0.95
    predict_mask(Resizing(inner, Inference()), image)
    assert inner.seen[-1] == (1, 60, 80, 3)


def test_images_that_shrink_are_averaged() -> None:
    image = np.array([[[[0] * 3, [100] * 3, [50] * 3, [70] * 3]] * 2], np.uint8)
    assert resize_images(image, (1, 2))[0, 0, :, 0].tolist() == [50, 60]


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_puts_its_views_back(name: str) -> None:
    image, mask = draw_pair(1, height=40, width=60)
    prediction = Augmented(Nearest(), POLICIES[name])(image[None])[0].argmax(0)
    assert (prediction == mask).mean() > 0.95


def test_a_flip_averages_probabilities() -> None:
    image, _ = draw_pair(0, height=4, width=8)
    logits = Augmented(LeftHalf(), POLICIES["flip"])(image[None])
    probabilities = operations(logits).softmax(logits)
    sure = np.exp(5) / (np.exp(5) + 2)
    assert probabilities[0, 1] == pytest.approx(np.full((4, 8), (sure + 1 / 3) / 2), rel=1e-5)
    assert probabilities.sum(1) == pytest.approx(np.ones((1, 4, 8)))


def test_logits_may_be_averaged_instead() -> None:
    image, _ = draw_pair(0, height=4, width=8)
    logits = Augmented(LeftHalf(), find_policy("flip:logits"))(image[None])
    assert logits[0, 1] == pytest.approx(np.full((4, 8), 2.5))


def test_scales_are_relative_to_the_size_the_model_wants() -> None:
    inner = Nearest()
    image, _ = draw_pair(0, height=40, width=80)
    with_policy(Resizing(inner, Inference.of(20)), find_policy("scales"))(image[None])
    assert inner.seen == [(1, 15, 30, 3), (1, 20, 40, 3), (1, 25, 50, 3)]


def test_cost_counts_pixels() -> None:
    assert {name: policy.cost for name, policy in POLICIES.items()} == {
        "none": 1, "flip": 2, "scales": 0.75**2 + 1 + 1.25**2, "scales-flip": 2 * (0.75**2 + 1 + 1.25**2), "d4": 8,
    }  # fmt: skip
    with pytest.raises(UsageError, match="unknown TTA policy 'flp'; did you mean flip"):
        find_policy("flp")
    assert find_policy("1+0.75-r90-flip").views == (View(), View(0.75, 1, True))
    assert str(find_policy("1+0.75-r90-flip").views[1]) == "0.75-r90-flip"
    for wrong in ("1+1", "1+flap", "1+r90-r90", "99", "1+"):
        with pytest.raises(UsageError, match="is no view|names a view twice"):
            find_policy(wrong)


@pytest.fixture
def samples(tmp_path: Path) -> list[FileSample]:
    found = []
    for index in range(7):
        image, mask = draw_pair(index, height=40, width=56 if index < 5 else 64)
        mask[:3] = 255
        write_image(tmp_path / f"{index}.png", image)
        write_mask(tmp_path / f"m{index}.png", mask)
        found.append(
            FileSample(str(index), tmp_path / f"{index}.png", MaskFile(tmp_path / f"m{index}.png"), MaskEncoding(TASK))
        )
    return found


def test_no_figure_depends_on_the_batch_size(samples: list[FileSample]) -> None:
    inner, alone = Nearest(), Nearest()
    scores = [evaluate(predictor, samples, batch_size=size).scores for predictor, size in ((alone, 1), (inner, 4))]
    assert np.array_equal(scores[0].confusion, scores[1].confusion)
    assert scores[0].confusion.sum() == 5 * 37 * 56 + 2 * 37 * 64
    assert [shape[0] for shape in inner.seen] == [4, 1, 2]
    assert scores[0].miou > 0.9


def test_a_search_counts_what_its_policies_would_and_computes_each_view_once(
    samples: list[FileSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int, int]] = []
    views = [View(), View(mirrored=True), View(0.5), View(1.25, 1)]
    inner = Nearest()
    predictor = Resizing(inner, Inference.of(20))
    found = search(predictor, samples, [POLICIES["flip"]], views, progress=lambda *event: told.append(event))
    assert len(inner.seen) == 7 * 4
    assert found.chosen_on == 7
    assert [trial.policy.name for trial in found.trials][:1] == ["none"]
    assert ("counting", 7, 7) in told
    for trial in found.trials:
        scores = evaluate(with_policy(predictor, find_policy(trial.policy.name)), samples).scores
        assert np.array_equal(scores.confusion, trial.scores.confusion)
        assert trial.interval[0] <= trial.scores.miou <= trial.interval[1]
        assert trial.images_per_second > 0
    costs = [trial.policy.cost for trial in found.trials]
    assert costs == sorted(costs)
    assert found.best in found.front
    # with room for one image, the others' views are computed for the policies chosen on it alone
    monkeypatch.setattr("segcli.engine.arrays.numpy_arrays.free_memory_of_the_host", lambda: 0)
    fewer = search(predictor, samples, [], views, at_most=1.3)
    assert fewer.chosen_on == 1
    assert (
        sum(trial.scores.confusion.sum() for trial in fewer.trials)
        == len(fewer.trials) * found.best.scores.confusion.sum()
    )
    assert all(trial.policy.cost <= 1.3 for trial in fewer.trials)


def test_views_that_help_are_found_and_others_are_not() -> None:
    @dataclass
    class HalfBlind(Nearest):
        """Sees nothing on the right half of an image."""

        def __call__(self, images: Pixels) -> Logits:
            logits = super().__call__(images)
            logits[..., images.shape[2] // 2 :] = 0
            return logits

    @dataclass
    class Made:
        name: str

        def image(self) -> Pixels:
            return draw_pair(int(self.name))[0]

        def read(self) -> tuple[Pixels, np.ndarray]:
            return draw_pair(int(self.name))

    found = search(HalfBlind(), [Made("1"), Made("2")], [], [View(0.5), View(mirrored=True), View(0.75)])
    assert [trial.policy.name for trial in found.trials][:2] == ["none", "flip"]
    assert found.trials[1].found
    assert found.trials[1].scores.miou > found.plain.scores.miou + 0.2
    row = found.rows()[1]
    assert row["gain_per_cost"] == pytest.approx(row["gain"])


def test_the_interval_of_a_mean_iou() -> None:
    counts = np.random.default_rng(0).integers(0, 50, (40, 3, 4))
    counts[:, 1:] += counts[:, :1]
    low, high = mean_iou_interval(counts)
    drawn = []
    rng = np.random.default_rng(1)
    for _ in range(2000):
        hits, true, predicted = counts[rng.integers(0, 40, 40)].sum(0)
        drawn.append((hits / (true + predicted - hits)).mean())
    assert (low, high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.004)
    assert mean_iou_interval(np.repeat(counts[:1], 5, axis=0)) == pytest.approx((low_of(counts[0]),) * 2)


def low_of(counts: np.ndarray) -> float:
    return float((counts[0] / (counts[1] + counts[2] - counts[0])).mean())


def test_accumulators_see_every_image_once(samples: list[FileSample]) -> None:
    class Names:
        def __init__(self) -> None:
            self.names: list[str] = []

        def add(self, names: Sequence[str], logits: Logits, truth: np.ndarray) -> None:
            assert (len(names), *logits.shape[2:]) == truth.shape
            self.names += names

    names = Names()
    evaluation = evaluate(Nearest(), samples, [names], batch_size=3)
    assert names.names == [str(index) for index in range(7)] == list(evaluation.names)
