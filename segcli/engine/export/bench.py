"""What bundles and exported files cost and give on this machine: each is measured in a process of its own."""

import multiprocessing
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from segcli.engine.prediction.predictor import Predictor
from segcli.errors import SegError, UsageError
from segcli.io.images import Pixels
from segcli.parallel import Progress, available_cores, silent

DEFAULT_SIZE = (512, 512)
_LIBRARIES = ("segcli", "torch", "onnxruntime", "openvino", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Plan:
    """What is measured of every model.

    Attributes:
        batches: the numbers of images at a time.
        threads: the numbers of threads; a process is bound to as many cores, and its runtime starts one on each.
        warm_up: predictions before the first that counts, for each batch.
        repeats: predictions that count, for each batch.
        image_size: height and width of the images; None is that of the data's first one, else 512×512.
        data: the dataset whose mIoU is measured; None leaves it out.
        split: the split of it.
        device: where bundles compute.
        precision: in which number format bundles compute.
    """

    batches: tuple[int, ...] = (1, 4)
    threads: tuple[int, ...] = (1,)
    warm_up: int = 3
    repeats: int = 20
    image_size: tuple[int, int] | None = None
    data: Path | None = None
    split: str = "val"
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class Timing:
    """How long predictions took, from images in memory to masks in memory.

    Attributes:
        batch: images at a time.
        seconds: of each prediction.
    """

    batch: int
    seconds: tuple[float, ...]

    def latency(self, percent: float) -> float:
        """A percentile of the seconds, interpolated linearly."""
        return float(np.percentile(self.seconds, percent))

    @property
    def spread(self) -> float:
        """The quartiles' distance as a share of the median."""
        return (self.latency(75) - self.latency(25)) / self.latency(50)

    @property
    def images_per_second(self) -> float:
        """Images over the time of all predictions."""
        return self.batch * len(self.seconds) / sum(self.seconds)

    def to_json(self) -> dict[str, Any]:
        """All figures as plain JSON values."""
        return {
            "batch": self.batch, "p50_seconds": self.latency(50), "p95_seconds": self.latency(95),
            "spread": self.spread, "images_per_second": self.images_per_second, "seconds": list(self.seconds),
        }  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What a model costs and gives with a number of threads.

    Attributes:
        model: the bundle or file.
        threads: how many.
        precision: the number format that it computes in.
        num_bytes: of the file, or of all files of the folder.
        load_seconds: to import its runtime and to open it.
        peak_memory: bytes that the process held at most, before the mIoU was measured.
        image_size: height and width of the images.
        timings: one a batch.
        miou: on the data; None where there is none.
    """

    model: Path
    threads: int
    precision: str
    num_bytes: int
    load_seconds: float
    peak_memory: int
    image_size: tuple[int, int]
    timings: tuple[Timing, ...]
    miou: float | None = None

    def to_json(self) -> dict[str, Any]:
        """All figures as plain JSON values."""
        return {
            "model": str(self.model), "threads": self.threads, "precision": self.precision, "bytes": self.num_bytes,
            "load_seconds": self.load_seconds, "peak_memory_bytes": self.peak_memory,
            "image_size": list(self.image_size), "miou": self.miou,
            "timings": [timing.to_json() for timing in self.timings],
        }  # fmt: skip


def bench(models: Sequence[Path], plan: Plan, progress: Progress = silent) -> Iterator[Measured | SegError]:
    """Measures models one after the other, with each number of threads; the mIoU with the last number only.

    A model that cannot be measured gives its error, and the others go on.

    Args:
        models: bundles and exported files.
        plan: what is measured.
        progress: told of the predictions and of the images of the evaluation.

    Raises:
        UsageError: if this process may not use as many cores as there shall be threads.
    """
    cores = available_cores()
    if max(plan.threads) > cores:
        raise UsageError(f"{max(plan.threads)} threads are more than the {cores} cores that this process may use")
    if min(plan.threads) < cores and not hasattr(os, "sched_setaffinity"):
        raise UsageError("this system cannot bind a process to fewer cores; measure with all of them")
    for model in models:
        for threads in plan.threads:
            last = threads == plan.threads[-1]
            try:
                found = _in_own_process(model, threads, plan if last else replace(plan, data=None), progress)
            except SegError as error:
                yield error
                break
            yield found


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, cores, system, versions."""
    return {
        "processor": _processor(), "cores": available_cores(), "system": platform.platform(),
        "python": platform.python_version(), "versions": dict(_versions()),
    }  # fmt: skip


def _in_own_process(model: Path, threads: int, plan: Plan, progress: Progress) -> Measured:
    """Starts a process that measures, passes on its progress, and gives what it found."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_and_send, args=(sender, model, threads, plan), daemon=True)
    process.start()
    sender.close()
    try:
        while True:
            message = receiver.recv()
            if isinstance(message, Measured):
                return message
            if isinstance(message, SegError):
                raise message
            progress(*message)
    except EOFError:
        process.join()
        raise SegError(
            f"{model}: the process that measured it ended with {process.exitcode}; a negative code is a signal, and "
            f"-9 mostly a want of memory"
        ) from None
    finally:
        process.kill()
        process.join()


def _measure_and_send(sender: Connection, model: Path, threads: int, plan: Plan) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the main process ends this one
    if threads < available_cores():
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        sender.send(measure(model, threads, plan, lambda what, done, total: sender.send((what, done, total))))
    except SegError as error:
        sender.send(error)


def measure(model: Path, threads: int, plan: Plan, progress: Progress = silent) -> Measured:
    """Measures a model in this process, which should have done nothing else.

    Args:
        model: a bundle or an exported file.
        threads: with how many; that they are so many is up to the caller.
        plan: what is measured.
        progress: told of the predictions and of the images of the evaluation.
    """
    start = time.perf_counter()
    predictor = _load(model, plan)
    load_seconds = time.perf_counter() - start
    samples = None
    if plan.data is not None:
        from segcli.datasets.open import open_for_model

        samples = open_for_model(predictor.card, plan.data).split(plan.split)
    image = _image(plan.image_size, None if samples is None else samples[0].image())
    timings = tuple(_time(predictor, image, batch, plan, f"{model.name}, batch {batch}", progress)
                    for batch in plan.batches)  # fmt: skip
    memory, miou = _peak_memory(), None
    if samples is not None:
        from segcli.engine.evaluation.evaluate import evaluate

        miou = evaluate(predictor, samples, progress=progress).scores.miou
    height, width = image.shape[:2]
    return Measured(
        model, threads, predictor.precision, _num_bytes(model), load_seconds, memory, (height, width), timings, miou
    )


def _load(model: Path, plan: Plan) -> Predictor:
    from segcli.engine.prediction.load import load_predictor

    if model.is_dir():
        return load_predictor(model, plan.device, precision=plan.precision)
    return load_predictor(model)


def _image(size: tuple[int, int] | None, first: Pixels | None) -> Pixels:
    """The image that is predicted again and again; noise where there is no data, since its content takes no time."""
    if first is None:
        return np.random.default_rng(0).integers(0, 256, (*(size or DEFAULT_SIZE), 3), np.uint8)
    if size is None:
        return first
    from segcli.engine.prediction.resizing import resize_images

    resized: Pixels = resize_images(first[None], size)[0]
    return resized


def _time(predictor: Predictor, image: Pixels, batch: int, plan: Plan, what: str, progress: Progress) -> Timing:
    from segcli.engine.arrays import operations

    images, seconds, total = np.repeat(image[None], batch, axis=0), [], plan.warm_up + plan.repeats
    for done in range(1, total + 1):
        start = time.perf_counter()
        logits = predictor(images)
        ops = operations(logits)
        ops.to_numpy(ops.labels(logits))
        seconds.append(time.perf_counter() - start)
        progress(what, done, total)
    return Timing(batch, tuple(seconds[plan.warm_up :]))


def _num_bytes(model: Path) -> int:
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(file.stat().st_size for file in files if file.is_file())


def _peak_memory() -> int:
    """Bytes that this process held at most.

    Linux counts in `ru_maxrss` what the process held that started this one, and so its own table is read there.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for library in _LIBRARIES:
        try:
            yield library, version(library)
        except PackageNotFoundError:
            continue
