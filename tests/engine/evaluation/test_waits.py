"""A guard that needs no accelerator: nothing but labels and counts may leave the device, and nothing may wait before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from conftest import draw_pair
from engine.host_reads import HostReads

from segcli.components.models import ModelOptions, build_network
from segcli.datasets.dataset import FileSample
from segcli.datasets.encoding import MaskEncoding
from segcli.datasets.masks import MaskFile
from segcli.engine.arrays import Logits
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.prediction.predict import Predicted, Work, predict_items
from segcli.engine.prediction.predictor import Predictor, Wrapper, each_batch, predict_mask
from segcli.engine.prediction.resizing import Resizing
from segcli.engine.prediction.streams import Item
from segcli.engine.prediction.tta import POLICIES, with_policy
from segcli.engine.training.distributed import ALONE
from segcli.engine.training.validation import MeanLoss
from segcli.io.card import Inference, ModelCard
from segcli.io.images import Pixels, write_image, write_mask
from segcli.task import Task

TASK = Task.of("abc")
CARD = ModelCard(TASK, "Unet", "resnet18", None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), Inference.of(32))


@pytest.fixture
def samples(tmp_path: Path) -> list[FileSample]:
    found = []
    for index in range(5):
        image, mask = draw_pair(index, height=40, width=56 if index % 2 else 64)
        mask[:3] = 255
        write_image(tmp_path / f"{index}.png", image)
        write_mask(tmp_path / f"m{index}.png", mask)
        source = MaskFile(tmp_path / f"m{index}.png")
        found.append(FileSample(str(index), tmp_path / f"{index}.png", source, MaskEncoding(TASK)))
    return found


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of torch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def predictor_in(precision: str) -> Predictor:
    torch.manual_seed(0)
    options = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))
    network = build_network("Unet", "resnet18", None, options, TASK)
    return Resizing(TorchBackend(network, CARD, torch.device("cpu"), precision), CARD.inference)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("policy", ["none", "scales-flip"])
def test_an_evaluation_reads_its_counts_and_its_losses(
    samples: Sequence[FileSample], threads: Callable[[int], None], precision: str, policy: str
) -> None:
    threads(1)  # what is computed in other threads would not be seen
    predictor = with_policy(predictor_in(precision), POLICIES[policy])
    losses = MeanLoss(torch.nn.CrossEntropyLoss(ignore_index=255))
    with HostReads() as reads:
        evaluate(predictor, samples, [losses], batch_size=3)
        losses.mean(ALONE)
    # all pixels, the images of each of four batches (3 and 2 images, of two sizes each), the losses
    assert reads.waits == {"cpu": 1 + 4, "tolist": 1}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_prediction_reads_its_labels(policy: str) -> None:
    predictor = with_policy(predictor_in("fp32"), POLICIES[policy])
    image, _ = draw_pair(0)
    with HostReads() as reads:
        mask = predict_mask(predictor, image)
    assert reads.waits == {"cpu": 1}
    assert (mask.dtype, mask.shape) == (np.uint8, image.shape[:2])


def test_no_figure_depends_on_the_batch_size_nor_on_what_is_read_ahead(samples: Sequence[FileSample]) -> None:
    predictor = predictor_in("fp32")
    losses = [MeanLoss(torch.nn.CrossEntropyLoss(ignore_index=255)) for _ in range(3)]
    found = [evaluate(predictor, samples, [loss], size) for loss, size in zip(losses, (None, 2, 5), strict=True)]
    for other, loss in zip(found[1:], losses[1:], strict=True):
        assert np.array_equal(other.scores.confusion, found[0].scores.confusion)
        assert loss.mean(ALONE) == pytest.approx(losses[0].mean(ALONE), rel=1e-6)
        by_name = dict(zip(other.names, other.image_counts.tolist(), strict=True))
        assert by_name == dict(zip(found[0].names, found[0].image_counts.tolist(), strict=True))
    assert found[2].names == ("0", "2", "4", "1", "3")  # of one size, then of the other


def test_images_computed_side_by_side_count_as_one_after_the_other(
    samples: Sequence[FileSample], threads: Callable[[int], None]
) -> None:
    threads(1)
    alone = evaluate(predictor_in("fp32"), samples)
    threads(3)
    predictor = predictor_in("fp32")
    assert predictor.concurrency == 3
    beside = evaluate(predictor, samples)
    assert torch.get_num_threads() == 3
    assert beside.names == alone.names
    assert np.array_equal(beside.image_counts, alone.image_counts)


def draw_image(seed: int) -> Pixels:
    return draw_pair(seed)[0]


@dataclass(frozen=True)
class Meeting(Wrapper):
    """A predictor whose calls wait for one another."""

    place: Barrier

    def __call__(self, images: Pixels) -> Logits:
        self.place.wait(timeout=20)
        return self.inner(images)


def test_as_many_images_are_computed_at_once_as_the_predictor_says(threads: Callable[[int], None]) -> None:
    threads(3)
    predictor = Meeting(predictor_in("fp32"), Barrier(3))
    images = [(number, draw_pair(number)[0][None]) for number in range(6)]
    assert [number for number, _ in each_batch(predictor, images)] == [*range(6)]
    items = [Item(str(number), f"{number}.png", str(number), partial(draw_image, number)) for number in range(6)]
    found = [*predict_items(predictor, items, {}, Work(batch_size=1, workers=2), None)]
    assert [item.item.name for item in found if isinstance(item, Predicted)] == [*map(str, range(6))]


def test_logits_are_single_precision_whatever_computes_them() -> None:
    image, _ = draw_pair(0)
    exact, rough = (predictor_in(precision)(image[None]) for precision in ("fp32", "bf16"))
    assert exact.dtype == rough.dtype == torch.float32
    assert not torch.equal(exact, rough)


def test_a_predictor_shows_the_network_as_it_was() -> None:
    network = build_network("Unet", "resnet18", None, ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8)), TASK)
    backend = TorchBackend(network, CARD, torch.device("cpu"))
    image, _ = draw_pair(0)
    before = backend(image[None])
    for parameter in network.parameters():
        parameter.data.zero_()
    assert torch.equal(backend(image[None]), before)
