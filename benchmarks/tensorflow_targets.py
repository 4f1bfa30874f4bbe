"""The TensorFlow targets on eight architectures: `python benchmarks/tensorflow_targets.py [ARCHITECTURE …]`.

Each network learns the embedded shapes for a few steps, so that its labels mean something, and is exported at a size
that is neither square nor a multiple of any stride. Printed are the seconds of the conversion, the size of the file,
the latency beside torch's, the largest difference of logits, the share of equal labels and the mIoU of both.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from segcli.components.models import ModelOptions, build_network
from segcli.datasets.layouts import shapes
from segcli.engine.arrays import operations
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.export.targets import Job, find_target
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import resize_images
from segcli.errors import ExportError
from segcli.io.card import Contract, ModelCard
from segcli.nn.network import SegmentationNetwork

EIGHT = ("Unet", "UnetPlusPlus", "DeepLabV3", "DeepLabV3Plus", "PSPNet", "PAN", "FPN", "MAnet")
ENCODER = "resnet18"
TARGETS = ("tflite", "savedmodel", "tflite --fp16")
SIZE = (93, 131)
NUM_IMAGES = 12
TRAINED_AT = (64, 96)
STEPS = 60


def samples(split: str, number: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Images N×H×W×3 and masks N×H×W of the embedded shapes at one size."""
    images, masks = [], []
    for sample in shapes.dataset().splits[split][:number]:
        image, mask = sample.read()
        images.append(resize_images(image[None], size)[0])
        rows = np.arange(size[0]) * mask.shape[0] // size[0]
        masks.append(mask[rows[:, None], np.arange(size[1]) * mask.shape[1] // size[1]])
    return np.stack(images), np.stack(masks)


def trained(architecture: str, images: np.ndarray, masks: np.ndarray) -> SegmentationNetwork:
    """A network after a few steps."""
    torch.manual_seed(0)
    network = build_network(architecture, ENCODER, None, ModelOptions(), shapes.TASK).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    order = np.random.default_rng(0)
    for _ in range(STEPS):
        chosen = order.choice(len(images), 6, replace=False)
        logits = network(torch.from_numpy(images[chosen]).permute(0, 3, 1, 2))
        target = torch.from_numpy(masks[chosen].astype(np.int64))
        loss = torch.nn.functional.cross_entropy(logits, target, ignore_index=shapes.IGNORE_INDEX)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def logits_of(predictor: Predictor, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Logits of each image alone, and the median latency in ms."""
    predictor(images[:1])
    found, times = [], []
    for image in images:
        start = time.perf_counter()
        logits = predictor(image[None])
        found.append(operations(logits).to_numpy(logits))
        times.append(time.perf_counter() - start)
    return np.concatenate(found), 1000 * float(np.median(times))


def miou(labels: np.ndarray, masks: np.ndarray) -> float:
    """The mean IoU over all pixels that count."""
    counted = masks != shapes.IGNORE_INDEX
    ious = []
    for index in range(shapes.TASK.num_classes):
        hit, true = (labels == index) & counted, masks == index
        ious.append((hit & true).sum() / max((hit | true).sum(), 1))
    return float(np.mean(ious))


def size_of(path: Path) -> float:
    """MB of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def main() -> None:
    """Prints a row for each network and target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=EIGHT)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    arguments = parser.parse_args()
    images, masks = samples("train", 200, TRAINED_AT)
    val_images, val_masks = samples("val", NUM_IMAGES, SIZE)
    print("| network | target | s | MB | ms (torch) | largest difference | equal labels | mIoU before → after |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for architecture in arguments.architectures:
        network = trained(architecture, images, masks)
        card = ModelCard(shapes.TASK, architecture, ENCODER, None, network.mean, network.std)
        truth, torch_ms = logits_of(TorchBackend(network, card, torch.device("cpu"), "fp32"), val_images)
        before = miou(truth.argmax(1), val_masks)
        for name in arguments.targets:
            target, precision = find_target(name.split()[0]), "fp16" if "fp16" in name else "fp32"
            contract = Contract(target.layout, size=SIZE, batch=target.batch)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"model{target.format.suffix}")
                start = time.perf_counter()
                try:
                    written = replace(card, contract=contract, precision=precision)
                    target.write(Job(network, written, contract, path))
                except ExportError as error:
                    print(f"| {architecture} | {name} | {error} | | | | | |", flush=True)
                    continue
                seconds = time.perf_counter() - start
                logits, ms = logits_of(target.load(path), val_images)
                equal = (logits.argmax(1) == truth.argmax(1)).mean()
                after = miou(logits.argmax(1), val_masks)
                print(
                    f"| {architecture} | {name} | {seconds:.0f} | {size_of(path):.1f} | {ms:.0f} ({torch_ms:.0f}) | "
                    f"{np.abs(logits - truth).max():.1g} | {equal:.3%} | {before:.4f} → {after:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
