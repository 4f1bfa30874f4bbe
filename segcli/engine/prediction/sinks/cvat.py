"""cvat: one file of "CVAT for images 1.1", with polygons."""

from collections.abc import Iterator
from functools import partial

from segcli.engine.prediction.sinks.annotated import IGNORED, is_object, regions_of
from segcli.engine.prediction.sinks.base import OneOfAll, Plan, Prediction, Record, Records


def open_sink(plan: Plan) -> OneOfAll:
    """cvat/annotations.xml, as CVAT calls it."""
    return OneOfAll(plan, f"cvat/annotations{plan.mark}.xml", partial(_record, plan), partial(_lines, plan))


def _record(plan: Plan, found: Prediction) -> Record:
    height, width = found.labels.shape
    polygons = [
        [label, ";".join(f"{x:g},{y:g}" for x, y in region.joined())]
        for label, region in regions_of(found, plan, with_ignored=True)
    ]
    return {"name": found.item.file_name, "height": height, "width": width, "polygons": polygons}


def _lines(plan: Plan, records: Records) -> Iterator[str]:
    from xml.sax.saxutils import escape, quoteattr  # brings HTTP and SSL with it, a tenth of the start of a prediction

    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task><labels>\n'
    names = [(name, colour) for name, colour in zip(plan.task.classes, plan.task.palette, strict=True)]
    for name, (red, green, blue) in [*((n, c) for n, c in names if is_object(n)), (IGNORED, (224, 224, 192))]:
        colour = f"#{red:02x}{green:02x}{blue:02x}"
        yield f"<label><name>{escape(name)}</name><color>{colour}</color><type>polygon</type></label>\n"
    yield "</labels></task></meta>\n"
    for number, record in enumerate(records()):
        size = f'width="{record["width"]}" height="{record["height"]}"'
        yield f'<image id="{number}" name={quoteattr(record["name"])} {size}>\n'
        for label, points in record["polygons"]:
            yield (
                f'<polygon label={quoteattr(label)} source="auto" occluded="0" points="{points}" z_order="0">'
                "</polygon>\n"
            )
        yield "</image>\n"
    yield "</annotations>\n"
