"""Small annotated images, and what their annotations are drawn as."""

from pathlib import Path

import numpy as np
from PIL import Image

from segcli.datasets.layouts.base import Pair, Source

HEIGHT, WIDTH = 8, 10


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    return path


def box(top: int, bottom: int, left: int, right: int, value: int = 1) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), int)
    mask[top:bottom, left:right] = value
    return mask


def names(source: Source) -> dict[str, list[str]]:
    return {split: [pair.name for pair in found] for split, found in source.splits.items()}


def pair_of(source: Source) -> Pair:
    ((pair,),) = source.splits.values()
    assert isinstance(pair, Pair)
    return pair


def drawn(source: Source) -> list[list[int]]:
    mask = pair_of(source).mask
    assert mask is not None
    return mask.values(HEIGHT, WIDTH).tolist()


def numbers(source: Source) -> list[list[int]]:
    mask = pair_of(source).mask
    assert mask is not None
    instances = mask.instances(HEIGHT, WIDTH)
    assert instances is not None
    return instances.tolist()
