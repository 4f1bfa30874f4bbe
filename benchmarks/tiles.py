"""Tiles beside the whole image: mIoU, and whether labels change more often along the tiles' borders than elsewhere.

    OMP_NUM_THREADS=1 python benchmarks/tiles.py RUN data/camvid --tile 512 --tile 256

Images from all over the val split are enlarged (2 times: `--factor`) and computed whole and in tiles by the bundle's
network, both at that size. A border is where a tile begins or ends to count. There the share of neighbouring pixels
whose labels differ is set beside that of the eight places around it (4 … 16 pixels off, so that both see the same
scene); the whole image, which knows no tiles, shows what chance makes of the same places. ± is the standard error over
images.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segcli.datasets.open import open_for_model
from segcli.engine.arrays import operations
from segcli.engine.evaluation.scores import Scores
from segcli.engine.prediction.load import load_predictor
from segcli.engine.prediction.pictures import evenly
from segcli.engine.prediction.predictor import Predictor, predict_mask
from segcli.engine.prediction.resizing import Resizing, resize_images
from segcli.engine.prediction.tiles import Span, Tiled, Tiling
from segcli.io.images import Mask, Pixels
from segcli.io.rundir import find_model

_AROUND = (-16, -12, -8, -4, 4, 8, 12, 16)  # pixels from a border


def enlarged(data: Path, model: Path, number: int, factor: int) -> tuple[Predictor, list[tuple[Pixels, Mask]]]:
    """The network without its resize, and images with masks, enlarged."""
    predictor = load_predictor(find_model(model), precision="fp32")
    assert isinstance(predictor, Resizing)
    pairs = []
    for sample in evenly(open_for_model(predictor.card, data).split("val"), number):
        image, mask = sample.read()
        size = (factor * mask.shape[0], factor * mask.shape[1])
        bigger = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)
        pairs.append((resize_images(image[None], size)[0], np.asarray(bigger, mask.dtype)))
    return predictor.inner, pairs


def scores(predictor: Predictor, pairs: Sequence[tuple[Pixels, Mask]], labels: Sequence[Mask]) -> Scores:
    """The figures of labels."""
    task, counts = predictor.card.task, np.zeros((predictor.card.task.num_classes,) * 2, np.int64)
    for (_, truth), found in zip(pairs, labels, strict=True):
        counts += operations(found).confusion(truth[None], found[None], task.num_classes, task.ignore_index)[0]
    return Scores(counts)


def borders(spans: Sequence[Span], length: int) -> list[int]:
    """Where a tile begins or ends to count inside an axis."""
    return sorted({place for span in spans for place in (span.first, span.last)} - {0, length})


def changes(labels: Mask, tiling: Tiling) -> Iterator[tuple[float, float]]:
    """For the borders of both directions: the share of label changes across them, and around them."""
    for axis, spans in ((0, tiling.rows(labels.shape[0])), (1, tiling.columns(labels.shape[1]))):
        share = (np.diff(labels.astype(np.int32), axis=axis) != 0).mean(axis=1 - axis)
        for border in borders(spans, labels.shape[axis]):
            yield float(share[border - 1]), float(np.mean([share[border - 1 + off] for off in _AROUND]))


def seam(labels: Sequence[Mask], tiling: Tiling) -> str:
    """Changes across borders and around them in percent, and the difference with its standard error."""
    each = np.array([np.mean(list(changes(found, tiling)), axis=0) for found in labels])  # images × (across, around)
    difference: NDArray[np.float64] = each[:, 0] - each[:, 1]
    across, around = 100 * each.mean(axis=0)
    error = 100 * difference.std(ddof=1) / len(difference) ** 0.5
    return f"{across:.3f} % across, {around:.3f} % around; difference {100 * difference.mean():+.3f} ± {error:.3f}"


def main() -> None:
    """Measures each size of tiles and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tile", type=int, action="append")
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--factor", type=int, default=2)
    options = parser.parse_args()
    predictor, pairs = enlarged(options.data, options.model, options.images, options.factor)
    whole = [predict_mask(predictor, image) for image, _ in pairs]
    print(f"whole: mIoU {scores(predictor, pairs, whole).miou:.4f}", flush=True)
    for side in options.tile or [512]:
        tiling = Tiling(side, side, options.overlap)
        tiled = [predict_mask(Tiled(predictor, tiling), image) for image, _ in pairs]
        equal = np.mean([(one == other).mean() for one, other in zip(whole, tiled, strict=True)])
        print(f"tiles of {side}: mIoU {scores(predictor, pairs, tiled).miou:.4f}, {equal:.2%} of labels as whole")
        print(f"  tiles: {seam(tiled, tiling)}\n  whole: {seam(whole, tiling)}", flush=True)


if __name__ == "__main__":
    main()
