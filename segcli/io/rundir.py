"""Run folders: where a training keeps everything, and how a model is found from a name."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcli.errors import ConfigError, ModelError, UsageError, nearest
from segcli.io.card import CARD
from segcli.io.files import replacing, write_text
from segcli.io.formats import format_of
from segcli.yamlfile import read_yaml

LAST = "last"
RUNS = Path("runs")


@dataclass(frozen=True)
class RunDir:
    """The folder of one run and the places inside it."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yml"

    @property
    def best(self) -> Path:
        """The bundle with the best val_miou."""
        return self.path / "best"

    @property
    def last(self) -> Path:
        """The bundle of the last epoch."""
        return self.path / "last"

    @property
    def state(self) -> Path:
        """The resumable training state."""
        return self.path / "state"

    @property
    def results(self) -> Path:
        """A row an epoch."""
        return self.path / "results.csv"

    @property
    def curves(self) -> Path:
        """The rows as curves."""
        return self.path / "results.png"

    @property
    def confusion(self) -> Path:
        """What the best epoch confused, as a picture."""
        return self.path / "confusion.png"

    @property
    def samples(self) -> Path:
        """Batches and predictions as pictures."""
        return self.path / "samples"

    @property
    def log(self) -> Path:
        """What was said."""
        return self.path / "train.log"


def create_run(output_dir: Path, name: str) -> RunDir:
    """Makes the folder NAME, else NAME-2, NAME-3 …, and notes it as the last run.

    Raises:
        UsageError: if the name is none for a folder.
    """
    if name in {"", ".", "..", LAST} or set(name) & set("/\\"):
        raise UsageError(f"{name!r} cannot be the name of a run; give a plain one with --name")
    number = 1
    while True:
        path = output_dir / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            write_text(output_dir / LAST, path.name + "\n")
            return RunDir(path)


def find_run(name: str | None, output_dir: Path) -> RunDir:
    """The run of a name or path; without one, the last.

    Raises:
        UsageError: if there is none.
    """
    if name is None:
        pointer = output_dir / LAST
        if not pointer.is_file():
            raise UsageError(
                f"{output_dir} holds no run to resume; name its folder (--resume FOLDER), or start one with "
                f"seg train -c CONFIG"
            )
        name = pointer.read_text(encoding="utf-8").strip()
    for path in (Path(name), output_dir / name):
        if (path / "config.yml").is_file():
            return RunDir(path)
    known = _run_names(output_dir)
    meant = nearest(name.removeprefix(f"{output_dir}/"), known)
    say = f"did you mean {meant}?" if meant else f"it holds {', '.join(known) or 'none'}"
    raise UsageError(f"{name}: no such run in {output_dir}; {say}")


def find_model(given: Path | None, output_dir: Path = RUNS) -> Path:
    """The bundle folder or exported file that a MODEL argument means.

    Args:
        given: a run, a bundle, or an exported file; None takes the best bundle of the newest run that has one.
        output_dir: the folder of the runs.

    Raises:
        UsageError: if no run has a bundle.
        ModelError: if the path is no model.
    """
    if given is None:
        bundles = list(output_dir.glob(f"*/best/{CARD}"))
        if not bundles:
            raise UsageError(f"{output_dir} holds no trained model; train one (seg train -c CONFIG) or give -m MODEL")
        return max(bundles, key=lambda path: path.stat().st_mtime_ns).parent
    for path in (given, output_dir / given):
        if format_of(path):
            return path
        if path.is_file() and format_of(path.parent):  # such as the model.xml that other tools ask for
            return path.parent
        if path.is_file() and path.name == LAST:
            path = path.parent / path.read_text(encoding="utf-8").strip()
        for folder in (path, path / "best"):
            if (folder / CARD).is_file():
                return folder
    if not given.exists():
        meant = nearest(str(given), _run_names(output_dir))
        say = f"did you mean {meant}?" if meant else "MODEL is a run, a bundle or an exported file"
        raise ModelError(f"{given}: no such file or folder; {say}")
    raise ModelError(f"{given} is no model; MODEL is a run, a bundle (a folder with {CARD}) or an exported file")


@dataclass(frozen=True)
class RunSummary:
    """How far a run came.

    Attributes:
        path: its folder.
        network: architecture and encoder.
        data: what it is trained on.
        epochs: that it is to have; None where its steps decide.
        epochs_done: that it has had.
        best: the best val mIoU so far; None before the first validation.
    """

    path: Path
    network: str
    data: str
    epochs: int | None
    epochs_done: int
    best: float | None


def list_runs(output_dir: Path = RUNS) -> list[RunSummary]:
    """The runs in a folder, the newest first; those whose config or results cannot be read are left out."""
    configs = sorted(output_dir.glob("*/config.yml"), key=lambda path: -path.stat().st_mtime_ns)
    found = []
    for config in configs:
        with suppress(ConfigError, KeyError, TypeError, ValueError, OSError):
            found.append(_summary(RunDir(config.parent)))
    return found


def _summary(run: RunDir) -> RunSummary:
    values = read_yaml(run.config).values
    dataset = values["dataset"]
    rows = []
    if run.results.is_file():
        with run.results.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    figures = [float(row["val_miou"]) for row in rows if row["val_miou"]]
    data = dataset.get("root") or dataset.get("embedded") or dataset.get("train_images_dir")
    return RunSummary(
        run.path, f"{values['model_name']}, {values['encoder']}", str(data), values["train"].get("epochs"),
        int(rows[-1]["epoch"]) if rows else 0, max(figures, default=None),
    )  # fmt: skip


def run_of(model: Path) -> RunDir | None:
    """The run that a bundle or an exported file stands in; None where it stands in none."""
    folders = [model.parent, *([model.parent.parent] if model.parent.name == "export" else [])]
    return next((RunDir(folder) for folder in folders if (folder / "config.yml").is_file()), None)


def output_folder(model: Path, name: str) -> Path:
    """Where a command writes what it makes with a model: in its run, else beside it."""
    run = run_of(model)
    return (run.path if run else model.parent) / name


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table of rows with the same keys as CSV; names and values may hold commas and quotes."""
    with replacing(path) as staged, staged.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([_shown(value) for value in row.values()] for row in rows)


def _run_names(output_dir: Path) -> list[str]:
    return sorted(path.parent.name for path in output_dir.glob("*/config.yml"))


def _shown(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
