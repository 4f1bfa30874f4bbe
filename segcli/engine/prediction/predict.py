"""Prediction on files: images and folders in, index masks and overlays out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcli.engine.prediction.predictor import Predictor, predict_mask
from segcli.engine.prediction.sinks import PRODUCTS, write_product
from segcli.engine.prediction.sources import Found
from segcli.errors import DataError
from segcli.io.images import read_image


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
        files = tuple(
            write_product(product, output, item.name, image, mask, predictor.card.task) for product in products
        )
        counts = np.bincount(mask.ravel(), minlength=predictor.card.task.num_classes)
        yield Predicted(item.path, files, tuple((counts / mask.size).tolist()))
