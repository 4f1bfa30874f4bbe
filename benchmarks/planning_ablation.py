"""What `seg init` is worth: its plan beside the defaults of a config and beside itself with one rule left out.

    python benchmarks/planning_ablation.py WORK data/camvid CRACKS --budget 150 [--set NAME …] [--arm NAME …]

CRACKS is a folder of `images/` and `masks/` whose last 20 images are held out for validation. Every arm trains on the
same images with the same network and weights for the same time, counted from the first process to the last file; its
figure is that of the best epoch on the val split, mean IoU or, of two classes, the IoU of the second. WORK keeps the
sets, the runs and `results.jsonl`; what stands there is not trained again. Leave the machine alone meanwhile: the time
is the clock's.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segcli.config import RunConfig, load_config
from segcli.datasets.dataset import Dataset
from segcli.datasets.open import open_dataset
from segcli.engine.planning.figures import measure_figures
from segcli.engine.planning.network import available_network
from segcli.engine.planning.pace import Pace
from segcli.engine.planning.plan import make_plan
from segcli.engine.planning.probe import measure_speed
from segcli.io.images import Mask, Pixels, read_image, write_image, write_mask

RECIPE = Path(__file__).parent.parent / "configs" / "camvid.yml"
Pair = tuple[Pixels, Mask]
IGNORED = 255

# Keys that a rule writes; without them the config's own default stands.
RULES = {
    "no size": ("val.image_size", "augmentation.scale"),
    "no crop": ("train.image_size",),
    "no loss": ("loss",),
    "no balance": ("train.class_balance",),
    "no optimiser": ("optimizer",),
    "no average": ("ema",),
    "no augmentation": ("augmentation.name", "augmentation.transforms"),
}


@dataclass(frozen=True)
class Task:
    """A set to plan for: its classes and where its pairs of each split come from."""

    classes: tuple[str, ...]
    pairs: Callable[[str], Iterator[Pair]]


def main() -> None:
    """Trains what has not been trained yet and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("cracks", type=Path)
    parser.add_argument("--budget", type=float, default=600)
    parser.add_argument("--set", action="append", dest="sets")
    parser.add_argument("--arm", action="append", dest="arms", help="defaults, planned, recipe or a rule left out")
    options = parser.parse_args()
    tasks = tasks_of(options.camvid, options.cracks)
    log = options.work / "results.jsonl"
    for name in options.sets or tasks:
        location = written(options.work / name, tasks[name])
        for arm in options.arms or ("defaults", "planned"):
            known = {(row["set"], row["arm"], row["budget"]) for row in rows(log)}
            if (name, arm, options.budget) not in known:
                print(f"{name}, {arm}", file=sys.stderr, flush=True)
                row = measured(options.work / name, location, arm, options.budget)
                if row is not None:
                    with log.open("a") as lines:
                        lines.write(json.dumps({"set": name, "arm": arm, **row}) + "\n")
    print(table(rows(log)))


