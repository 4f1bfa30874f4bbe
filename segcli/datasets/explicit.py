"""Explicit folders: images and masks read where they are, under the same checks as a prepared dataset."""

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from segcli.datasets.check.judge import Survey, survey
from segcli.datasets.check.kinds import Severity, refuse_errors
from segcli.datasets.dataset import Dataset
from segcli.datasets.encoding import Classes
from segcli.datasets.layouts.base import Options, Source
from segcli.datasets.layouts.pairing import list_images, match_pairs
from segcli.parallel import Progress, silent
from segcli.task import Colour


def open_folders(
    name: str,
    folders: Mapping[str, tuple[Path, Path | None]],
    classes: Classes = None,
    palette: Sequence[Colour] | None = None,
    ignore_index: int | None = None,
    value_map: Mapping[int, int] | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Opens folders of images and masks as a dataset; every file is looked at once.

    Args:
        name: what to call it.
        folders: by split, the folder of images and that of masks; None where there are no masks.
        classes: names, or their number; None counts them over all splits.
        palette: a colour a class.
        ignore_index: the mask value that is ignored; None is 255 (65535 beyond 255 classes), and lets masks of one
            value and 255 be refused.
        value_map: what other values mean.
        progress: told of each pair looked at.

    Raises:
        DataError: naming the file that is missing, damaged, of the wrong size or holds a value without a class.
    """
    splits, alone = {}, []
    for split, (images, masks) in folders.items():
        splits[split], findings = match_pairs(images, masks) if masks else list_images(images)
        alone += findings
    colours = None if palette is None else {str(number): colour for number, colour in enumerate(palette)}
    options = Options(palette=colours, classes=classes, ignore_index=ignore_index, value_map=value_map or {})
    found = survey(Source(name, name, splits, findings=alone), options, progress)
    refuse_errors((finding for finding in found.findings if finding.kind != "duplicate"), _check_command(folders))
    remarks = [finding.message for finding in found.findings if finding.severity is not Severity.NOTE]
    encoding = found.settled()
    return Dataset(
        name, encoding.task, found.samples(), found.class_pixels(), _fingerprint(found), remarks=_few(remarks)
    )


def _fingerprint(found: Survey) -> str:
    """Changes with any image, any mask, and with what the values mean."""
    encoding = found.settled()
    digest = hashlib.sha256(repr((encoding.task.to_json(), sorted(encoding.value_map.items()))).encode())
    for split, looks in found.looks.items():
        for item, look in zip(found.source.splits[split], looks, strict=True):
            digest.update(f"{split}/{item.name}\0{look.image_digest}\0{look.mask_digest}\n".encode())
    return digest.hexdigest()


def _few(remarks: Sequence[str], number: int = 3) -> list[str]:
    more = len(remarks) - number
    return [*remarks[:number], *([f"… and {more} more findings of this kind"] if more > 0 else [])]


def _check_command(folders: Mapping[str, tuple[Path, Path | None]]) -> str:
    commands = []
    for images, masks in folders.values():
        if masks is not None:
            root = Path(os.path.commonpath([images.resolve(), masks.resolve()]))
            words = [os.path.relpath(root), "--images", os.path.relpath(images.resolve(), root), "--masks",
                     os.path.relpath(masks.resolve(), root)]  # fmt: skip
            commands.append(f"seg dataset check {shlex.join(words)}")
    return "; ".join(commands)
