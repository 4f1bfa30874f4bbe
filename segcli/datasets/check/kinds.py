"""What can be wrong with a dataset: the kinds of findings, how bad each is, and what mends it."""

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from segcli.datasets.layouts.base import Finding
from segcli.errors import DataError


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """training or its figures would be wrong"""
    WARNING = "warning"
    """likely a mistake"""
    NOTE = "note"
    """odd, but read right"""


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    name: str  # its word in JSON
    severity: Severity
    title: str  # what is wrong, of one file
    mended: str = ""  # what `seg dataset check --fix` does about it; empty where it leaves the file as it is


_LEFT_OUT = "leaves the pair out"

KINDS = {
    kind.name: kind
    for kind in (
        Kind("damaged", Severity.ERROR, "truncated or corrupt file", _LEFT_OUT),
        Kind("empty", Severity.ERROR, "empty file", _LEFT_OUT),
        Kind("not-an-image", Severity.ERROR, "no image, whatever its suffix says", _LEFT_OUT),
        Kind("folder", Severity.ERROR, "folder named like an image", _LEFT_OUT),
        Kind("broken-link", Severity.ERROR, "link to a file that is not there", _LEFT_OUT),
        Kind("too-large", Severity.ERROR, "image of too many pixels", _LEFT_OUT),
        Kind("name", Severity.ERROR, "name that is no UTF-8 or holds control characters", _LEFT_OUT),
        Kind("instances", Severity.ERROR, "file of objects that cannot be used", "leaves the objects out"),
        Kind("missing", Severity.ERROR, "listed, but not there", _LEFT_OUT),
        Kind("no-mask", Severity.ERROR, "image without a mask", _LEFT_OUT),
        Kind("no-image", Severity.ERROR, "mask without an image", _LEFT_OUT),
        Kind("same-stem", Severity.ERROR, "two files of one stem", "keeps the first"),
        Kind("size-mismatch", Severity.ERROR, "image and mask of different sizes",
             "scales or turns the mask where that brings it to the image, else leaves both out"),
        Kind("unknown-values", Severity.ERROR, "mask values without a class", "makes those pixels ignored"),
        Kind("lossy-mask", Severity.ERROR, "mask whose values compression or smoothing changed",
             "gives odd pixels the nearest value where those lie far apart, else leaves the pair out"),
        Kind("colour-mask", Severity.ERROR, "mask of colours instead of indices", _LEFT_OUT),
        Kind("index-mask", Severity.ERROR, "mask of indices among masks of colours"),
        Kind("mask-depth", Severity.ERROR, "mask whose pixels are no class indices", _LEFT_OUT),
        Kind("deep-image", Severity.ERROR, "image of more than 8 bits a channel", "scales its full range to 8 bits"),
        Kind("channels", Severity.ERROR, "image of more than three channels", _LEFT_OUT),
        Kind("pages", Severity.ERROR, "file of several pages", "keeps the first page"),
        Kind("duplicate", Severity.ERROR, "same image in two splits", "keeps that of test or val"),
        Kind("ambiguous", Severity.ERROR, "255 could be a class or ignored"),
        Kind("classes", Severity.ERROR, "classes and mask values do not fit"),
        Kind("near-duplicate", Severity.WARNING, "images alike in two splits"),
        Kind("unseen-class", Severity.WARNING, "class that no mask of a split holds"),
        Kind("all-ignored", Severity.WARNING, "mask that is ignored from corner to corner", _LEFT_OUT),
        Kind("no-split", Severity.WARNING, "train or val that is not there"),
        Kind("jpeg-mask", Severity.WARNING, "mask stored as JPEG, which changes values",
             "leaves the pair out where values lie close together"),
        Kind("guessed-mask", Severity.WARNING, "mask whose values were mended by a guess"),
        Kind("ignored", Severity.WARNING, "ignored pixels where others have a class"),
        Kind("changed", Severity.WARNING, "file changed since it was prepared"),
        Kind("unlisted", Severity.NOTE, "pairs that no list names"),
        Kind("repeated", Severity.NOTE, "same image twice in a split"),
        Kind("suffix-case", Severity.NOTE, "suffix in capitals", "writes it in small letters"),
        Kind("alpha", Severity.NOTE, "alpha channel, which is dropped"),
        Kind("cmyk", Severity.NOTE, "colours that are converted to RGB"),
        Kind("one-bit", Severity.NOTE, "mask of one bit, read as 0 and 1"),
        Kind("sixteen-bit", Severity.NOTE, "mask of 16 bits whose values fit 8"),
        Kind("exif", Severity.NOTE, "turned upright by its EXIF orientation"),
    )
}  # fmt: skip


def severity_of(finding: Finding) -> Severity:
    """How bad a finding is."""
    return KINDS[finding.kind].severity


def check_command(dataset: Path, options: str = "") -> str:
    """The command that lists all findings of a dataset that is read with these options, as one would type it."""
    path = os.path.relpath(dataset) if dataset.resolve().is_relative_to(Path.cwd()) else str(dataset)
    return f"seg dataset check {shlex.quote(path)} {options}".rstrip()


def refuse_errors(findings: Iterable[Finding], where_to_look: str) -> None:
    """Raises DataError for the findings that are errors: the first one's message, and the command that lists them."""
    errors = [finding for finding in findings if severity_of(finding) is Severity.ERROR]
    if not errors:
        return
    more = f"{len(errors) - 1} more: `{where_to_look}` lists them all" if len(errors) > 1 else ""
    hint = more or f"`{where_to_look}` says what mends it"
    raise DataError(f"{errors[0].message} ({hint})" if where_to_look else errors[0].message)
