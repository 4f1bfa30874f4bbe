"""seg predict: whatever a model makes of images, in the formats that are asked for."""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segcli.cli import help, options, render
from segcli.errors import DataError, UsageError

if TYPE_CHECKING:
    from segcli.engine.prediction.predict import Predicted
    from segcli.engine.prediction.predictor import Predictor
    from segcli.parallel import Progress
    from segcli.task import Task

SOURCES = {
    "photo.jpg": "an image file",
    "photos/": "a folder and those below it",
    "'photos/**/*.png'": "a pattern",
    "names.txt": "a list: a path a line, from the current folder",
    "-": 'names on stdin, or lines of {"path": …, "name": …}',
    "data/voc": "a prepared dataset: its --split",
    "drive.mp4": "a video",
    "http://host/a.jpg": "an image by its URL",
    "rtsp://host/live": "a stream, also by http",
    "0": "a camera by its number",
}
"""How each kind of source is written, and what it is."""

SAVES = {
    "masks": "class indices as PNG with the palette",
    "overlays": "the mask over the image",
    "colours": "the mask in colours",
    "binary": "0/255 masks, a folder a class of --only",
    "cutouts": "the image, transparent outside --only",
    "confidence": "probability of the likeliest class, 8 bits",
    "probabilities": "of all classes, float16 .npy",
    "probabilities8": "the same in 8 bits",
    "coco": "COCO with polygons",
    "coco-rle": "COCO with run lengths",
    "labelme": "LabelMe",
    "cvat": "CVAT for images 1.1",
    "labelstudio": "Label Studio",
    "geojson": "polygons on Earth, of georeferenced images",
    "csv": "pixels of each class",
    "ndjson": "a line an image on stdout",
    "video": "overlays as MP4",
    "dataset": "a prepared dataset of pseudo-labels",
}
"""What `--save` may name, and what it is."""

EXAMPLES = help.examples(
    "seg predict --tta images/  # with the newest model, to its run's predictions/",
    "seg predict drive.mp4 -m model.onnx --save video -o out",
    "seg predict photos/ --save coco,labelme --min-confidence 0.5  # to be corrected by hand",
    "seg predict huge/ --save masks --shard 2/8 --resume -o out  # the second of eight machines",
    "seg predict - --save ndjson  # the names come on stdin",
)


