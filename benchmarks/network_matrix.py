"""Every architecture on two encoders: trains two steps, evaluates, and comes back from a bundle with equal logits.

python benchmarks/network_matrix.py          prints a row a network; exit code 1 if one fails
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

from segcli.components.models import ARCHITECTURES
from segcli.config import RunConfig
from segcli.engine.training.loop import TrainResult, train
from segcli.io.bundle import load_bundle

ENCODERS = ("resnet18", "mobilenet_v2")
VIT = "vit_tiny_patch16_224"  # DPT wants a vision transformer


def run(architecture: str, encoder: str, folder: Path) -> TrainResult:
    """Trains two steps on the embedded shapes and evaluates."""
    config = RunConfig.model_validate(
        {
            "dataset": {"embedded": "shapes"},
            "model_name": architecture,
            "encoder": encoder,
            "encoder_weights": None,
            "train": {
                "epochs": 1, "max_steps": 2, "batch_size": 2, "image_size": 64, "workers": 0, "channels_last": True,
            },
            "val": {"batch_size": 16},
            "tracking": {"tensorboard": False},
            "precision": "fp32",
            "device": "cpu",
            "output_dir": str(folder),
        }
    )  # fmt: skip
    return train(config, f"{architecture}-{encoder}")


def main() -> int:
    """Prints a row a network; gives the number of those that failed."""
    failed = 0
    print("| architecture | encoder | seconds | val mIoU behind two steps | bundle |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for architecture in ARCHITECTURES.values():
            for encoder in (VIT,) if architecture == "DPT" else ENCODERS:
                start = time.perf_counter()
                try:
                    result = run(architecture, encoder, Path(folder))
                    images = torch.randint(0, 256, (1, 3, 75, 50), dtype=torch.uint8)
                    first, second = (load_bundle(result.run.last)[0](images) for _ in range(2))
                    same = "equal" if torch.equal(first, second) and first.isfinite().all() else "DIFFERS"
                    print(
                        f"| {architecture} | {encoder} | {time.perf_counter() - start:.1f} | {result.scores.miou:.3f} "
                        f"| {same} |",
                        flush=True,
                    )
                    failed += same != "equal"
                except Exception as error:
                    failed += 1
                    print(f"| {architecture} | {encoder} | – | {type(error).__name__}: {error} | – |", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
