from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import draw_pair
from PIL import Image

from segcli.components.augmentations import Aerial, Custom, Light, Medical, Medium, Road, Strong
from segcli.config import DatasetConfig, RunConfig
from segcli.datasets.dataset import Dataset, Sample
from segcli.datasets.open import open_dataset
from segcli.engine.training.batches import TrainingBatches, TrainingCrops, pick_workers, training_crops
from segcli.engine.training.crops import largest_share
from segcli.engine.training.distributed import Processes
from segcli.engine.training.order import Turn
from segcli.errors import ConfigError, DataError, UsageError

FILL = (1, 2, 3)


def valid_pixels(masks: torch.Tensor) -> torch.Tensor:
    return (masks != 255).sum(dtype=torch.float64)[None]


def batches(config: RunConfig, workers: int, augmentation: Light, batch_size: int = 2) -> TrainingBatches:
    dataset = open_dataset(config.dataset)
    crops = TrainingCrops(dataset.split("train"), (32, 32), augmentation, 0, FILL, 255)
    return TrainingBatches(crops, batch_size, workers, valid_pixels)


def collect(source: TrainingBatches, epoch: int) -> list[torch.Tensor]:
    return [torch.cat([images.flatten(), masks.flatten()]) for step in source.epoch(epoch) for images, masks, _ in step]


def test_batches_are_a_function_of_seed_and_epoch_alone(tiny: Callable[..., RunConfig]) -> None:
    config = tiny()
    alone, helped = batches(config, 0, Medium()), batches(config, 2, Medium())
    first = collect(alone, 1)
    collect(helped, 0)
    for a, b in zip(first, collect(helped, 1), strict=True):
        assert torch.equal(a, b)
    assert not all(torch.equal(a, b) for a, b in zip(first, collect(alone, 2), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, collect(alone, 1), strict=True))


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
            image, mask = crops[Turn(epoch, index, index)]
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
        _, mask = crops[Turn(epoch, 0, 0)]
        values = set(mask.unique().tolist())
        assert values <= {*range(300), 65535}
        assert {0, 256, 299, 65535} <= values


def step_tensors(source: TrainingBatches, epoch: int, start: int = 0) -> list[torch.Tensor]:
    """The images and masks of each step, whatever its micro-batches."""
    return [
        torch.cat([torch.cat([images.flatten(1), masks.flatten(1)], 1) for images, masks, _ in step])
        for step in source.epoch(epoch, start)
    ]


def drawing_crops(dataset: Dataset, balance: float = 0.5, **options: object) -> TrainingCrops:
    """Crops whose draw depends on classes in every way."""
    augmentation = Medium(copy_paste=0.5, max_class_share=0.8, **options)
    samples, holders = dataset.split("train"), dataset.samples_with_class("train")
    return TrainingCrops(samples, (32, 32), augmentation, 0, FILL, 255, balance, holders, pasted=[1, 2])


def test_processes_see_together_what_one_sees(tiny: Callable[..., RunConfig]) -> None:
    crops = drawing_crops(open_dataset(tiny().dataset))
    whole = step_tensors(TrainingBatches(crops, 4, 0, valid_pixels), 1)
    assert [len(step) for step in whole] == [4, 2]
    in_parts = step_tensors(TrainingBatches(crops, 2, 1, valid_pixels, accumulate=2), 1)
    assert all(torch.equal(a, b) for a, b in zip(whole, in_parts, strict=True))
    ranks = [step_tensors(TrainingBatches(crops, 2, 0, valid_pixels, rank=rank, processes=2), 1) for rank in range(2)]
    assert torch.equal(torch.cat([ranks[0][0], ranks[1][0]]), whole[0])
    # Of the last two samples, neither process could make a batch that can be normalised.
    assert [len(steps) for steps in ranks] == [1, 1]
    with pytest.raises(UsageError, match="6 training images are too few for 7 processes"):
        TrainingBatches(crops, 2, 0, valid_pixels, rank=0, processes=7)


