"""labelstudio: one file of tasks for Label Studio, with polygons as predictions."""

import json
from collections.abc import Iterator
from functools import partial

from segcli.engine.prediction.sinks.annotated import listed, regions_of
from segcli.engine.prediction.sinks.base import OneOfAll, Plan, Prediction, Record, Records


def open_sink(plan: Plan) -> OneOfAll:
    """labelstudio.json; a labelling config with `<PolygonLabels name="label" toName="image">` shows it."""
    return OneOfAll(plan, f"labelstudio{plan.mark}.json", partial(_record, plan), _lines)


def _record(plan: Plan, found: Prediction) -> Record:
    height, width = found.labels.shape
    results = [
        {
            "id": str(number),
            "type": "polygonlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "points": [[100 * x / width, 100 * y / height] for x, y in region.joined()],  # percent
                "closed": True,
                "polygonlabels": [label],
            },
        }
        for number, (label, region) in enumerate(regions_of(found, plan), 1)
    ]
    prediction = {"model_version": plan.model, "result": results}
    return {"data": {"image": found.item.file_name}, "predictions": [prediction]}


def _lines(records: Records) -> Iterator[str]:
    return listed(map(json.dumps, records()), "[", "\n]\n")
