from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest
import torch
from conftest import draw_pair

from segcli.components.augmentations import Aerial, Light, Medical, Medium, Road, Strong
from segcli.config import RunConfig
from segcli.datasets.opening import open_dataset
from segcli.engine.data import CropPlan, TrainingBatches, TrainingCrops, crop, epoch_batches
from segcli.errors import DataError

FILL = (1, 2, 3)


def batches(config: RunConfig, workers: int, augmentation: Light, batch_size: int = 2) -> TrainingBatches:
    dataset = open_dataset(config.dataset)
    crops = TrainingCrops(dataset.split("train"), (32, 32), augmentation, 0, FILL, 255)
    return TrainingBatches(crops, batch_size, workers)


def collect(source: TrainingBatches, epoch: int) -> list[torch.Tensor]:
    return [torch.cat([images.flatten(), masks.flatten()]) for images, masks in source.epoch(epoch)]


def test_batches_are_a_function_of_seed_and_epoch_alone(tiny: Callable[..., RunConfig]) -> None:
    config = tiny()
    alone, helped = batches(config, 0, Medium()), batches(config, 2, Medium())
    first = collect(alone, 1)
    collect(helped, 0)
    for a, b in zip(first, collect(helped, 1), strict=True):
        assert torch.equal(a, b)
    assert not all(torch.equal(a, b) for a, b in zip(first, collect(alone, 2), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, collect(alone, 1), strict=True))


def test_every_sample_has_its_turn_once_an_epoch() -> None:
    for epoch in range(3):
        assert sorted(chain.from_iterable(epoch_batches(10, 4, 0, epoch))) == list(range(10))
    assert [len(batch) for batch in epoch_batches(9, 4, 0, 0)] == [4, 4]
    assert epoch_batches(1, 4, 0, 0) == [[0]]
    assert len(epoch_batches(5, 1, 0, 0)) == 5


def test_a_plain_crop_is_a_cut_out() -> None:
    image, mask = draw_pair(0)
    plan = CropPlan(1.0, 1.0, 0.5, False)
    cut, cut_mask = crop(image, mask, (24, 32), plan, FILL, 255)
    assert np.array_equal(cut, image[16:40, 12:44])
    assert np.array_equal(cut_mask, mask[16:40, 12:44])
    mirrored, _ = crop(image, mask, (24, 32), CropPlan(1.0, 1.0, 0.5, True), FILL, 255)
    assert np.array_equal(mirrored, cut[:, ::-1])


def test_what_lies_beyond_the_image_is_ignored() -> None:
    image, mask = draw_pair(0)
    cut, cut_mask = crop(image, mask, (64, 64), CropPlan(0.5, 0.3, 0.3, False), FILL, 255)
    assert (cut_mask[20:] == 255).all()
    assert (cut_mask[:, 28:] == 255).all()
    assert (cut_mask[:20, :28] != 255).all()
    assert (cut[20:] == FILL).all()


@pytest.mark.parametrize("scale", [0.3, 0.9, 1.7, 3.0])
def test_a_scaled_crop_shows_the_same_place(scale: float) -> None:
    mask = np.zeros((80, 100), np.uint8)
    mask[:, 50:] = 1
    image = np.repeat(mask[..., None] * 200, 3, axis=2)
    cut, cut_mask = crop(image, mask, (40, 40), CropPlan(scale, 0.5, 0.5, False), (0, 0, 0), 255)
    valid = cut_mask != 255
    assert valid.any()
    assert ((cut[..., 0] > 100) == (cut_mask == 1))[valid].mean() > 0.97
    assert set(np.unique(cut_mask)) <= {0, 1, 255}


def test_scales_are_drawn_evenly_in_their_logarithm() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([CropPlan.draw(rng, Light(scale=(0.5, 2.0))).scale for _ in range(4000)])
    assert 0.5 <= scales.min() < 0.52
    assert 1.9 < scales.max() <= 2.0
    assert (scales < 1).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_goes_bad_is_named_in_one_line(tiny: Callable[..., RunConfig], workers: int) -> None:
    config = tiny()
    source = batches(config, workers, Light())
    assert config.dataset.train_images_dir is not None
    image = config.dataset.train_images_dir / "002.png"
    image.write_bytes(image.read_bytes()[:-200])
    with pytest.raises(DataError) as caught:
        collect(source, 0)
    assert str(caught.value).startswith(f"{image} is damaged")
    assert "\n" not in str(caught.value)


PRESETS = [Medium(), Strong(turn=1.0), Road(shadow=1.0), Aerial(), Medical(turn=1.0, elastic=1.0)]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_is_a_function_of_seed_epoch_and_index(tiny: Callable[..., RunConfig], preset: Light) -> None:
    config = tiny()
    alone, helped = batches(config, 0, preset), batches(config, 1, preset)
    for epoch in (0, 1):
        for a, b in zip(collect(alone, epoch), collect(helped, epoch), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(collect(alone, 0)[0], collect(alone, 1)[0])


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
@pytest.mark.parametrize("size", [(48, 48), (32, 48)])
def test_every_preset_moves_image_and_mask_together(
    tiny: Callable[..., RunConfig], preset: Light, size: tuple[int, int]
) -> None:
    """Class 1 is red and class 2 blue, before as after."""
    samples = open_dataset(tiny().dataset).split("train")
    crops = TrainingCrops(samples, size, preset, 0, FILL, 255)
    redder, bluer = [], []
    for epoch in range(8):
        for index in range(len(samples)):
            image, mask = crops[epoch, index]
            assert image.shape == (3, *size)
            assert mask.shape == size
            assert set(mask.unique().tolist()) <= {0, 1, 2, 255}
            red, blue = image[0].float(), image[2].float()
            redder += (red - blue)[mask == 1].tolist()
            bluer += (blue - red)[mask == 2].tolist()
    assert np.mean(np.array(redder) > 0) > 0.95
    assert np.mean(np.array(bluer) > 0) > 0.95


def test_class_indices_beyond_a_byte_are_turned_exactly() -> None:
    class Many:
        name = "many"

        def image(self) -> np.ndarray:
            return self.read()[0]

        def read(self) -> tuple[np.ndarray, np.ndarray]:
            mask = np.arange(64 * 64, dtype=np.int32).reshape(64, 64) % 300
            mask[0] = 65535
            return np.zeros((64, 64, 3), np.uint8), mask

    crops = TrainingCrops([Many()], (64, 64), Strong(scale=(1.0, 1.0), turn=1.0), 0, FILL, 65535)
    for epoch in range(5):
        _, mask = crops[epoch, 0]
        values = set(mask.unique().tolist())
        assert values <= {*range(300), 65535}
        assert {0, 256, 299, 65535} <= values
