"""The data doctor: everything that is wrong with a dataset, and the command that mends it."""

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from segcli.datasets.check.judge import Survey, survey
from segcli.datasets.check.kinds import KINDS, Kind, Severity, check_command
from segcli.datasets.check.scan import LookCache
from segcli.datasets.layouts.base import Finding, Options, Source
from segcli.parallel import Progress, silent

_BY_SEVERITY = list(Severity)


@dataclass(frozen=True)
class Row:
    """All findings of one kind, in the order of the files."""

    kind: Kind
    findings: Sequence[Finding]
    command: str = ""  # what mends them; empty where nobody but a person can
    option: str = ""  # the part of the command that does it


@dataclass(frozen=True)
class Report:
    """What a check of a dataset found: a row a kind of finding, the worst first."""

    root: Path
    survey: Survey
    rows: Sequence[Row]

    @property
    def pairs(self) -> dict[str, int]:
        """Pairs by split."""
        return {split: len(items) for split, items in self.survey.source.splits.items()}

    def count(self, severity: Severity) -> int:
        """Findings of a severity."""
        return sum(len(row.findings) for row in self.rows if row.kind.severity is severity)

    @property
    def errors(self) -> int:
        """Findings that would make training or its figures wrong."""
        return self.count(Severity.ERROR)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "dataset": str(self.root),
            "pairs": self.pairs,
            **{f"{severity.value}s": self.count(severity) for severity in Severity},
            "findings": [
                {
                    "kind": row.kind.name,
                    "severity": row.kind.severity.value,
                    "what": row.kind.title,
                    "count": len(row.findings),
                    "mend": row.command,
                    "files": [{"file": str(item.file), "message": item.message} for item in row.findings],
                }
                for row in self.rows
            ],
        }


def check(source: Source, options: Options | None = None, progress: Progress = silent, command: str = "") -> Report:
    """Decodes every file of a dataset and judges what it holds.

    Args:
        source: the dataset as it was found.
        options: as of `survey`.
        progress: told of each pair.
        command: what was typed, to be repeated in the commands that mend; empty checks the folder as it is.

    Raises:
        UsageError: if the options do not fit.
    """
    root = Path(source.origin)
    found = survey(source, options, progress, LookCache(source))
    by_kind: dict[str, list[Finding]] = {}
    for finding in found.findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    kinds = sorted((KINDS[name] for name in by_kind), key=lambda kind: _BY_SEVERITY.index(kind.severity))
    rows = []
    for kind in kinds:
        option = _option(kind, found, by_kind[kind.name], root)
        mend = f"{command or check_command(root)} {option}" if option else ""
        rows.append(Row(kind, by_kind[kind.name], mend, option))
    return Report(root, found, rows)


def _option(kind: Kind, found: Survey, findings: Sequence[Finding], root: Path) -> str:
    """The option that mends a kind of finding; empty where there is none."""
    looks = list(chain(*found.looks.values()))
    if kind.name == "ambiguous":
        return "--map 255=1"
    if kind.name == "colour-mask" and len(findings) > sum(bool(look.values) for look in looks):
        return "--palette auto"
    if kind.name == "near-duplicate" and found.dealt:
        return "--group-by REGEX"
    if found.in_doubt:
        return "--classes NAMES" if kind.name in {"unknown-values", "lossy-mask"} else ""
    if kind.name == "unknown-values" and found.source.task is None:
        value, holders = Counter(value for finding in findings for value in finding.detail).most_common(1)[0]
        if holders > max(2, len(looks) // 4):
            return f"--map {value}=CLASS"
    if not kind.mended or found.encoding is None or all(look.broken for look in looks):
        return ""
    apart, all_so = found.encoding.tells_apart(), len(findings) == sum(bool(look.values) for look in looks)
    useless = (kind.name == "jpeg-mask" and apart) or (
        kind.name in {"jpeg-mask", "lossy-mask"} and all_so and not apart
    )
    return "" if useless else f"--fix {shlex.quote(_mended_name(root))}"


def _mended_name(root: Path) -> str:
    """A folder for the mended copy: here, or beside the dataset where here lies within it."""
    name = f"{root.resolve().name}-mended"
    return name if not Path.cwd().is_relative_to(root.resolve()) else os.path.relpath(root.resolve().with_name(name))
