"""What is written of a prediction."""

from pathlib import Path

from segcli.engine.drawing.masks import overlay
from segcli.io.images import Mask, Pixels, write_image, write_mask
from segcli.task import Task

PRODUCTS = ("masks", "overlays")


def write_product(product: str, output: Path, name: str, image: Pixels, mask: Mask, task: Task) -> Path:
    """Writes a product of an image below one folder a product; gives the file."""
    if product == "masks":
        path = output / product / f"{name}.png"
        write_mask(path, mask, task.palette)
    else:
        path = output / product / f"{name}.jpg"
        write_image(path, overlay(image, mask, task))
    return path
