"""How fast `seg predict` is from files to files, beside what computes it alone.

python benchmarks/prediction_speed.py MODEL IMAGES [--number 300] [--save masks] [--workers N]

MODEL is a bundle, whose forward alone is the measure, or an .onnx file, whose measure is a bare ONNX Runtime session;
both get the same images decoded before the clock starts. IMAGES is a folder of images. Measured in turns, twice; the
better round counts. Stages are measured alone, one image after the other.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

from segcli.engine.prediction.journal import output_of
from segcli.engine.prediction.load import load_predictor
from segcli.engine.prediction.predict import Work, finish, predict_images, predict_items
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.sinks import open_sinks
from segcli.engine.prediction.sinks.base import Plan, Prediction
from segcli.engine.prediction.sources import Reading, open_sources
from segcli.engine.prediction.streams import Item
from segcli.parallel import available_cores

ROUNDS = 2
WARM = 3  # images before the clock starts


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("images")
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--save", default="masks")
    parser.add_argument("--workers", type=int, default=available_cores())
    given = parser.parse_args()
    predictor = load_predictor(given.model)
    items = list(islice(open_sources([given.images], Reading()), given.number))
    images = [item.read() for item in items]
    work = Work(predictor.batch_size, given.workers)
    alone = bare(given.model, predictor)
    with tempfile.TemporaryDirectory() as folder:
        for image in images[:WARM]:
            alone(image)
        rounds = [
            (
                seconds(lambda: [alone(image) for image in images]),
                end_to_end(predictor, items, given.save, work, folder),
            )
            for _ in range(ROUNDS)
        ]
        stages = in_stages(predictor, items, images, given.save, Path(folder))
    compute, whole = (min(times) / len(images) for times in zip(*rounds, strict=True))
    print(
        f"| what | ms an image | images/s |\n|---|---|---|\n| compute alone | {1e3 * compute:.1f} | {1 / compute:.2f} |"
    )
    for name, each in stages.items():
        print(f"| {name} alone, on one thread | {1000 * each:.1f} | {1 / each:.0f} |")
    print(f"| `seg predict --save {given.save}`, files to files | {1000 * whole:.1f} | {1 / whole:.2f} |")
    print(f"\n{len(images)} images, {work}; of compute alone: {compute / whole:.3f}")


def bare(model: Path, predictor: Predictor) -> Callable[[np.ndarray], object]:
    """What computes one decoded image and waits for it, with nothing around."""
    if model.suffix == ".onnx":
        import onnxruntime as ort

        session = ort.InferenceSession(model, providers=ort.get_available_providers())
        return lambda image: session.run(None, {"image": np.ascontiguousarray(image.transpose(2, 0, 1)[None])})
    import torch

    def forward(image: np.ndarray) -> None:
        predictor(image[None])
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return forward


def end_to_end(predictor: Predictor, items: list[Item], save: str, work: Work, folder: str) -> float:
    """Seconds that all images take from their files to the products."""
    plan = Plan(Path(folder) / "out", predictor.card.task)
    sinks = open_sinks(save, plan)

    def predict() -> None:
        with output_of(plan, sinks, {}, resume=False) as journal:
            for result in predict_items(predictor, items, sinks, work, journal):
                if isinstance(result, Exception):
                    raise result
            finish(sinks, journal)

    return seconds(predict)


def in_stages(
    predictor: Predictor, items: list[Item], images: list[np.ndarray], save: str, folder: Path
) -> dict[str, float]:
    """Seconds an image of each stage by itself."""
    few = min(len(items), 40)
    plan = Plan(folder / "alone", predictor.card.task)
    plan.staging.mkdir(parents=True)
    sinks = open_sinks(save, plan)
    needs = frozenset[str]().union(*(sink.needs for sink in sinks.values()))
    found: list[Prediction] = []

    def predict() -> None:
        for item, image in zip(items[:few], images, strict=False):
            arrays = predict_images(predictor, image[None], needs).on_host(plan.task.ignore_index, 0)
            found.append(Prediction(item, image, *(None if array is None else array[0] for array in arrays)))

    return {
        "reading": seconds(lambda: [item.read() for item in items[:few]]) / few,
        "predicting": seconds(predict) / few,
        "writing": seconds(lambda: [sink.write(each) for each in found for sink in sinks.values()]) / few,
    }


def seconds(run: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
