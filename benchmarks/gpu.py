"""What training, evaluation and prediction make of a device: beside compute alone, and beside a loop written by hand.

python benchmarks/gpu.py [--device cuda] [--small]

Makes its own images, prints two tables, fits ten minutes on a GPU; `--small` (the choice where there is no GPU) takes
small networks and images, to see that it runs.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional

from segcli.components.models import build_network
from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.device import autocast, pick_device, pick_precision
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.prediction.journal import output_of
from segcli.engine.prediction.predict import Work, predict_items
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.sinks import open_sinks
from segcli.engine.prediction.sinks.base import Plan
from segcli.engine.prediction.sources import Reading, open_sources
from segcli.engine.prediction.tta import find_policy, with_policy
from segcli.engine.training.loop import Trainer
from segcli.io.bundle import load_bundle, save_bundle
from segcli.io.card import ModelCard
from segcli.io.images import write_image, write_mask
from segcli.parallel import available_cores
from segcli.task import Task


@dataclass(frozen=True)
class Scale:
    """How large everything is: crops of training; height, width and classes of what is evaluated."""

    encoder: str
    crop: int
    batch: int
    steps: int
    cases: tuple[tuple[int, int, int], ...]
    images: int


LARGE = Scale("resnet50", 512, 16, 40, ((1024, 2048, 19), (512, 683, 150)), 48)
SMALL = Scale("resnet18", 64, 4, 4, ((128, 256, 19), (96, 129, 150)), 6)
WARM = 3  # steps, or images, before the clock starts


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    device = pick_device(options.device)
    scale = SMALL if options.small or device.type == "cpu" else LARGE
    precision = pick_precision("auto", device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{name}, {precision}, torch {torch.__version__}, DeepLabV3+ on {scale.encoder}\n")
    with tempfile.TemporaryDirectory() as folder:
        training(Path(folder), scale, device)
        for height, width, num_classes in scale.cases:
            inference(Path(folder), scale, device, height, width, num_classes)


def write_dataset(root: Path, number: int, height: int, width: int, num_classes: int) -> dict[str, str]:
    """Writes noisy images with blocks of classes; gives the explicit form of their dataset, of two equal splits."""
    rng = np.random.default_rng(0)
    for index in range(number):
        blocks = rng.integers(0, num_classes, (8, 8), dtype=np.uint8)
        mask = blocks[np.arange(height)[:, None] * 8 // height, np.arange(width) * 8 // width]
        image = (mask[..., None] * (3, 5, 7) + rng.integers(0, 60, (height, width, 3))).astype(np.uint8)
        write_image(root / "images" / f"{index:03d}.jpg", image)
        write_mask(root / "masks" / f"{index:03d}.png", mask)
    places = {"images": str(root / "images"), "masks": str(root / "masks")}
    return {f"{split}_{kind}_dir": places[kind] for split in ("train", "val") for kind in places}


def config_of(dataset: dict[str, str], num_classes: int, folder: Path, scale: Scale, device: torch.device) -> RunConfig:
    """The config of a training that runs as long as it is asked for."""
    return RunConfig.model_validate(
        {
            "dataset": {**dataset, "classes": num_classes}, "model_name": "DeepLabV3+", "encoder": scale.encoder,
            "encoder_weights": None, "device": device.type, "output_dir": str(folder / "runs"),
            "train": {"epochs": 1000, "max_steps": 1000, "batch_size": scale.batch, "image_size": scale.crop},
        }
    )  # fmt: skip


def clocked(act: Callable[[], Any], times: int, device: torch.device) -> float:
    """Seconds that one of several calls takes, behind some that warm up."""
    for _ in range(WARM):
        act()
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        act()
    wait(device)
    return (time.perf_counter() - start) / times


def wait(device: torch.device) -> None:
    """Waits for what the device has been asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device) -> str:
    """The most memory that was taken since this was last asked."""
    if device.type != "cuda":
        return "–"
    taken = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return f"{taken:.1f} GiB"