class Counting:
    """Samples that note which of them are read."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples, self.seen = samples, list[int]()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        self.seen.append(index)
        return self.samples[index]


def test_an_epoch_begun_in_the_middle_reads_only_the_rest(tiny: Callable[..., RunConfig]) -> None:
    samples = Counting(open_dataset(tiny().dataset).split("train"))
    source = TrainingBatches(TrainingCrops(samples, (32, 32), Medium(), 0, FILL, 255), 2, 0, valid_pixels)
    whole = step_tensors(source, 3)
    samples.seen.clear()
    rest = step_tensors(source, 3, start=2)
    assert samples.seen == [turn.index for turn in source.crops.order.turns(3)[4:]]
    assert len(source) == len(whole) == 3
    assert torch.equal(rest[0], whole[2])


def test_a_sample_with_two_turns_is_cropped_twice(tiny: Callable[..., RunConfig]) -> None:
    crops = TrainingCrops(open_dataset(tiny().dataset).split("train"), (32, 32), Light(), 0, FILL, 255)
    first, second = crops[Turn(0, 1, 4)], crops[Turn(0, 2, 4)]
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[0], crops[Turn(0, 1, 4)][0])


def write_corner(folder: Path) -> Dataset:
    """Images whose class 1 is a corner of 6×6, and one of them with class 2 beside it."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(4):
        mask = np.zeros((64, 96), np.uint8)
        mask[58:, 90:] = 1
        mask[:6, :6] = 2 if index == 3 else 0
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
        Image.fromarray(mask * 100).convert("RGB").save(folder / "images" / f"{index}.png")
    folders = {f"{split}_{kind}_dir": folder / kind for split in ("train", "val") for kind in ("images", "masks")}
    return open_dataset(DatasetConfig(**folders))


def test_balanced_crops_show_the_class_they_are_drawn_for(tmp_path: Path) -> None:
    dataset = write_corner(tmp_path)
    samples, holders = dataset.split("train"), dataset.samples_with_class("train")
    crops = TrainingCrops(samples, (24, 24), Light(scale=(1.0, 1.5)), 0, FILL, 255, 1.0, holders)
    wanted = []
    for epoch in range(20):
        for turn in crops.order.turns(epoch):
            wanted.append(turn.wanted)
            assert turn.index == 3 or turn.wanted != 2
            assert (crops[turn][1] == turn.wanted).any()
    assert set(wanted) == {0, 1, 2}
    plain = TrainingCrops(samples, (24, 24), Light(), 0, FILL, 255)
    assert (
        np.mean([bool((plain[turn][1] == 1).any()) for epoch in range(20) for turn in plain.order.turns(epoch)]) < 0.5
    )


def test_a_crop_of_one_class_is_drawn_again(tmp_path: Path) -> None:
    samples = write_corner(tmp_path).split("train")

    def shares(most: float) -> list[float]:
        crops = TrainingCrops(samples, (24, 24), Light(scale=(1.0, 1.0), max_class_share=most), 0, FILL, 255)
        return [largest_share(crops[Turn(0, place, 3)][1].numpy(), 255) for place in range(80)]

    # A crop's corner lies in one of 41·73 places, 2·36 of which show a corner of the image wholly.
    plain, drawn = shares(1.0), shares(0.999)
    assert np.mean(np.array(plain) == 1.0) > 0.9
    assert np.mean(np.array(drawn) == 1.0) == pytest.approx(np.mean(np.array(plain) == 1.0) ** 11, abs=0.15)
    # Nothing is as mixed as that: of eleven draws the most mixed one serves.
    assert np.mean(shares(0.1)) <= np.mean(drawn)


def test_copy_paste_brings_pixels_with_their_labels(tmp_path: Path) -> None:
    dataset = write_corner(tmp_path)
    samples, holders = dataset.split("train"), dataset.samples_with_class("train")

    def crops(**options: object) -> TrainingCrops:
        augmentation = Light(scale=(1.0, 1.0), **options)
        return TrainingCrops(samples, (24, 24), augmentation, 0, FILL, 255, holders=holders, pasted=[2])

    def with_class_2(source: TrainingCrops) -> float:
        found = []
        for place in range(60):
            image, mask = source[Turn(0, place, 0)]
            assert torch.equal(image[0], mask * 100)
            found.append(bool((mask == 2).any()))
        return float(np.mean(found))

    assert with_class_2(crops()) == 0
    assert with_class_2(crops(copy_paste=1.0)) == 1
    assert with_class_2(crops(copy_paste=0.5)) == pytest.approx(0.5, abs=0.15)


def test_the_preview_shows_the_first_crops_of_the_first_epoch(tiny: Callable[..., RunConfig]) -> None:
    source = TrainingBatches(drawing_crops(open_dataset(tiny().dataset)), 3, 0, valid_pixels)
    ((images, masks, _),) = next(source.epoch(0))
    for (image, mask), expected, labels in zip(source.preview(3), images, masks, strict=True):
        assert torch.equal(image, expected)
        assert torch.equal(mask, labels)


def test_transforms_are_drawn_independently(tiny: Callable[..., RunConfig]) -> None:
    """Of two flips of probability ½, each is done alone as often as with the other."""
    flips = Custom(
        scale=(1.0, 1.0), hflip=0, transforms=[{"name": "VerticalFlip"}, {"name": "HorizontalFlip"}]  # type: ignore[arg-type]
    )  # fmt: skip
    crops = TrainingCrops(open_dataset(tiny().dataset).split("train"), (40, 56), flips, 0, FILL, 255)
    image = torch.from_numpy(draw_pair(0)[0]).permute(2, 0, 1)
    counts = [0, 0, 0, 0]
    for place in range(200):
        varied = crops[Turn(0, place, 0)][0]
        same = [torch.equal(varied, image.flip(axes)) for axes in ([], [1], [2], [1, 2])]
        counts[same.index(True)] += 1
    assert min(counts) > 30


