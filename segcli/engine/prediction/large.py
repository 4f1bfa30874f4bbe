"""Prediction on images of any size: windows in, bands of labels out, and never more than a few tiles in memory.

with open_windows(path) as image, mask_file(target, image.size, task.palette) as mask:
    for share in predict_bands(predictor, image, tiling, mask):
        ...
"""

from collections.abc import Iterable, Iterator

import numpy as np

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import Resizing
from segcli.engine.prediction.tiles import Piece, Tiling, blended
from segcli.io.images import Mask
from segcli.io.windows import Bands, Windows

_BAND = 64 << 20  # bytes of the logits that are resized at a time


def predict_bands(
    predictor: Predictor,
    image: Windows,
    tiling: Tiling,
    labels: Bands,
    confidence: Bands | None = None,
    min_confidence: float = 0.0,
) -> Iterator[float]:
    """Predicts an image, and writes each band of labels as soon as no tile can change it any more.

    A model that wants images of a size is shown the whole image at that size, and its logits are resized band by band.

    Args:
        predictor: the model, without tiles; it may average views.
        image: what is predicted.
        tiling: the tiles; not used for a model that wants images of a size.
        labels: takes the class indices (uint8, uint16 beyond 256 classes).
        confidence: takes the largest probability, 0…255 for 0…1.
        min_confidence: pixels whose largest probability is below it get the ignore value.

    Yields:
        The share (0…1) of the image that is written, after each band.
    """
    height, width = image.size
    if isinstance(predictor, Resizing) and predictor.inference.size is not None:
        pieces = _resized(predictor, image)
    else:
        inner = predictor.inner if isinstance(predictor, Resizing) else predictor
        pieces = blended(
            inner,
            lambda row, column: image.read((row.start, row.stop), (column.start, column.stop)),
            tiling.rows(height),
            tiling.columns(width),
        )
    wants_confidence = confidence is not None or min_confidence > 0
    for top, found, sure in _bands(pieces, width, wants_confidence):
        if sure is not None and min_confidence > 0:
            found[sure < 255 * min_confidence] = predictor.card.task.ignore_index
        labels.write(found)
        if confidence is not None and sure is not None:
            confidence.write(sure)
        yield (top + len(found)) / height


def _bands(pieces: Iterable[Piece], width: int, wants_confidence: bool) -> Iterator[tuple[int, Mask, Mask | None]]:
    """Labels and confidence of bands as wide as the image, from pieces that come from left to right."""
    found: Mask | None = None
    sure: Mask | None = None
    for top, left, logits in pieces:
        ops, (_, _, down, right) = operations(logits), logits.shape
        part = ops.to_numpy(ops.labels(logits)[0])
        if found is None:
            found = np.empty((down, width), part.dtype)
            sure = np.empty((down, width), np.uint8) if wants_confidence else None
        found[:, left : left + right] = part
        if sure is not None:
            sure[:, left : left + right] = ops.to_numpy(ops.confidence(logits)[0])
        if left + right == width:
            yield top, found, sure
            found = None


def _resized(predictor: Resizing, image: Windows) -> Iterator[Piece]:
    """The logits of the whole image at the size that the model wants, resized band by band."""
    height, width = image.size
    seen = image.shrunk(predictor.inference.network_size(height, width))
    logits = predictor.inner(seen[None])
    step = max(_BAND // (4 * logits.shape[1] * width), 1)
    for top in range(0, height, step):
        rows = np.arange(top, min(top + step, height))
        yield Piece(top, 0, _rows_of(logits, rows, (height, width)))


def _rows_of(logits: Logits, rows: Mask, size: tuple[int, int]) -> Logits:
    """Some rows of what logits (1×C×h×w) are when resized bilinearly to a height and width."""
    ops = operations(logits)
    places = np.clip((rows + 0.5) * (logits.shape[2] / size[0]) - 0.5, 0, logits.shape[2] - 1)
    above = places.astype(np.int64)
    below = np.minimum(above + 1, logits.shape[2] - 1)
    share = ops.beside((places - above).astype(np.float32)[:, None], logits)
    first, last = int(above[0]), int(below[-1]) + 1
    part = logits[:, :, first:last]
    upper, lower = (part[:, :, ops.beside(index - first, logits)] for index in (above, below))
    return ops.resize(upper * (1 - share) + lower * share, (len(rows), size[1]))
