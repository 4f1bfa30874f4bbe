"""How much of a model's own speed is left when images are read and masks are written: `seg predict` beside the model.

    python benchmarks/prediction_speed.py data/camvid/images/train -m model.onnx -m runs/camvid/best -n 300

For each model, in turns: the model alone on images that are decoded and of its size already (for an ONNX file, ONNX
Runtime's own session, one image a call; for a bundle, the network's batches, as many side by side as suits it), and all
of `seg predict --save masks`. Then each other stage alone. A session that has computed goes on spinning beside others,
so give one model a process where it counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from segcli.engine.arrays import operations
from segcli.engine.prediction.journal import output_of
from segcli.engine.prediction.load import load_predictor
from segcli.engine.prediction.predict import Predicted, Work, finish, predict_items
from segcli.engine.prediction.predictor import Predictor, each_batch
from segcli.engine.prediction.resizing import Resizing, resize_images
from segcli.engine.prediction.sinks import open_sinks
from segcli.engine.prediction.sinks.base import Plan
from segcli.engine.prediction.sources import Reading, open_sources
from segcli.io.images import Pixels, encode_mask, find_images, read_image
from segcli.parallel import available_cores

Images = Sequence[tuple[Path, Pixels]]
Arrays = Sequence[Pixels]
"""Batches of one image, 1×H×W×3."""


def main() -> None:
    """Prints a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder of images of one size")
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    paths = find_images(given.images)[: given.n]
    images = [(path, read_image(path)) for path in paths]
    height, width = images[0][1].shape[:2]
    print(f"{len(images)} images of {width}×{height}, {available_cores()} cores")
    for model in given.model:
        measure(model, images, given.rounds)


def measure(model: Path, images: Images, rounds: int) -> None:
    """Measures a model beside what is made of it, in turns; of each the fastest round counts."""
    predictor = load_predictor(model)
    size = predictor.card.inference.network_size(*images[0][1].shape[:2])
    shown = [resize_images(image[None], size) for _, image in images]
    alone = bare_onnx(model) if model.suffix == ".onnx" else forward(predictor)
    stages = {"model alone": lambda: alone(shown), "seg predict": lambda: predict(predictor, images)}
    alone(shown[:4])
    predict(predictor, images[:4])
    seconds: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            seconds[name].append(timed(stage))
    best = {name: min(values) for name, values in seconds.items()} | other_stages(predictor, images, size)
    print(f"\n{model} ({predictor.precision}, sees {size[1]}×{size[0]})")
    for name, value in best.items():
        print(f"  {name:<12} {1000 * value / len(images):8.2f} ms an image")
    print(f"  seg predict has {best['model alone'] / best['seg predict']:.3f} of the model's speed", flush=True)


def other_stages(predictor: Predictor, images: Images, size: tuple[int, int]) -> dict[str, float]:
    """Seconds of each other stage, one after the other in one thread."""
    logits = predictor(images[0][1][None])
    ops = operations(logits)
    mask = ops.to_numpy(ops.labels(logits))[0]
    small = ops.resize(logits, size)
    with tempfile.TemporaryDirectory() as folder:

        def write(place: int) -> None:
            content = encode_mask(mask, predictor.card.task.palette)
            (Path(folder) / f"{place}.png").write_bytes(content)

        return {
            "reading": timed(lambda: [read_image(path) for path, _ in images]),
            "resizing": timed(lambda: [resize_images(image[None], size) for _, image in images]),
            "and back": timed(lambda: [ops.resize(small, mask.shape) for _ in images]),
            "labels": timed(lambda: [ops.to_numpy(ops.labels(logits)) for _ in images]),
            "writing": timed(lambda: [write(place) for place in range(len(images))]),
        }


def bare_onnx(model: Path) -> Callable[[Arrays], None]:
    """ONNX Runtime's session as its own documentation shows it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (argument,) = session.get_inputs()

    def run(arrays: Arrays) -> None:
        for array in arrays:
            session.run(None, {argument.name: array.transpose(0, 3, 1, 2)})

    return run


def forward(predictor: Predictor) -> Callable[[Arrays], None]:
    """The network's own batches, as many side by side as suits it, each waited for."""
    network = predictor.inner if isinstance(predictor, Resizing) else predictor

    def run(arrays: Arrays) -> None:
        starts = range(0, len(arrays), network.batch_size)
        batches = ((None, np.concatenate(arrays[start : start + network.batch_size])) for start in starts)
        for _, logits in each_batch(network, batches):
            operations(logits).to_numpy(logits[:, 0, 0, 0])

    return run


def predict(predictor: Predictor, images: Images) -> None:
    """All that `seg predict --save masks` does."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(Path(folder), predictor.card.task)
        sinks = open_sinks("masks", plan)
        work = Work(predictor.batch_size, min(available_cores(), 8))
        with output_of(plan, sinks, {}, False) as journal:
            items = open_sources([str(path) for path, _ in images], Reading())
            done = sum(
                isinstance(result, Predicted) for result in predict_items(predictor, items, sinks, work, journal)
            )
            finish(sinks, journal)
        if done != len(images):
            raise SystemExit(f"{len(images) - done} images failed")


def timed(stage: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    stage()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
