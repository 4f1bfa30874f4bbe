"""Images in a long prediction that memory does not hold: read by window, and their masks written in bands."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segcli.engine.prediction.large import predict_bands
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.sinks.base import FileEach, Sink
from segcli.engine.prediction.streams import Item
from segcli.engine.prediction.tiles import Tiling, fits_in_tiles
from segcli.errors import DataError, FileProblem, UsageError
from segcli.io.images import Mask, Pixels, count_pixels
from segcli.io.windows import Bands, mask_file, open_windows
from segcli.parallel import Progress, silent

_MASKS, _CONFIDENCE = "masks", "confidence"


@dataclass(frozen=True)
class Huge:
    """Stands for the pixels of an image that memory does not hold.

    Attributes:
        path: the file.
    """

    path: Path


@dataclass(frozen=True)
class HugeImages:
    """How images that memory does not hold are told from others, and predicted.

    Attributes:
        predictor: the model, without tiles.
        tiled: the model with tiles, for images that fit in tiles.
        tiling: the tiles.
        progress: told of the rows of an image that are written.
    """

    predictor: Predictor
    tiled: Predictor
    tiling: Tiling
    progress: Progress = silent

    def read(self, item: Item) -> Pixels | Huge:
        """Reads an image, unless neither its pixels nor what the model makes of them in tiles would fit.

        Raises:
            DataError: if it cannot be used.
        """
        pixels = 0 if item.path is None else count_pixels(item.path)
        if item.path is not None and not fits_in_tiles(self.predictor, pixels):
            return Huge(item.path)
        try:
            return item.read()
        except FileProblem as problem:
            if item.path is None or problem.kind != "too-large":
                raise
            return Huge(item.path)  # for Pillow; a TIFF file is read by window

    def write(self, huge: Huge, name: str, sinks: Mapping[str, Sink], min_confidence: float) -> NDArray[np.float64]:
        """Predicts an image, and writes its mask and confidence as they come.

        Args:
            huge: the image.
            name: of its products.
            sinks: `masks`, `confidence` or both.
            min_confidence: pixels whose likeliest class has a smaller probability get the ignore value.

        Returns:
            Each class's share (0…1) of the pixels.

        Raises:
            DataError: if the image cannot be used, or another product is asked for.
            SegError: if a file cannot be written.
        """
        try:
            return self._write(huge, name, sinks, min_confidence)
        except UsageError as error:  # of one image, what it is read by is not installed
            raise DataError(str(error)) from None

    def _write(self, huge: Huge, name: str, sinks: Mapping[str, Sink], min_confidence: float) -> NDArray[np.float64]:
        task = self.predictor.card.task
        with ExitStack() as stack:
            image = stack.enter_context(open_windows(huge.path))
            _refuse_others(huge.path, image.size, sinks)
            files: dict[str, Bands] = {}
            for kind, sink in sinks.items():
                assert isinstance(sink, FileEach)
                palette = task.palette if kind == _MASKS else ()
                deep = kind == _MASKS and max(task.num_classes - 1, task.ignore_index) > 255
                (path,) = sink.files(name)
                writing = mask_file(path, image.size, palette, deep, staging=sink.plan.staging)
                files[kind] = stack.enter_context(writing)
            labels = _Counted(files.get(_MASKS), task.num_classes)
            bands = predict_bands(self.predictor, image, self.tiling, labels, files.get(_CONFIDENCE), min_confidence)
            for share in bands:
                self.progress("rows of the image", round(share * image.size[0]), image.size[0])
        return labels.pixels / (image.size[0] * image.size[1])


def _refuse_others(path: Path, size: tuple[int, int], sinks: Mapping[str, Sink]) -> None:
    others = [name for name in sinks if name not in {_MASKS, _CONFIDENCE}]
    if others:
        raise DataError(
            f"{path} has {size[0]}×{size[1]} pixels, too many for memory; of such images masks and confidence can be "
            f"written, and not {', '.join(others)}: --save masks,confidence"
        )


class _Counted:
    """Labels on their way to a file (none, where nobody asked for one), counted by class."""

    def __init__(self, file: Bands | None, num_classes: int) -> None:
        self.file = file
        self.pixels = np.zeros(num_classes, np.int64)

    def write(self, rows: Mask) -> None:
        self.pixels += np.bincount(rows.ravel(), minlength=len(self.pixels))[: len(self.pixels)]
        if self.file is not None:
            self.file.write(rows)