def test_images_of_different_sizes_are_trained_as_large_as_validation_sees_them(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(
        augmentation={"name": "light", "scale": [1, 1], "hflip": 0, "scale_base": "val"},
        val={"image_size": 20}, train={"image_size": [20, 28]},
    )  # fmt: skip
    dataset = open_dataset(config.dataset)
    small, mask = dataset.split("train")[0].read()  # 40×56
    large = (small.repeat(3, 0).repeat(3, 1), mask.repeat(3, 0).repeat(3, 1))

    class Fixed:
        def __init__(self, pair: tuple[np.ndarray, np.ndarray]) -> None:
            self.name, self.pair = "fixed", pair

        def image(self) -> np.ndarray:
            return self.pair[0]

        def read(self) -> tuple[np.ndarray, np.ndarray]:
            return self.pair

    samples = [Fixed((small, mask)), Fixed(large)]
    crops = training_crops(config, dataset, samples, FILL)
    (image, labels), (of_large, labels_of_large) = (crops[Turn(0, 0, index)] for index in (0, 1))
    assert torch.equal(labels, labels_of_large)
    assert (labels != 255).all()  # the whole image, without padding
    assert (image.int() - of_large.int()).abs().max() <= 1


def test_a_config_gives_the_crops_it_asks_for(tiny: Callable[..., RunConfig]) -> None:
    told: list[str] = []

    def made(**parts: object) -> TrainingCrops:
        config = tiny(**parts)
        dataset = open_dataset(config.dataset)
        told.clear()
        return training_crops(config, dataset, dataset.split("train"), FILL, lambda what, *_: told.append(what))

    plain = made()
    assert (plain.size, plain.order.balance, plain.order.holders, told) == ((32, 32), 0.0, (), [])
    balanced = made(train={"class_balance": 0.25})
    assert balanced.order.balance == 0.25
    assert balanced.order.holders == [list(range(6))] * 3
    assert told == []  # opening the folders has shown what each mask holds
    pasting = made(augmentation={"name": "light", "copy_paste": 1.0, "copy_paste_classes": ["class_1", "class_2"]})
    assert isinstance(pasting[Turn(0, 0, 0)], tuple)
    assert told == []
    with pytest.raises(
        ConfigError, match=r"augmentation.copy_paste_classes: unknown class 'clas_2'; did you mean class_2\?"
    ):
        made(augmentation={"name": "light", "copy_paste_classes": ["clas_2"]})


def test_the_leading_process_reads_the_masks_for_all(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(train={"class_balance": 0.5})
    dataset = replace(open_dataset(config.dataset), held={})
    told: list[str] = []

    class Second(Processes):
        """The second of two processes, whose first has found class 2 in sample 4 alone."""

        def lead(self, value: Any) -> Any:
            return [[], [], [4]]

    crops = training_crops(
        config, dataset, dataset.split("train"), FILL, lambda what, *_: told.append(what), Second(1, 2)
    )
    assert (crops.order.holders, told) == ([[], [], [4]], [])
    training_crops(config, dataset, dataset.split("train"), FILL, lambda what, *_: told.append(what))
    assert told == ["looking for classes"] * 6


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_bring_the_masses_of_their_masks(tiny: Callable[..., RunConfig], workers: int) -> None:
    """Counted where they are made; the channels of a pixel lie side by side, as accelerators want them."""
    crops = TrainingCrops(
        open_dataset(tiny().dataset).split("train"), (64, 64), Light(scale=(0.5, 0.8)), 0, FILL, 255
    )  # fmt: skip
    steps = list(TrainingBatches(crops, 1, workers, valid_pixels, accumulate=2).epoch(0))
    assert [len(step) for step in steps] == [2, 2, 2]
    for batch in (batch for step in steps for batch in step):
        assert batch.masses.tolist() == [(batch.masks != 255).sum()]
        assert 0 < batch.masses < 64 * 64
        assert batch.images.stride() == (3 * 64 * 64, 1, 3 * 64, 3)


@pytest.mark.parametrize(("device", "cores", "number"), [("cpu", 64, 8), ("cuda", 64, 16), ("cuda", 16, 7)])
def test_a_gpu_is_read_for_by_more_processes_where_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, device: str, cores: int, number: int
) -> None:
    """Two processes train."""
    monkeypatch.setattr("segcli.engine.training.batches.available_cores", lambda: cores)
    assert pick_workers(None, torch.device(device), processes=2) == number
    assert pick_workers(3, torch.device(device), processes=2) == 3
