"""What an evaluation costs beside its forward passes: scoring, flips, reading.

    python benchmarks/evaluation_speed.py RUN data/camvid
    python benchmarks/evaluation_speed.py     (made images of 2048×1024, 19 classes; DeepLabV3+ on resnet50, untrained)

Seconds of all cores (a busy neighbour changes them little) and by the clock, best of several rounds in which the
arms take turns: forward alone on decoded images, the evaluation of these, the evaluation of the files, and the
evaluation with flips.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from gpu import LARGE, open_dataset_of, write_bundle, write_dataset

from segcli.datasets.dataset import Sample
from segcli.datasets.open import open_for_model
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.prediction.load import load_predictor
from segcli.engine.prediction.pictures import evenly
from segcli.engine.prediction.predictor import Predictor, each_batch
from segcli.engine.prediction.tta import find_policy, with_policy
from segcli.io.images import Mask, Pixels
from segcli.io.rundir import find_model


@dataclass(frozen=True)
class Decoded:
    """A sample that needs no reading."""

    name: str
    pixels: Pixels
    mask: Mask

    def read(self) -> tuple[Pixels, Mask]:
        """Image and mask."""
        return self.pixels, self.mask

    def image(self) -> Pixels:
        """The image alone."""
        return self.pixels


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.model:
        predictor = load_predictor(find_model(options.model), precision="fp32")
        samples = open_for_model(predictor.card, options.data).split("val")
        table(predictor, evenly(samples, options.images), options.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder), 4, 1024, 2048, 19)
        bundle = write_bundle(Path(folder), dataset, 19, LARGE)
        table(load_predictor(bundle, precision="fp32"), open_dataset_of(dataset, 19).split("val"), options.rounds)


def table(predictor: Predictor, samples: Sequence[Sample], rounds: int) -> None:
    """Measures all arms in turn and prints them beside the forward passes."""
    decoded = [Decoded(sample.name, *sample.read()) for sample in samples]
    flips = with_policy(predictor, find_policy("flip"))
    arms: dict[str, Callable[[], object]] = {
        "forward alone": partial(forward, predictor, decoded),
        "evaluation of decoded images": partial(evaluate, predictor, decoded),
        "evaluation of files": partial(evaluate, predictor, samples),
        "forward alone, flip": partial(forward, flips, decoded),
        "evaluation of files, flip": partial(evaluate, flips, samples),
    }
    arms["forward alone"]()  # warms up
    best = {name: (float("inf"), float("inf")) for name in arms}
    for _ in range(rounds):
        for name, act in arms.items():
            cores, clock = time.process_time(), time.perf_counter()
            act()
            taken = time.process_time() - cores, time.perf_counter() - clock
            best[name] = min(best[name][0], taken[0]), min(best[name][1], taken[1])
    height, width = decoded[0].mask.shape
    print(f"| {len(samples)} images of {width}×{height} | core seconds | of forward | clock | of forward |")
    print("|---|---|---|---|---|")
    for name, (cores, clock) in best.items():
        shares = cores / best["forward alone"][0], clock / best["forward alone"][1]
        print(f"| {name} | {cores:.2f} | {shares[0]:.3f} | {clock:.2f} | {shares[1]:.3f} |", flush=True)


def forward(predictor: Predictor, samples: Sequence[Decoded]) -> int:
    """Logits of all images, thrown away."""
    batches = ((sample.name, np.stack([sample.pixels])) for sample in samples)
    return sum(1 for _ in each_batch(predictor, batches))


if __name__ == "__main__":
    main()
