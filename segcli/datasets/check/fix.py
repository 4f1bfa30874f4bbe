"""Mends what can be mended of a dataset while it is read; the source is never touched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from segcli.datasets.check.judge import Survey
from segcli.datasets.check.kinds import Severity, severity_of
from segcli.datasets.check.scan import Look, Seen, seen_pairs
from segcli.datasets.dataset import Sample
from segcli.datasets.encoding import MaskEncoding, MaskValues
from segcli.datasets.layouts.base import Finding, Pair, Source
from segcli.datasets.masks import MaskFile, MaskSource
from segcli.errors import DataError
from segcli.io.images import Mask, Pixels, decode, read_deep, read_mask, upright, write_image

_ASPECT = 0.01  # relative difference of aspect up to which a mask may be scaled to its image
_MENDABLE = {
    "size-mismatch": "mask scaled or turned to the image's size",
    "unknown-values": "pixels of values without a class ignored",
    "lossy-mask": "odd pixels given the nearest of its sound values, which is a guess",
    "deep-image": "full range scaled to 8 bits",
    "pages": "first page kept",
    "instances": "objects left out",
}


def mend(found: Survey, folder: Path) -> tuple[Source, dict[str, str], dict[str, str]]:
    """Mends a source that has been looked at.

    Args:
        found: what was seen of it.
        folder: where images go that must be written anew.

    Returns:
        The source with what is wrong mended when it is read; the files that are mended, with what is done; and those
        that are left out, with the reason.

    Raises:
        DataError: if it is not known what the mask values mean, or nothing is left.
    """
    encoding = found.settled()
    if found.in_doubt:
        doubt = next(finding for finding in found.findings if finding.kind in {"unknown-values", "lossy-mask"})
        raise DataError(f"{doubt.message} (nothing was written: what is no class is known once --classes names them)")
    also = {"all-ignored", *(() if encoding.tells_apart() else ("jpeg-mask",))}
    findings: dict[Path, list[Finding]] = {}
    for finding in found.findings:
        if severity_of(finding) is Severity.ERROR or finding.kind in also:
            findings.setdefault(finding.file, []).append(finding)
    changed: dict[str, str] = {}
    left_out = {str(file): items[0].message for file, items in findings.items() if items[0].kind in _ALONE}
    largest = _largest_value([file for file, items in findings.items() if items[0].kind == "deep-image"])
    mender = _Mender(encoding, folder, largest, changed, left_out)
    splits: dict[str, list[Pair | Sample]] = {split: [] for split in found.source.splits}
    for seen in seen_pairs(found.source, found.looks):
        pair = seen.item
        mended = mender.mend(seen, pair, _of_pair(pair, seen.look, findings)) if isinstance(pair, Pair) else pair
        splits[seen.split] += [] if mended is None else [mended]
    if not all(splits.values()):
        raise DataError(f"nothing of {found.source.origin} would be left in a split; nothing was written")
    guessed = [f"{split}/{item.name}" for split, items in splits.items() for item in items if _is_guessed(item)]
    source = replace(
        found.source, splits=splits, task=encoding.task, value_map={}, colours=False, findings=(),
        guessed=[*found.source.guessed, *guessed],
    )  # fmt: skip
    return source, changed, left_out


def _is_guessed(item: Pair | Sample) -> bool:
    return isinstance(item, Pair) and isinstance(item.mask, MendedMask) and "lossy-mask" in item.mask.wrong


_ALONE = {"no-mask", "no-image", "missing", "same-stem", "name"}


def _of_pair(pair: Pair, look: Look, findings: Mapping[Path, list[Finding]]) -> list[Finding]:
    """The findings of a pair: those of its own look, and those that came of comparing it with others."""
    files = [pair.image, *([pair.mask.path] if isinstance(pair.mask, MaskFile) else [])]
    own = [finding for finding in look.findings if severity_of(finding) is Severity.ERROR]
    compared = [finding for file in files for finding in findings.get(file, [])]
    return list(dict.fromkeys([*own, *compared]))


@dataclass(frozen=True)
class _Mender:
    """Mends pairs, and keeps by file what it did to those that it mended, and why it left others out."""

    encoding: MaskEncoding
    folder: Path  # where mended images go
    largest: int  # the value that becomes 255 in images of more than 8 bits
    changed: dict[str, str]
    left_out: dict[str, str]

    def mend(self, seen: Seen, pair: Pair, findings: list[Finding]) -> Pair | None:
        """The pair with what is wrong mended; None where it must be left out."""
        deep = any(finding.kind == "deep-image" for finding in findings)
        hopeless = [
            finding
            for finding in findings
            if finding.kind not in _MENDABLE
            or (finding.kind == "lossy-mask" and not self.encoding.tells_apart())
            or (deep and finding.kind == "deep-image" and read_deep(pair.image) is None)
        ]
        if hopeless:
            self.left_out[str(hopeless[0].file)] = hopeless[0].message
            return None
        image = pair.image
        if any(finding.file == image and finding.kind in {"deep-image", "pages"} for finding in findings):
            image = self.folder / f"{seen.name}.png"
            write_image(image, _narrowed(pair.image, self.largest if deep else 255))
        mask = None
        if pair.mask is not None:
            mismatch = next((finding for finding in findings if finding.kind == "size-mismatch"), None)
            size, orientation = seen.look.size, 1
            if mismatch or size is None:
                decoded = decode(pair.image, first_page=True)
                size, orientation = decoded.size, decoded.orientation
            mask = MendedMask(pair.mask, self.encoding, {finding.kind for finding in findings}, size, orientation)
            if mismatch and not mask.fits():
                self.left_out[str(mismatch.file)] = mismatch.message
                return None
        for finding in findings:
            done = f"0…{self.largest} scaled to 8 bits" if finding.kind == "deep-image" else _MENDABLE[finding.kind]
            self.changed[str(finding.file)] = done
        return replace(pair, image=image, mask=mask)


def _largest_value(files: Sequence[Path]) -> int:
    """The largest value of as many bits as the deepest of some images uses, so that all are scaled alike."""
    deepest = max((int(values.max()) for file in files if (values := read_deep(file)) is not None), default=0)
    return (1 << max(deepest.bit_length(), 8)) - 1


def _narrowed(path: Path, largest: int) -> Pixels:
    """An image of more than 8 bits, or the first page of several, as H×W×3 uint8."""
    values = read_deep(path) if largest > 255 else None
    if values is None:
        return np.array(decode(path, first_page=True).image.convert("RGB"))
    narrow = np.round(values.astype(np.float64) * (255 / largest)).clip(0, 255).astype(np.uint8)
    return narrow if narrow.ndim == 3 else np.repeat(narrow[..., None], 3, axis=2)


@dataclass(frozen=True)
class MendedMask:
    """A mask as class indices, with what was wrong with it mended when it is read."""

    source: MaskSource
    encoding: MaskEncoding
    wrong: frozenset[str] | set[str]  # kinds of findings to mend
    size: tuple[int, int]  # height and width of the image, upright
    orientation: int  # the image's EXIF orientation

    @property
    def path(self) -> Path:
        """The file it comes from."""
        return self.source.path

    def fits(self) -> bool:
        """Whether the mask can be brought to the image's size."""
        height, width = self._raw_values().shape
        same_aspect = abs(width * self.size[0] / (height * self.size[1]) - 1) <= _ASPECT
        return same_aspect or (height, width) == self._unturned

    def values(self, height: int, width: int) -> Mask:
        """The class indices, mended."""
        return self._indices(self._resized(self._raw_values()))

    def instances(self, height: int, width: int) -> Mask | None:
        """The objects, where nothing moved them and their file is sound."""
        return None if {"size-mismatch", "instances"} & set(self.wrong) else self.source.instances(height, width)

    def _raw_values(self) -> Mask:
        if isinstance(self.source, MaskFile) and "pages" in self.wrong:
            return read_mask(self.source.path, self.source.colours, first_page=True)
        return self.source.values(*self.size)

    @property
    def _unturned(self) -> tuple[int, int]:
        """Height and width of the image as its file has them."""
        return self.size[::-1] if self.orientation >= 5 else self.size

    def _resized(self, values: Mask) -> Mask:
        if values.shape == self.size:
            return values
        if values.shape == self._unturned:
            return upright(values, self.orientation)
        height, width = self.size
        scaled: Mask = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return scaled

    def _indices(self, values: Mask) -> Mask:
        """Class indices; values without a class are ignored, or give way to a sound one where the mask is lossy."""
        present, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        place = place.reshape(values.shape)
        meanings = [self.encoding.meaning(int(value)) for value in present]
        if "lossy-mask" not in self.wrong:
            table = np.array([self.encoding.task.ignore_index if meaning is None else meaning for meaning in meanings])
            return table[place].astype(self.encoding.dtype)
        known = set(self.encoding.known_values()) & set(present.tolist())
        if len(known) > 2:  # a rare one may be what smoothing made of the edge between two others
            known -= MaskValues(self.path, dict(zip(present.tolist(), counts.tolist(), strict=True))).rare()
        sound = np.array(sorted(known), np.int64)
        if not sound.size:
            return np.full(values.shape, self.encoding.task.ignore_index, self.encoding.dtype)
        # They lie far apart, such as 0 and 255: what lies between is what compression made of them.
        nearest = sound[np.abs(present[:, None].astype(np.int64) - sound).argmin(1)]
        table = np.array([self.encoding.meaning(int(value)) for value in nearest])
        return table[place].astype(self.encoding.dtype)
