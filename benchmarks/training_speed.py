"""How fast `seg train` is beside a plain fp32 loop on segmentation-models-pytorch.

python benchmarks/training_speed.py DATASET [STEPS]     DATASET: a prepared folder, such as data/camvid

The plain loop has its batches in memory, as floats, ready made; `seg`'s reads, decodes and crops its own. They train in
turns, each time in a process of its own, and the better of two rounds counts.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import segmentation_models_pytorch as smp
import torch
from torch.nn import functional

from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.training.events import Stepped
from segcli.engine.training.loop import Trainer

Result = TypeVar("Result")

BATCH = 4
ROUNDS = 2
THREADS = 2
WARM = 2  # steps before the clock starts
CASES = [
    (architecture, size)
    for architecture in ("Unet", "DeepLabV3Plus")
    for size in ((256, 256), (352, 480))
]  # fmt: skip


def plain_loop(architecture: str, size: tuple[int, int], num_classes: int, steps: int) -> float:
    """Images a second of a loop as one writes it by hand."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = getattr(smp, architecture)("tu-tf_efficientnet_lite0", encoder_weights=None, classes=num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, masks = torch.randn(BATCH, 3, *size), torch.randint(0, num_classes, (BATCH, *size))
    model.train()
    start = time.perf_counter()
    for step in range(steps + WARM):
        if step == WARM:
            start = time.perf_counter()
        loss = functional.cross_entropy(model(images), masks, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return steps * BATCH / (time.perf_counter() - start)


def seg_loop(
    root: Path, architecture: str, size: tuple[int, int], steps: int, precision: str, out: str
) -> tuple[float, float, str]:
    """Images a second of the whole loop of `seg train`, its share of waiting for data, and the precision chosen."""
    config = RunConfig.model_validate(
        {
            "dataset": {"root": root},
            "model_name": architecture,
            "encoder": "tf_efficientnet_lite0",
            "encoder_weights": None,
            "train": {
                "epochs": 1, "max_steps": steps + WARM, "batch_size": BATCH, "image_size": size, "threads": THREADS,
                "workers": 1,
            },
            "augmentation": {"name": "light", "scale": [0.5, 2.0]},
            "precision": precision,
            "output_dir": out,
            "device": "cpu",
        }
    )  # fmt: skip
    times: list[float] = []
    trainer = Trainer(
        config,
        open_dataset(config.dataset),
        lambda event: times.append(time.perf_counter()) if isinstance(event, Stepped) else None,
    )
    trained = trainer.train_epoch()
    assert len(times) == steps + WARM
    return steps * BATCH / (times[-1] - times[WARM - 1]), trained.data_wait(), trainer.parts.precision.name


def by_itself(act: Callable[..., Result], *arguments: object) -> Result:
    """What a function gives in a fresh process, so that no loop leaves settings or memory to the next."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(act, *arguments).result()


def main(root: Path, steps: int) -> None:
    """Prints a row a case."""
    num_classes = open_dataset(RunConfig.model_validate({"dataset": {"root": root}}).dataset).task.num_classes
    print("| network | crop | plain fp32 | seg fp32 | ratio | seg auto | ratio | data wait |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as out:
        for architecture, size in CASES:
            plain, fp32, auto = 0.0, (0.0, 0.0, ""), (0.0, 0.0, "")
            for _ in range(ROUNDS):
                plain = max(plain, by_itself(plain_loop, architecture, size, num_classes, steps))
                fp32 = max(fp32, by_itself(seg_loop, root, architecture, size, steps, "fp32", out))
                auto = max(auto, by_itself(seg_loop, root, architecture, size, steps, "auto", out))
            print(
                f"| {architecture} | {size[0]}×{size[1]} | {plain:.2f} | {fp32[0]:.2f} | {fp32[0] / plain:.2f} | "
                f"{auto[0]:.2f} ({auto[2]}) | **{auto[0] / plain:.2f}** | {auto[1]:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 8)
