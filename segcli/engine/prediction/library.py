"""A model as a notebook uses it: `segcli.load` gives a `Segmenter`, which maps images to `Prediction`s."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.load import load_predictor
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.tiles import Tiling, with_tiles
from segcli.engine.prediction.tta import DEFAULT, find_policy, with_policy
from segcli.errors import DataError
from segcli.io.images import Mask, Pixels, read_image, upright, write_mask
from segcli.io.rundir import find_model
from segcli.task import Colour

ImageLike: TypeAlias = str | PathLike[str] | Image.Image | NDArray[Any]
"""An image: the path of a file, one of Pillow's, or an array H×W×3 (RGB) or H×W (grey) of uint8."""

_ORIENTATION = 274  # EXIF tag; 1 is upright


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one image.

    Attributes:
        labels: the class index of every pixel (H×W uint8, uint16 beyond 256 classes).
        classes: the names; the place of a name is its class index.
        palette: one RGB colour (0…255) a class.
        logits: 1×C×H×W in the array type, and on the device, of what computed them.
    """

    labels: Mask
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    logits: Logits

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """The probability of each class at every pixel (C×H×W, 0…1); computed when it is first asked for."""
        ops = operations(self.logits)
        return ops.to_numpy(ops.softmax(self.logits)[0])

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the labels as a PNG with the palette embedded.

        Raises:
            SegError: if it cannot be written.
        """
        write_mask(Path(path), self.labels, self.palette)


class Segmenter:
    """A model that maps images to predictions; safe to keep for as many as you like.

    Args:
        predictor: what computes logits.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @property
    def classes(self) -> tuple[str, ...]:
        """The names; the place of a name is its class index."""
        return self.predictor.card.task.classes

    @property
    def palette(self) -> tuple[Colour, ...]:
        """One RGB colour (0…255) a class."""
        return self.predictor.card.task.palette

    @overload  # a str is a sequence of str too, but the path of one image
    def __call__(self, images: ImageLike) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Sequence[ImageLike]) -> list[Prediction]: ...

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Prediction | list[Prediction]:
        """Predicts one image, or each of several.

        Args:
            images: an image; a sequence of them, of any sizes; or an array N×H×W×3 of them.

        Returns:
            Its prediction; of several images a list of them, in their order.

        Raises:
            DataError: if an image cannot be read, or an array is none of 8 bits.
        """
        if isinstance(images, str | PathLike | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
            return self._predict([_pixels(images)])[0]
        return [prediction for batch in self._batches(images) for prediction in self._predict(batch)]

    def _batches(self, images: Iterable[ImageLike]) -> Iterator[list[Pixels]]:
        """Neighbours of equal size, as many as the predictor computes well together."""
        batch: list[Pixels] = []
        for image in images:
            pixels = _pixels(image)
            if batch and (len(batch) == self.predictor.batch_size or batch[0].shape != pixels.shape):
                yield batch
                batch = []
            batch.append(pixels)
        if batch:
            yield batch

    def _predict(self, batch: list[Pixels]) -> list[Prediction]:
        logits = self.predictor(np.stack(batch))
        ops = operations(logits)
        labels = ops.to_numpy(ops.labels(logits))
        return [
            Prediction(found, self.classes, self.palette, logits[place : place + 1])
            for place, found in enumerate(labels)
        ]


def load(
    model: str | PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    size: int | tuple[int, int] | None = None,
    tta: bool | str = False,
    tiles: str = "auto",
    overlap: float = 0.25,
) -> Segmenter:
    """Loads a model.

    Args:
        model: a run, a bundle or an exported file; None takes the best bundle of the newest run below `runs/`.
        device: where a bundle computes: auto, cpu, cuda or mps.
        precision: in which number format: auto (the model's own, where the device has it), fp32, bf16 or fp16.
        size: the short side, or (height, width) to fit in, instead of the model's own.
        tta: average over views of each image: True takes the model's policy, else a flip; or the name of a policy.
        tiles: `whole`, `auto` (in tiles what fits into memory no other way), or the side of a tile such as `512` or
            `384x512` (height and width).
        overlap: the share of a tile's side that neighbours have in common.

    Raises:
        ModelError: if the model is missing or damaged.
        UsageError: if an argument names what is not to be had.
    """
    predictor = load_predictor(find_model(None if model is None else Path(model)), device, size, precision)
    if tta:
        predictor = with_policy(predictor, find_policy(tta if isinstance(tta, str) else predictor.card.tta or DEFAULT))
    return Segmenter(as_tiles_say(predictor, tiles, overlap))


def as_tiles_say(predictor: Predictor, tiles: str = "auto", overlap: float = 0.25) -> Predictor:
    """The predictor as `--tiles auto|whole|N|HxW` asks for it.

    Raises:
        UsageError: if it asks for none of them, or for tiles that are too small.
    """
    tiling = parse_tiles(tiles, overlap)
    return predictor if tiling is None else with_tiles(predictor, tiling, always=tiles != "auto")


def parse_tiles(tiles: str, overlap: float) -> Tiling | None:
    """The tiles that `auto`, `whole`, `N` or `HxW` asks for; None for `whole`; raises as `as_tiles_say` does."""
    if tiles == "whole":
        return None
    return Tiling(overlap=overlap) if tiles == "auto" else Tiling.parse(tiles, overlap)


def _pixels(image: ImageLike) -> Pixels:
    """An image as H×W×3 uint8 RGB."""
    if isinstance(image, str | PathLike):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        pixels = np.asarray(image.convert("RGB"))
        return np.ascontiguousarray(upright(pixels, image.getexif().get(_ORIENTATION, 1)))
    if image.dtype != np.uint8 or image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise DataError(
            f"an array {'×'.join(map(str, image.shape))} of {image.dtype} is no image; give H×W×3 uint8 with RGB of "
            f"0…255, H×W for grey, or N×H×W×3 for several"
        )
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
