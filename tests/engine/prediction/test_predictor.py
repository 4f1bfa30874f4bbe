from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_pair

from segcli.datasets.dataset import FileSample
from segcli.datasets.encoding import MaskEncoding
from segcli.datasets.masks import MaskFile
from segcli.engine.arrays import Logits, operations
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.evaluation.tta_trials import compare
from segcli.engine.prediction.predictor import predict_mask
from segcli.engine.prediction.resizing import Resizing, resize_images
from segcli.engine.prediction.tta import POLICIES, Augmented, find_policy, with_policy
from segcli.errors import UsageError
from segcli.io.card import Inference, ModelCard
from segcli.io.images import Pixels, write_image, write_mask
from segcli.task import Task

TASK = Task.of("abc")
CARD = ModelCard(TASK, "Unet", "resnet18", None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass
class Nearest:
    """A predictor that knows the three colours of the tiny images; it notes the sizes it saw."""

    card: ModelCard = CARD
    precision: str = "fp32"
    batch_size: int = 1
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, images: Pixels) -> Logits:
        self.seen.append(images.shape)
        colours = np.array([(60, 60, 60), (200, 60, 60), (60, 60, 220)])
        distance = ((images[..., None, :] - colours) ** 2).sum(-1) / 2000
        return -distance.transpose(0, 3, 1, 2).astype(np.float32)


@dataclass
class LeftHalf:
    """A predictor with an opinion on places: class 1 on the left half, unsure of the rest."""

    card: ModelCard = CARD
    precision: str = "fp32"
    batch_size: int = 1

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


def test_policies_are_compared_on_the_same_samples(samples: list[FileSample]) -> None:
    told: list[tuple[str, int, int]] = []
    trials = compare(Nearest(), samples, [POLICIES["none"], POLICIES["d4"]], lambda *event: told.append(event))
    assert [trial.policy.name for trial in trials] == ["none", "d4"]
    assert all(trial.scores.miou > 0.9 and trial.seconds_per_image > 0 for trial in trials)
    assert ("policy d4", 7, 7) in told


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
