"""coco: one file of COCO instances, as polygons or as run lengths.

Run lengths hold every pixel; polygons are what one edits. Pixels that are ignored are not annotated.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from segcli.engine.prediction.sinks.annotated import flat, is_object, listed, regions_of
from segcli.engine.prediction.sinks.base import OneOfAll, Plan, Prediction, Record, Records


def open_polygons(plan: Plan) -> OneOfAll:
    """coco.json: an annotation a region, its holes joined to its outline by seams."""
    return OneOfAll(plan, f"coco{plan.mark}.json", partial(_polygons, plan), partial(_lines, plan))


def open_runs(plan: Plan) -> OneOfAll:
    """coco-rle.json: an annotation a class and image, exact to the pixel."""
    return OneOfAll(plan, f"coco-rle{plan.mark}.json", partial(_runs, plan), partial(_lines, plan))


def _polygons(plan: Plan, found: Prediction) -> Record:
    annotations = []
    for label, region in regions_of(found, plan):
        annotations.append(
            {
                "category_id": plan.task.classes.index(label) + 1,
                "segmentation": [flat(region.joined())],
                "area": region.pixels,
                "bbox": list(region.box),
                "iscrowd": 0,
            }
        )
    return _image(found, annotations)


def _runs(plan: Plan, found: Prediction) -> Record:
    from pycocotools import mask as coco

    annotations = []
    for index, label in enumerate(plan.task.classes):
        bits = np.asfortranarray(found.labels == index, np.uint8)
        if index == plan.task.ignore_index or not is_object(label) or not bits.any():
            continue
        runs = coco.encode(bits)
        annotations.append(
            {
                "category_id": index + 1,
                "segmentation": {"size": list(found.labels.shape), "counts": runs["counts"].decode()},
                "area": int(bits.sum()),
                "bbox": coco.toBbox(runs).tolist(),
                "iscrowd": 0,
            }
        )
    return _image(found, annotations)


def _image(found: Prediction, annotations: list[dict[str, Any]]) -> Record:
    height, width = found.labels.shape
    return {"file_name": found.item.file_name, "height": height, "width": width, "annotations": annotations}


def _lines(plan: Plan, records: Records) -> Iterator[str]:
    categories = [
        {"id": index + 1, "name": name, "supercategory": ""}
        for index, name in enumerate(plan.task.classes)
        if is_object(name)
    ]
    yield f'{{"info": {json.dumps({"description": plan.model})},\n"categories": {json.dumps(categories)},\n'
    yield from listed(map(json.dumps, _images(records)), '"images": [', "],\n")
    yield from listed(map(json.dumps, _annotations(records)), '"annotations": [', "]}\n")


def _images(records: Records) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(records(), 1):
        yield {"id": number, **{key: record[key] for key in ("file_name", "height", "width")}}


def _annotations(records: Records) -> Iterator[dict[str, Any]]:
    number = 0
    for image, record in enumerate(records(), 1):
        for annotation in record["annotations"]:
            number += 1
            yield {"id": number, "image_id": image, **annotation}
