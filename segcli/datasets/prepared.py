"""Prepared datasets: the folder that `seg dataset prepare` writes and everything else reads."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segcli.datasets.dataset import SPLITS, Dataset, MaskEncoding, Sample, check_same_size
from segcli.datasets.explicit import file_samples
from segcli.datasets.pairs import Pair, Progress, content_hash, match_pairs, silent
from segcli.errors import DataError
from segcli.io.files import replacing_folder, write_text
from segcli.io.images import read_image, read_mask, write_image, write_mask
from segcli.task import Task
from segcli.yamlfile import dump_yaml, read_yaml

DESCRIPTION = "dataset.yml"
FORMAT = 1


@dataclass(frozen=True)
class Source:
    """A native dataset, found but not yet converted.

    Attributes:
        name: what the dataset is called.
        task: its classes.
        value_map: what the values in its mask files mean, where they are not class indices.
        splits: by split, files to link and convert, or samples that are made.
        origin: where it came from, for the record.
    """

    name: str
    task: Task
    value_map: Mapping[int, int]
    splits: Mapping[str, Sequence[Pair | Sample]]
    origin: str


def write_prepared(source: Source, target: Path, copy: bool = False, progress: Progress = silent) -> Dataset:
    """Writes a source as a prepared dataset; the folder appears whole or not at all.

    Args:
        source: what to write.
        target: the folder; a prepared dataset that stands there is replaced.
        copy: copy images instead of linking them.
        progress: told of each pair written.

    Raises:
        DataError: if the target is another folder with files in it, or a pair is wrong.
    """
    if target.exists() and not (target / DESCRIPTION).is_file() and (target.is_file() or any(target.iterdir())):
        raise DataError(f"{target} exists and is no prepared dataset; choose another folder with --to")
    with replacing_folder(target) as folder:
        _write_splits(source, folder, copy, progress)
    return open_prepared(target)


def _write_splits(source: Source, folder: Path, copy: bool, progress: Progress) -> None:
    encoding = MaskEncoding(source.task, source.value_map)
    splits: dict[str, Any] = {}
    digest = hashlib.sha256()
    for split, items in source.splits.items():
        writer = _PairWriter(folder, split, encoding, copy)
        pixels = np.zeros(source.task.num_classes, np.int64)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for done, (item, (counts, content)) in enumerate(zip(items, pool.map(writer.write, items), strict=True), 1):
                pixels += counts
                digest.update(f"{split}/{item.name}\0{content}\n".encode())
                progress(f"preparing {split}", done, len(items))
        splits[split] = {"images": len(items), "pixels": pixels.tolist()}
    description = {
        "format": FORMAT,
        "name": source.name,
        **source.task.to_json(),
        "splits": splits,
        "source": source.origin,
        "fingerprint": digest.hexdigest(),
    }
    write_text(folder / DESCRIPTION, dump_yaml(description))


@dataclass(frozen=True)
class _PairWriter:
    folder: Path
    split: str
    encoding: MaskEncoding
    copy: bool

    def write(self, item: Pair | Sample) -> tuple[Any, str]:
        """Writes one image and mask; gives the pixels of each class and the content's hash."""
        mask_path = self.folder / "masks" / self.split / f"{item.name}.png"
        image_path = self.folder / "images" / self.split / f"{item.name}.png"
        if isinstance(item, Pair):
            image_path = image_path.with_name(f"{Path(item.name).name}{item.image.suffix.lower()}")
            mask = self._convert(item)
            _link(item.image, image_path, self.copy)
        else:
            image, mask = item.read()
            write_image(image_path, image)
        if mask is None:
            return 0, content_hash([image_path])
        write_mask(mask_path, mask, self.encoding.task.palette)
        counts = np.bincount(mask.ravel(), minlength=self.encoding.task.num_classes)
        return counts[: self.encoding.task.num_classes], content_hash([image_path, mask_path])

    def _convert(self, pair: Pair) -> Any:
        image = read_image(pair.image)  # a damaged image is found here, not in the midst of a training
        if pair.mask is None:
            return None
        mask = self.encoding.encode(read_mask(pair.mask), pair.mask)
        check_same_size(image.shape[:2], mask.shape, pair.image, pair.mask)
        return mask


def _link(source: Path, target: Path, copy: bool) -> None:
    """Hard-links a file, else links it symbolically, else copies it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for link in _ways_to_link(source.resolve(), copy):
        try:
            link(target)
            return
        except OSError:
            target.unlink(missing_ok=True)
    shutil.copyfile(source, target)


def _ways_to_link(source: Path, copy: bool) -> Iterator[Any]:
    if not copy:
        yield lambda target: target.hardlink_to(source)
        yield lambda target: target.symlink_to(source)


def open_prepared(root: Path, ignore_index: int | None = None) -> Dataset:
    """Opens a prepared dataset by its description; no image or mask is read.

    Args:
        root: the folder.
        ignore_index: what ignored pixels are to be called; None leaves the value in the files.

    Raises:
        DataError: if the description is missing or does not match the folder.
    """
    path = root / DESCRIPTION
    if not path.is_file():
        raise DataError(f"{root} holds no {DESCRIPTION}; it is no prepared dataset")
    description = read_yaml(path).values
    try:
        task = Task.from_json(description)
        counts = {split: entry["images"] for split, entry in description["splits"].items()}
        pixels = {split: entry["pixels"] for split, entry in description["splits"].items()}
        name, fingerprint = str(description["name"]), str(description["fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no description of a dataset ({error!r}); prepare it again") from None
    value_map = {} if ignore_index is None else {task.ignore_index: ignore_index}
    task = replace(task, ignore_index=task.ignore_index if ignore_index is None else ignore_index)
    encoding = MaskEncoding(task, value_map)
    splits = {}
    for split in (split for split in SPLITS if counts.get(split)):
        pairs = _pairs_of(root, split)
        if len(pairs) != counts[split]:
            raise DataError(f"{root} has {len(pairs)} {split} pairs, but {path} says {counts[split]}; prepare it again")
        splits[split] = file_samples(pairs, encoding)
    return Dataset(name, task, splits, pixels, fingerprint)


def _pairs_of(root: Path, split: str) -> list[Pair]:
    images, masks = root / "images" / split, root / "masks" / split
    return match_pairs(images, masks)
