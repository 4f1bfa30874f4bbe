"""Writes a mended copy of a dataset as a prepared one."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segcli.datasets.check.fix import mend
from segcli.datasets.check.kinds import check_command
from segcli.datasets.check.report import Report
from segcli.datasets.prepared.write import prepare
from segcli.errors import UsageError
from segcli.parallel import Progress, silent


@dataclass(frozen=True)
class Mended:
    """What was written."""

    folder: Path
    kept: int  # pairs
    changed: Mapping[str, str]  # files that were mended, with what was done
    left_out: Mapping[str, str]  # files that are not in it, with the reason

    def to_json(self) -> dict[str, Any]:
        """The values as JSON has them."""
        return {**asdict(self), "folder": str(self.folder)}


def write_mended(report: Report, target: Path, progress: Progress = silent) -> Mended:
    """Writes what can be used of a dataset that was checked, mended, as a prepared dataset.

    Raises:
        UsageError: if the target lies in the source, or the source in the target.
        DataError: if it is not known what the mask values mean, or nothing is left.
    """
    root, goal = report.root.resolve(), target.resolve()
    if goal.is_relative_to(root) or root.is_relative_to(goal):
        raise UsageError(f"--fix {goal}: the mended copy must lie outside the dataset ({root})")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        source, changed, left_out = mend(report.survey, Path(folder))
        made = prepare(source, target, linking="hard", progress=progress, where_to_look=check_command(target))
    return Mended(target, sum(map(len, made.dataset.splits.values())), changed, left_out)
