"""What a training takes: from its events, by hand, and of the real loop."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segcli.config import RunConfig
from segcli.datasets.layouts import shapes
from segcli.datasets.open import open_dataset
from segcli.engine.planning.probe import Timed, measure_speed, speed_of
from segcli.engine.training.events import EpochEnded, Progressed, Started, Stepped
from segcli.nn.network import SegmentationNetwork


@pytest.mark.parametrize("looked_at_each", [True, False])  # an accelerator tells its steps and images seldom
def test_seconds_of_all_epochs_but_the_first_are_parted_by_what_they_went_into(looked_at_each: bool) -> None:
    seen = range(1, 9) if looked_at_each else [8]
    events: list[Timed] = [(3.0, Started(Path(), shapes.dataset().task, {}, 1, 3, 24))]
    events.append((50.0, EpochEnded({}, best=True, scores=None)))
    for number, (begun, step) in enumerate([(50.0, 2.0), (70.5, 3.0)], 2):
        trained = begun + 1 + 8 * step
        events += [(begun + 1 + step * done, Stepped(number, done, 8, 0, 1.0, 0.1, 4.0)) for done in seen]
        events += [(trained + 1 + 0.25 * done, Progressed("validating", done, 8)) for done in seen]
        events.append((trained + 3.5, EpochEnded({}, best=True, scores=None)))
    speed = speed_of(
        events, began=1.0, ended=102.0, config=RunConfig.model_validate({"dataset": {"embedded": "shapes"}})
    )
    first_takes_longer = (50 - 3) - (99 - 50) / 2
    start = (3 - 1) + first_takes_longer + (102 - 99)
    assert (speed.start, speed.val_image) == pytest.approx((start, 0.25 if looked_at_each else 3 / 8))
    if looked_at_each:
        assert (speed.step, speed.epoch, speed.validation) == pytest.approx((2.5, 1.0, 1.5))
    assert speed.step * 8 + speed.epoch + speed.validation + 8 * speed.val_image == pytest.approx((99 - 50) / 2)


def test_the_real_loop_is_timed_and_leaves_nothing(
    tiny: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    config = tiny(train={"channels_last": "auto"})
    seen: list[tuple[str, int, int]] = []
    speed = measure_speed(config, open_dataset(config.dataset), lambda *place: seen.append(place))
    assert min(speed.start, speed.step, speed.validation, speed.val_image) > 0
    assert speed.config.train.channels_last in {True, False}
    assert seen[-1] == ("trying", 8, 8)
    assert not (tmp_path / "runs").exists()
    assert not list(temporary.iterdir())


def test_a_trial_finds_the_batches_that_fit(tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SegmentationNetwork.forward

    def forward(network: SegmentationNetwork, images: torch.Tensor) -> Any:
        if network.training and len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(network, images)

    monkeypatch.setattr(SegmentationNetwork, "forward", forward)
    config = tiny(train={"batch_size": 6, "channels_last": False})
    found = measure_speed(config, open_dataset(config.dataset)).config.train
    assert (found.batch_size, found.accumulate) == (2, 4)  # halved twice


def test_a_trial_on_repeated_images_decodes_each_once(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(dataset={"cache": "disk"}, train={"batch_size": 8, "channels_last": False})
    dataset = open_dataset(config.dataset)
    read: list[str] = []
    real = type(dataset.split("train")[0]).read

    def reading(sample: Any) -> Any:
        read.append(str(sample.image_path))
        return real(sample)

    monkeypatch.setattr(type(dataset.split("train")[0]), "read", reading)
    measure_speed(config, dataset)  # 2 epochs of 32 crops, of 6 images
    trained = [path for path in read if "train" in Path(path).parts]
    assert len(trained) == len(set(trained)) == 6
