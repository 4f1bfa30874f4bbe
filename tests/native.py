"""Tiny native datasets, drawn in their layouts."""

from pathlib import Path

import numpy as np
from conftest import draw_pair
from PIL import Image

from segcli.task import voc_palette


def save(values: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def draw(path: Path, seed: int = 0) -> Path:
    return save(draw_pair(seed)[0], path)


CITY = "{split}/aachen/aachen_{name}"


def write_cityscapes(root: Path, kind: str, splits: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Writes images, labelIds of all 34 values and instanceIds; gives the labels by name."""
    labels = {}
    for split, names in splits.items():
        for seed, name in enumerate(names):
            stem = CITY.format(split=split, name=name)
            draw(root / "leftImg8bit" / f"{stem}_leftImg8bit.png", seed)
            values = (np.arange(40 * 56).reshape(40, 56) // 7 + seed) % 34
            labels[name] = values.astype(np.uint8)
            save(labels[name], root / kind / f"{stem}_{kind}_labelIds.png")
            objects = np.where(np.isin(values, range(24, 34)), values * 1000 + seed, values)
            save(objects.astype(np.uint16), root / kind / f"{stem}_{kind}_instanceIds.png")
    return labels


def write_voc(root: Path, lists: dict[str, list[str]], masks: list[str]) -> Path:
    home = root / "VOCdevkit" / "VOC2012"
    for split, names in lists.items():
        path = home / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
    for seed, name in enumerate(sorted({name for names in lists.values() for name in names})):
        draw(home / "JPEGImages" / f"{name}.jpg", seed)
        if name in masks:
            picture = Image.fromarray((draw_pair(seed)[1] * 7).astype(np.uint8))
            picture.putpalette([channel for colour in voc_palette(256) for channel in colour])
            for folder in ("SegmentationClass", "SegmentationObject"):
                (home / folder).mkdir(exist_ok=True)
                picture.save(home / folder / f"{name}.png")
    return home


def write_camvid(root: Path) -> Path:
    for split, number in (("train", 3), ("val", 2)):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for index in range(number):
            image, mask = draw_pair(index)
            mask[mask == 2] = 11
            Image.fromarray(image).save(root / split / f"{index}.jpg")
            Image.fromarray(mask).save(root / f"{split}annot" / f"{index}.png")
    return root
