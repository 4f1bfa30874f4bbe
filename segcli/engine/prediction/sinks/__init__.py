"""What is written of a prediction: one file a product, all of them listed here."""

from collections.abc import Callable
from dataclasses import dataclass

from segcli.engine.prediction.sinks import (
    areas,
    binary,
    coco,
    colours,
    confidence,
    cutouts,
    cvat,
    dataset,
    geojson,
    labelme,
    labelstudio,
    masks,
    ndjson,
    overlays,
    probabilities,
    video,
)
from segcli.engine.prediction.sinks.base import Plan, Sink
from segcli.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Product:
    """A product.

    Attributes:
        name: as `--save` takes it.
        open: makes what writes it.
    """

    name: str
    open: Callable[[Plan], Sink]


PRODUCTS = (
    Product("masks", masks.open_sink),
    Product("overlays", overlays.open_sink),
    Product("colours", colours.open_sink),
    Product("binary", binary.open_sink),
    Product("cutouts", cutouts.open_sink),
    Product("confidence", confidence.open_sink),
    Product("probabilities", probabilities.open_sink),
    Product("probabilities8", probabilities.open_eight_bits),
    Product("coco", coco.open_polygons),
    Product("coco-rle", coco.open_runs),
    Product("labelme", labelme.open_sink),
    Product("cvat", cvat.open_sink),
    Product("labelstudio", labelstudio.open_sink),
    Product("geojson", geojson.open_sink),
    Product("csv", areas.open_sink),
    Product("ndjson", ndjson.open_sink),
    Product("video", video.open_sink),
    Product("dataset", dataset.open_sink),
)


def open_sinks(names: str, plan: Plan) -> dict[str, Sink]:
    """The sinks that `masks,overlays` names.

    Raises:
        UsageError: if there is no such product, or what it needs is not installed.
    """
    known = {product.name: product for product in PRODUCTS}
    for name in names.split(","):
        if name not in known:
            raise UsageError(f"--save {names}: unknown product {name!r}; {did_you_mean(name, known)}")
    return {name: known[name].open(plan) for name in dict.fromkeys(names.split(","))}
