"""geojson: a file an image, with polygons in longitude and latitude; for georeferenced images."""

import json
import warnings
from functools import partial
from itertools import pairwise
from typing import Any

from segcli.engine.prediction.sinks.annotated import regions_of
from segcli.engine.prediction.sinks.base import FileEach, Plan, Prediction
from segcli.engine.prediction.sinks.outlines import Ring
from segcli.errors import DataError, UsageError


def open_sink(plan: Plan) -> FileEach:
    """geojson/NAME.geojson.

    Raises:
        UsageError: if rasterio is not installed.
    """
    try:
        import rasterio  # noqa: F401
    except ImportError:
        raise UsageError("--save geojson needs rasterio; install it with: pip install 'segcli[large]'") from None
    return FileEach(plan, "geojson", ".geojson", partial(_encode, plan))


def _encode(plan: Plan, found: Prediction) -> bytes:
    from rasterio.warp import transform_geom

    system, transform = _reference(found)
    features = []
    for label, region in regions_of(found, plan):
        rings = [_placed([*ring, ring[0]], transform) for ring in (region.outer, *region.holes)]
        geometry = transform_geom(system, "EPSG:4326", {"type": "Polygon", "coordinates": rings})
        outer, *holes = geometry["coordinates"]
        geometry["coordinates"] = [_turning(outer, left=True), *(_turning(hole, left=False) for hole in holes)]
        features.append(
            {
                "type": "Feature",
                "properties": {"class": label, "index": region.label, "pixels": region.pixels},
                "geometry": geometry,
            }
        )
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _placed(ring: Ring, transform: Any) -> Ring:
    """Points of an image in its coordinate system, by its affine map."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return [(a * x + b * y + c, d * x + e * y + f) for x, y in ring]


def _turning(ring: Ring, left: bool) -> Ring:
    """A closed ring that turns left or right, as RFC 7946 asks of outer rings and of holes."""
    twice_the_area = sum(x * below - beyond * y for (x, y), (beyond, below) in pairwise(ring))
    return ring if (twice_the_area > 0) == left else ring[::-1]


def _reference(found: Prediction) -> tuple[Any, Any]:
    """The coordinate system of an image, and what maps its pixels into it."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    problem = DataError(
        f"{found.item.origin} is not georeferenced; --save geojson writes longitude and latitude, never pixels "
        f"(coco, labelme and cvat do)"
    )
    if found.item.path is None:
        raise problem
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(found.item.path) as image:
                if image.crs is None or (image.height, image.width) != found.labels.shape:
                    raise problem
                return image.crs, image.transform
    except RasterioIOError:
        raise problem from None