def training(folder: Path, scale: Scale, device: torch.device) -> None:
    """Steps on one batch, `seg train`'s loop and one written by hand, all with the same network and precision."""
    number = scale.batch * (scale.steps + WARM)
    dataset = write_dataset(folder / "train", min(number, 48), scale.crop * 5 // 4, scale.crop * 3 // 2, 19)
    trainer = Trainer(config_of(dataset, 19, folder, scale, device), open_dataset_of(dataset, 19))
    batches = next(trainer.parts.batches.epoch(0))
    steps = iter(range(1_000_000))
    waits = count_waits(lambda: trainer.try_step(batches, next(steps)), device)
    alone = clocked(lambda: trainer.try_step(batches, next(steps)), scale.steps, device)
    print("| training | images/s | of compute alone | data wait | waits a step | memory |\n|---|---|---|---|---|---|")
    rate = scale.batch / alone
    print(f"| a step on one batch | {rate:.1f} | 1 | – | {waits} | {peak(device)} |", flush=True)
    del trainer
    trainer = Trainer(config_of(dataset, 19, folder, scale, device), open_dataset_of(dataset, 19))
    trainer.train_epoch()  # the first starts the readers and tries kernels
    trainer.progress.epoch, trainer.progress.step_in_epoch = 1, 0
    trained = trainer.train_epoch()
    ours = trained.images_per_second()
    print(f"| seg train | {ours:.1f} | {ours / rate:.2f} | {trained.data_wait():.1%} | | {peak(device)} |", flush=True)
    by_hand = scale.batch / clocked(hand_written(dataset, scale, device), scale.steps, device)
    print(f"| a loop by hand | {by_hand:.1f} | {by_hand / rate:.2f} | | | {peak(device)} |\n", flush=True)


def open_dataset_of(dataset: dict[str, str], num_classes: int) -> Any:
    """The dataset of an explicit form."""
    return open_dataset(RunConfig.model_validate({"dataset": {**dataset, "classes": num_classes}}).dataset)


def count_waits(act: Callable[[], Any], device: torch.device) -> str:
    """How often a step waits for the device, as torch's own alarm says; unknown elsewhere."""
    if device.type != "cuda":
        return "–"
    act()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            act()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return str(sum("synchronizing" in str(entry.message) for entry in found))


def hand_written(dataset: dict[str, str], scale: Scale, device: torch.device) -> Callable[[], None]:
    """A step of a plain loop on smp: bf16 where the device has it, channels_last, as many workers, plain crops."""
    samples = open_dataset_of(dataset, 19).split("train")

    class Crops(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
        def __len__(self) -> int:
            return scale.batch * (scale.steps + WARM)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            image, mask = samples[index % len(samples)].read()
            cut = slice(0, scale.crop)
            pixels = torch.from_numpy(np.ascontiguousarray(image[cut, cut])).permute(2, 0, 1).float() / 255
            return pixels, torch.from_numpy(mask[cut, cut].astype(np.int64))

    workers = min(16, torch.get_num_threads())
    loader = torch.utils.data.DataLoader(Crops(), scale.batch, num_workers=workers, pin_memory=device.type == "cuda")
    batches: Iterator[Any] = iter(loader)
    model = smp.DeepLabV3Plus(scale.encoder, encoder_weights=None, classes=19).to(device)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    precision = pick_precision("auto", device)

    def step() -> None:
        images, masks = next(batches)
        images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        with autocast(precision, device):
            loss = functional.cross_entropy(model(images), masks.to(device, non_blocking=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def inference(folder: Path, scale: Scale, device: torch.device, height: int, width: int, num_classes: int) -> None:
    """The forward pass alone, then an evaluation and a prediction with masks written, each with flips and without."""
    home = folder / f"{num_classes}"
    dataset = write_dataset(home, scale.images, height, width, num_classes)
    bundle = write_bundle(home, dataset, num_classes, scale)
    network, card = load_bundle(bundle)
    backend = TorchBackend(network, card, device)
    samples = open_dataset_of(dataset, num_classes).split("val")
    images = np.stack([sample.image() for sample in samples[: backend.batch_size]])
    print(f"| {width}×{height}, {num_classes} classes | images/s | of forward alone | memory |\n|---|---|---|---|")
    for policy in ("none", "flip"):
        predictor = with_policy(backend, find_policy(policy))
        rate = len(images) / clocked(partial(predictor, images), max(scale.images // 4, 2), device)
        print(f"| forward, {policy} | {rate:.1f} | 1 | {peak(device)} |", flush=True)
        for what, act in (
            ("eval", lambda used: evaluate(used, samples)),
            ("predict", lambda used: written(used, home)),
        ):
            act(predictor)
            start = time.perf_counter()
            act(predictor)
            seconds = (time.perf_counter() - start) / len(samples)
            print(f"| {what}, {policy} | {1 / seconds:.1f} | {1 / seconds / rate:.2f} | {peak(device)} |", flush=True)
    print()


def write_bundle(home: Path, dataset: dict[str, str], num_classes: int, scale: Scale) -> Path:
    """An untrained network as a bundle."""
    task = Task.of([f"c{index}" for index in range(num_classes)])
    config = RunConfig.model_validate({"dataset": dataset})
    network = build_network("DeepLabV3Plus", scale.encoder, None, config.model, task)
    card = ModelCard(
        task,
        "DeepLabV3Plus",
        scale.encoder,
        None,
        network.mean,
        network.std,
        precision=pick_precision("auto", pick_device("auto")),
    )
    save_bundle(home / "bundle", network, card)
    return home / "bundle"


def written(predictor: Predictor, home: Path) -> None:
    """Predicts all images of a folder, masks written."""
    plan = Plan(home / "out", predictor.card.task)
    sinks = open_sinks("masks", plan)
    items = open_sources([str(home / "images")], Reading())
    work = Work(predictor.batch_size, min(available_cores(), 8))
    with output_of(plan, sinks, {}, resume=False) as journal:
        for _ in predict_items(predictor, items, sinks, work, journal):
            pass


if __name__ == "__main__":
    main()
