"""Images and masks in folders: matched by stem, counted, checked."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcli.datasets.dataset import MaskEncoding, check_same_size
from segcli.errors import DataError
from segcli.io.images import find_images, read_image, read_mask

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many are done and how many there are."""


def silent(what: str, done: int, total: int) -> None:
    """A progress that nobody watches."""


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file.

    Attributes:
        name: path below the folder, without suffix, with forward slashes.
    """

    name: str
    image: Path
    mask: Path | None


def match_pairs(images: Path, masks: Path) -> list[Pair]:
    """Pairs the files of two folders by their paths without suffix.

    Raises:
        DataError: if a folder is missing or empty, a stem stands twice, or a file has no partner.
    """
    image_files, mask_files = _by_stem(images), _by_stem(masks)
    for folder, files in ((images, image_files), (masks, mask_files)):
        if not files:
            raise DataError(f"{folder} holds no images")
    alone = sorted(image_files.keys() ^ mask_files.keys())
    if alone:
        name = alone[0]
        file, other = (image_files[name], masks) if name in image_files else (mask_files[name], images)
        more = f" ({len(alone)} files have none)" if len(alone) > 1 else ""
        raise DataError(f"{file} has no partner of the same stem in {other}{more}; add it or remove the file")
    return [Pair(name, image_files[name], mask_files[name]) for name in sorted(image_files)]


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in find_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{path} and {found[name]} have the same stem; rename one")
        found[name] = path
    return found


@dataclass(frozen=True)
class Survey:
    """What the masks of a split hold.

    Attributes:
        values: number of pixels by mask value, as they stand in the files.
        example: for each value a file that holds it.
        digest: content hash of images and masks together.
    """

    values: Mapping[int, int]
    example: Mapping[int, Path]
    digest: str


def survey(pairs: Sequence[Pair], what: str, progress: Progress = silent) -> Survey:
    """Decodes every image and mask in full, compares their sizes, counts values and hashes files.

    Raises:
        DataError: at the first file that is damaged or of the wrong size.
    """
    values: dict[int, int] = {}
    example: dict[int, Path] = {}
    digest = hashlib.sha256()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, (pair, (counts, content)) in enumerate(zip(pairs, pool.map(_look_at, pairs), strict=True), 1):
            for value, count in counts.items():
                values[value] = values.get(value, 0) + count
                example.setdefault(value, pair.mask or pair.image)
            digest.update(f"{pair.name}\0{content}\n".encode())
            progress(what, done, len(pairs))
    return Survey(values, example, digest.hexdigest())


def _look_at(pair: Pair) -> tuple[dict[int, int], str]:
    counts: dict[int, int] = {}
    if pair.mask is not None:
        mask = read_mask(pair.mask)
        check_same_size(read_image(pair.image).shape[:2], mask.shape, pair.image, pair.mask)
        histogram = np.bincount(mask.ravel())
        counts = {int(value): int(histogram[value]) for value in np.flatnonzero(histogram)}
    return counts, content_hash(file for file in (pair.image, pair.mask) if file is not None)


def content_hash(files: Iterable[Path]) -> str:
    """The sha256 over sizes and contents of files."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256")
        digest.update(f"{file.stat().st_size}\0{content.hexdigest()}\n".encode())
    return digest.hexdigest()


def count_classes(values: Mapping[int, int], encoding: MaskEncoding) -> list[int]:
    """Pixels of each class, from pixels by mask value."""
    pixels = [0] * encoding.task.num_classes
    for value, count in values.items():
        index = encoding.value_map.get(value, value)
        if index != encoding.task.ignore_index:
            pixels[index] += count
    return pixels
