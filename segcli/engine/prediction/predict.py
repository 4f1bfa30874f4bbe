"""Prediction on files: images and folders in, index masks and overlays out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segcli.engine.drawing.masks import overlay
from segcli.engine.prediction.predictor import Predictor, predict_mask
from segcli.errors import DataError, UsageError
from segcli.io.images import SUFFIXES, Mask, Pixels, find_images, read_image, write_image, write_mask
from segcli.task import Task

PRODUCTS = ("masks", "overlays")


class Found(NamedTuple):
    """An image to predict.

    Attributes:
        path: the file.
        name: where its products go below the output folder, without suffix.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Predicted:
    """An image and what was made of it.

    Attributes:
        source: the image.
        files: what was written.
        shares: each class's share (0…1) of the pixels.
    """

    source: Path
    files: tuple[Path, ...]
    shares: tuple[float, ...]


def find_sources(sources: Sequence[Path]) -> list[Found]:
    """The images that files and folders name; those of a folder keep their place below it.

    Raises:
        UsageError: if a source is missing, or two images would write the same file.
        DataError: if a folder holds no images.
    """
    found: dict[str, Found] = {}
    for source in sources:
        for item in _images_of(source):
            if item.name in found:
                raise UsageError(
                    f"{item.path} and {found[item.name].path} would both write {item.name}; predict them apart"
                )
            found[item.name] = item
    return list(found.values())


def _images_of(source: Path) -> list[Found]:
    if source.is_dir():
        paths = find_images(source)
        if not paths:
            raise DataError(f"{source} holds no images ({', '.join(sorted(SUFFIXES))})")
        return [Found(path, path.relative_to(source).with_suffix("").as_posix()) for path in paths]
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    return [Found(source, source.stem)]


def predict_files(
    predictor: Predictor, images: Sequence[Found], output: Path, products: Sequence[str] = PRODUCTS
) -> Iterator[Predicted | DataError]:
    """Predicts each image and writes what is asked for, below one folder a product.

    An image that cannot be read gives its error, and the others go on.

    Args:
        predictor: the model.
        images: what to predict.
        output: the folder to write to.
        products: of `masks` (index PNG with palette) and `overlays` (JPEG).
    """
    for item in images:
        try:
            image = read_image(item.path)
        except DataError as error:
            yield error
            continue
        mask = predict_mask(predictor, image)
        files = tuple(_write(product, output, item.name, image, mask, predictor.card.task) for product in products)
        counts = np.bincount(mask.ravel(), minlength=predictor.card.task.num_classes)
        yield Predicted(item.path, files, tuple((counts / mask.size).tolist()))


def _write(product: str, output: Path, name: str, image: Pixels, mask: Mask, task: Task) -> Path:
    if product == "masks":
        path = output / product / f"{name}.png"
        write_mask(path, mask, task.palette)
    else:
        path = output / product / f"{name}.jpg"
        write_image(path, overlay(image, mask, task))
    return path