def _table(title: str, rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join([title, *(f"  {name:<{width}}  {meaning}" for name, meaning in rows.items())])


_READS: dict[str, Any] = {"rich_help_panel": help.READS}
_WRITES: dict[str, Any] = {"rich_help_panel": help.WRITES}
_COMPUTES: dict[str, Any] = {"rich_help_panel": help.COMPUTES}


def predict(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE…", help=_table("What to predict:", SOURCES), **_READS)
    ],
    model: options.Model = None,
    split: options.Split = "val",
    tta: options.Tta = False,
    tta_policy: options.TtaPolicy = None,
    save: Annotated[
        str,
        typer.Option(
            "--save", metavar="A,B", help=_table("What to write: [default: masks,overlays]", SAVES), **_WRITES
        ),
    ] = "masks,overlays",
    output: options.Output = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="CLASSES",
            help="Write binary masks (and cut-outs) of these: car,truck, or car+truck as one.",
            **_WRITES,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="X",
            min=0,
            max=1,
            help="Probability from which a pixel belongs to --only. [default: the likeliest class]",
            **_WRITES,
        ),
    ] = None,
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", metavar="X", min=0, max=1, help="Ignore pixels of less.", **_WRITES)
    ] = 0.0,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="X", min=0, help="Pixels by which polygons may be off.", **_WRITES)
    ] = 0.5,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what a stopped run left.", **_WRITES)] = False,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Do the I-th of N parts, for several machines.", **_WRITES)
    ] = "1/1",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that fails.", **_WRITES)] = False,
    size: options.Size = None,
    tiles: Annotated[
        str,
        typer.Option(
            "--tiles",
            metavar="auto|whole|N|HxW",
            help="auto cuts images that memory does not hold whole into tiles, whole none, a side all.",
            **_COMPUTES,
        ),
    ] = "auto",
    overlap: Annotated[
        float,
        typer.Option(
            "--overlap", metavar="X", min=0, max=0.75, help="Share of a tile's side that neighbours share.", **_COMPUTES
        ),
    ] = 0.25,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", metavar="N", min=1, help="Images at a time. [default: what suits the device]", **_COMPUTES
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Threads that read, and that write. [default: one a core]",
            **_COMPUTES,
        ),
    ] = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    mean: options.Mean = None,
    std: options.Std = None,
) -> None:
    """Predict images, of any source and into any format."""
    with render.starting():
        from segcli.engine.prediction.sources import Reading, Shard, open_sources

    part = Shard.parse(shard)
    reading = Reading(split, sys.stdin)
    items = open_sources(sources, reading)
    path = options.find_model(model)
    with render.starting():
        load = options.load_soon(
            path, device, precision, tta, tta_policy, size, options.parse_stranger(classes, mean, std)
        )
        from segcli.engine.prediction.huge import HugeImages
        from segcli.engine.prediction.journal import output_of
        from segcli.engine.prediction.library import as_tiles_say, parse_tiles
        from segcli.engine.prediction.predict import Work, finish, predict_items
        from segcli.engine.prediction.sinks import open_sinks
        from segcli.engine.prediction.sinks.base import Plan, parse_groups
        from segcli.parallel import available_cores

    untiled = load()
    tiling, tiled = parse_tiles(tiles, overlap), as_tiles_say(untiled, tiles, overlap)
    predictor = untiled if tiles == "auto" else tiled
    task = predictor.card.task
    products = f"{save},binary" if only and not {"binary", "cutouts"} & set(save.split(",")) else save
    plan = Plan(
        output or _default_output(path),
        task,
        part.mark,
        parse_groups(only, task),
        _checked(threshold, only),
        tolerance,
        say=render.out,
    )
    sinks = open_sinks(products, plan)
    work = Work(batch_size or predictor.batch_size, workers or min(available_cores(), 8), min_confidence)
    settings = {
        "model": _digest(predictor), "--save": products, "--only": only, "--threshold": threshold,
        "--min-confidence": min_confidence, "--tolerance": tolerance, "--tta": tta_policy or tta, "--size": size,
        "--tiles": tiles, "--overlap": overlap,
        "--batch-size": work.batch_size, "precision": predictor.precision, "--shard": shard,
    }  # fmt: skip
    outcome = _Outcome()
    with output_of(plan, sinks, settings, resume) as journal:
        wanted = (item for item in items if part.holds(item))
        with render.progress() as progress:
            huge = HugeImages(untiled, tiled, tiling, progress) if tiling else None
            with closing(predict_items(predictor, wanted, sinks, work, journal, huge)) as results:
                outcome.watch(results, strict, progress, _count_later(sources, reading) if part.of == 1 else None)
        files = finish(sinks, journal)
        if journal and journal.num_before:
            render.note(f"{journal.num_before} images were done before")
    outcome.tell(task, files, "ndjson" not in sinks)


@dataclass
class _Outcome:
    """What came of the images: a few of those that were predicted, and those that failed."""

    done: int = 0
    shown: "list[Predicted]" = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def watch(
        self, results: "Iterator[Predicted | DataError]", strict: bool, progress: "Progress", total: "Any"
    ) -> None:
        """Follows the work; raises the first failure where that ends it."""
        for result in results:
            if isinstance(result, DataError):
                if strict:
                    raise result
                self.failed.append(str(result))
            else:
                self.done += 1
                if self.done <= render.MOST_ROWS:
                    self.shown.append(result)
            progress("predicting", self.done + len(self.failed), total() if total else 0)

    def tell(self, task: "Task", files: list[Path], with_files: bool) -> None:
        """Shows what was done; raises what failed."""
        if self.shown and with_files:
            rows = [(Path(item.item.origin), item.shares) for item in self.shown]
            render.shares_table(rows, task, self.done)
        if with_files:
            render.files(files)
        if self.failed:
            count = f"{len(self.failed)} of {self.done + len(self.failed)} images failed"
            raise DataError("\n".join([*self.failed, *([count] if len(self.failed) > 1 else [])]))


def _count_later(sources: list[str], reading: Any) -> Any:
    """A function that gives how many images there are, once that is known; until then 0."""
    import threading

    from segcli.engine.prediction.sources import count_sources

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(count_sources(sources, reading) or 0), daemon=True)
    thread.start()
    return lambda: found[0] if found else 0


def _checked(threshold: float | None, only: str | None) -> float | None:
    if threshold is not None and only is None:
        raise UsageError("--threshold is for the classes of --only; name them")
    return threshold


def _digest(predictor: "Predictor") -> str:
    from hashlib import sha256

    return sha256(predictor.card.to_json().encode()).hexdigest()[:12]


def _default_output(model: Path) -> Path:
    from segcli.io.rundir import output_folder

    return output_folder(model, "predictions")
