"""labelme: a JSON file an image, with polygons."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from segcli.engine.prediction.sinks.annotated import regions_of
from segcli.engine.prediction.sinks.base import FileEach, Plan, Prediction

_VERSION = "5.5.0"  # of LabelMe, whose format it is


def open_sink(plan: Plan) -> FileEach:
    """labelme/NAME.json, which names its image by the way there."""
    folder = plan.output / "labelme"
    return FileEach(plan, "labelme", ".json", partial(_encode, plan, folder))


def _encode(plan: Plan, folder: Path, found: Prediction) -> bytes:
    item, (height, width) = found.item, found.labels.shape
    place = (folder / item.name).parent
    image = item.file_name if item.path is None else Path(os.path.relpath(item.path, place)).as_posix()
    shapes: list[dict[str, Any]] = [
        {"label": label, "points": region.joined(), "group_id": None, "shape_type": "polygon", "flags": {}}
        for label, region in regions_of(found, plan, with_ignored=True)
    ]
    document = {
        "version": _VERSION, "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None,
        "imageHeight": height, "imageWidth": width,
    }  # fmt: skip
    return json.dumps(document).encode()