def rows(log: Path) -> list[dict[str, Any]]:
    """What has been measured."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


def table(found: Sequence[dict[str, Any]]) -> str:
    """A line a set and arm."""
    lines = ["| set | arm | val figure | steps | seconds | budget |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['set']} | {row['arm']} | {row['figure']:.3f} | {row['steps']} | {row['seconds']:.0f} "
        f"| {row['budget']:.0f} |"
        for row in sorted(found, key=lambda row: row["set"])
    ]
    return "\n".join(lines)


def tasks_of(camvid: Path, cracks: Path) -> dict[str, Task]:
    """All sets by name."""
    dataset = open_dataset(RunConfig.model_validate({"dataset": {"root": camvid}}).dataset)
    names = dataset.task.classes
    of_camvid = partial(pairs_of, dataset)
    return {
        "camvid": Task(names, of_camvid),
        "cracks": Task(("ground", "crack"), partial(crack_pairs, cracks)),
        "shapes": Task(*shapes()),
        "camvid: pole": Task(("other", "pole"), partial(one_class, of_camvid, find(names, "pole"))),
        "camvid: pedestrian": Task(("other", "pedestrian"), partial(one_class, of_camvid, find(names, "pedestrian"))),
        "camvid: 20 images": Task(names, partial(first, of_camvid, 20)),
        "camvid: 3 times as large": Task(names, partial(enlarged, partial(first, of_camvid, 100), 3)),
        "threads and discs": Task(("ground", "thread", "disc"), threads_and_discs),
    }


def find(names: Sequence[str], word: str) -> int:
    """The class whose name holds a word."""
    return next(index for index, name in enumerate(names) if word in name.lower())


def pairs_of(dataset: Dataset, split: str) -> Iterator[Pair]:
    """Images and masks of a split, ignored pixels as 255."""
    for sample in dataset.split(split):
        image, mask = sample.read()
        yield image, np.where(mask == dataset.task.ignore_index, IGNORED, mask).astype(np.uint8)


def shapes() -> tuple[tuple[str, ...], Callable[[str], Iterator[Pair]]]:
    """The embedded dataset."""
    dataset = open_dataset(RunConfig.model_validate({"dataset": {"embedded": "shapes"}}).dataset)
    return dataset.task.classes, partial(pairs_of, dataset)


def crack_pairs(folder: Path, split: str) -> Iterator[Pair]:
    """Cracks on roads; the last 20 are held out."""
    images = sorted((folder / "images").iterdir())
    for image in images[:-20] if split == "train" else images[-20:]:
        mask = cv2.imread(str(next((folder / "masks").glob(f"{image.stem}.*"))), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        yield read_image(image), (mask > 0).astype(np.uint8)


def one_class(pairs: Callable[[str], Iterator[Pair]], index: int, split: str) -> Iterator[Pair]:
    """One class against all others."""
    for image, mask in pairs(split):
        yield image, np.where(mask == IGNORED, IGNORED, mask == index).astype(np.uint8)


def first(pairs: Callable[[str], Iterator[Pair]], number: int, split: str) -> Iterator[Pair]:
    """A number of images from all over the train split; all of another one."""
    found = list(pairs(split))
    yield from found[:: max(len(found) // number, 1)][:number] if split == "train" else found


def enlarged(pairs: Callable[[str], Iterator[Pair]], factor: int, split: str) -> Iterator[Pair]:
    """Images and masks some times as large; every fourth of those to validate on."""
    for image, mask in list(pairs(split))[:: 1 if split == "train" else 4]:
        size = (factor * image.shape[1], factor * image.shape[0])
        yield (
            np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8),
            np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8),
        )


def threads_and_discs(split: str) -> Iterator[Pair]:
    """Bright threads, two pixels wide, and dull discs, on a ground of much noise with thread-like distractors."""
    rng = np.random.default_rng(0 if split == "train" else 1)
    for _ in range(60 if split == "train" else 20):
        mask = np.zeros((320, 320), np.uint8)
        image = cv2.GaussianBlur(rng.normal(110, 60, (320, 320, 3)), (0, 0), 3) + rng.normal(0, 14, (320, 320, 3))
        for _ in range(rng.integers(1, 4)):
            centre, radius = rng.integers(20, 300, 2), int(rng.integers(8, 30))
            disc = cv2.circle(np.zeros_like(mask), (int(centre[0]), int(centre[1])), radius, 1, -1) == 1
            image[disc] += (25, -20, 0)
            mask[disc] = 2
        for number in range(rng.integers(2, 5)):
            ends = rng.integers(0, 320, (4, 2)).astype(np.int32)
            thread = cv2.polylines(np.zeros_like(mask), [ends], False, 1, 2 if number else 9) == 1
            image[thread] += 45
            mask[thread] = number > 0  # the broad one is no thread
        yield image.clip(0, 255).astype(np.uint8), mask


def written(home: Path, task: Task) -> dict[str, Any]:
    """Writes a set once; gives the `dataset` section that names it."""
    location: dict[str, Any] = {"classes": list(task.classes), "ignore_index": IGNORED}
    for split in ("train", "val"):
        folders = {kind: home / split / kind for kind in ("images", "masks")}
        location |= {f"{split}_{kind}_dir": str(folder) for kind, folder in folders.items()}
        if not (home / f"{split}.whole").exists():
            for index, (image, mask) in enumerate(task.pairs(split)):
                write_image(folders["images"] / f"{index:04d}.png", image)
                write_mask(folders["masks"] / f"{index:04d}.png", mask)
            (home / f"{split}.whole").touch()
    return location


def measured(home: Path, location: dict[str, Any], arm: str, budget: float) -> dict[str, Any] | None:
    """Trains an arm; None where the plan has nothing of the rule that the arm leaves out."""
    dataset = open_dataset(RunConfig.model_validate({"dataset": location}).dataset)
    network = available_network("cpu")
    common = {
        "dataset": location, "model_name": network.architecture, "encoder": network.encoder,
        "encoder_weights": network.weights, "device": "cpu",
    }  # fmt: skip
    if len(location["classes"]) == 2:  # all arms are judged by one figure, and keep the epoch that is best by it
        common["checkpoint"] = {"best": f"val_iou/{location['classes'][1]}"}
    if arm == "defaults":
        values = cut(common, dataset, budget)
    elif arm == "recipe":
        values = cut({**load_config(RECIPE).model_dump(exclude_unset=True), **common}, dataset, budget)
    else:
        plan = make_plan(dataset, measure_figures(dataset), network, "cpu", "generic", budget, location)
        values = {**common, **plan.values()}
        if arm != "planned":
            if not left_out(values, RULES[arm]):
                return None
            values = cut(values, dataset, budget)
    name = arm.replace(" ", "_")
    shutil.rmtree(home / "runs" / name, ignore_errors=True)  # of a training that was cut off
    config = RunConfig.model_validate({**values, "output_dir": str(home / "runs")})
    path = home / f"{name}.yml"
    path.write_text(config.to_yaml())
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "segcli", "train", "-c", str(path), "--name", name, "--quiet"],
        check=True, cwd=home, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    card = json.loads((home / "runs" / name / "best" / "segcli.json").read_text())
    scores, classes = card["metrics"]["val"], location["classes"]
    with (home / "runs" / name / "results.csv").open() as file:
        steps = int(list(csv.DictReader(file))[-1]["step"])
    figure = scores["classes"][classes[1]]["iou"] if len(classes) == 2 else scores["miou"]
    return {"figure": figure, "steps": steps, "seconds": seconds, "budget": budget}


def left_out(values: dict[str, Any], keys: Sequence[str]) -> bool:
    """Takes keys out of a config's values; tells whether there was one."""
    found = False
    for key in keys:
        section, _, last = key.rpartition(".")
        place = values.get(section, {}) if section else values
        found |= place.pop(last, None) is not None
    return found


def cut(values: dict[str, Any], dataset: Dataset, budget: float) -> dict[str, Any]:
    """The values with a time that the training is to take, and what a trial says that it begins with, as in a plan."""
    speed = measure_speed(RunConfig.model_validate(values), dataset)
    pace = Pace.of(speed, len(dataset.split("train")), len(dataset.split("val")))
    length = pace.length(pace.affordable_steps(budget))
    train = {**values.get("train", {}), "epochs": length.epochs, "max_steps": length.steps, "budget": budget}
    return {**values, "train": train, "val": {**values.get("val", {}), "every_epochs": length.every}}


if __name__ == "__main__":
    main()
