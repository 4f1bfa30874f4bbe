"""Where a training's figures go besides results.csv: TensorBoard, Weights & Biases, MLflow, and the run's log."""

import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

from segcli.components.tracking import MLflowTracking, TrackingConfig, WandBTracking
from segcli.errors import UsageError
from segcli.io.files import write_text
from segcli.io.images import read_image
from segcli.io.rundir import RunDir
from segcli.yamlfile import dump_yaml, flat

Facts = Mapping[str, Any]
Figures = Mapping[str, float]
Pictures = Mapping[str, Path]
Say = Callable[[str], None]

# What must be installed for a section of `tracking`; the extra has the section's name.
_NEEDED = {"wandb": ("wandb",), "mlflow": ("mlflow-skinny", "sqlalchemy", "alembic")}
# Seconds that W&B may take at the end to send what it has not sent yet.
_PATIENCE = 300


class Tracker(Protocol):
    """One place that figures and pictures go to."""

    def add(self, figures: Figures, step: int) -> None:
        """Takes finite figures at a step."""

    def add_pictures(self, pictures: Pictures, step: int) -> None:
        """Takes picture files at a step."""

    def finish(self, failed: bool) -> None:
        """Ends it; `failed` tells whether the training did."""


class Board:
    """Hands figures and pictures to every tracker; one that fails is told of once and left out from then on.

    Args:
        trackers: name and tracker; without any, the board keeps nothing.
        say: told what fails.
    """

    def __init__(self, trackers: Iterable[tuple[str, Tracker]] = (), say: Say = lambda text: None) -> None:
        self.trackers = dict(trackers)
        self.say = say

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes a row of results.csv: its finite numbers count, at its `step`."""
        numbers = {name: float(value) for name, value in row.items() if isinstance(value, Real) and name != "step"}
        figures = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self._each(lambda tracker: tracker.add(figures, row["step"]))

    def add_pictures(self, pictures: Pictures, step: int) -> None:
        """Takes picture files under their names, at a step."""
        self._each(lambda tracker: tracker.add_pictures(pictures, step))

    def finish(self, failed: bool) -> None:
        """Ends every tracker."""
        self._each(lambda tracker: tracker.finish(failed))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                act(tracker)
            except Exception as error:  # whatever a library or a server does: the training is worth more
                del self.trackers[name]
                self.say(f"tracking.{name} failed and is left out from now on: {_first_line(error)}")


@contextmanager
def trackers(config: TrackingConfig, run: RunDir, facts: Facts, say: Say = lambda text: None) -> Iterator[Board]:
    """A board with the trackers that the config asks for; a resumed run goes on in the same places.

    Of several processes only the first may open it; the others take an empty `Board()`.

    Args:
        config: which trackers.
        run: the run's folder.
        facts: what the run is made from, as plain nested values.
        say: told where the figures go, and what fails.

    Raises:
        UsageError: if a tracker is not installed, or cannot start.
    """
    check_trackers(config)
    board = Board(say=say)
    failed = True
    try:
        for name, start in _asked_for(config, run, facts, say).items():
            try:
                board.trackers[name] = start()
            except Exception as error:
                raise UsageError(f"tracking.{name} cannot start: {_first_line(error)}; {_CURES[name]}") from error
        yield board
        failed = False
    finally:
        board.finish(failed)


def check_trackers(config: TrackingConfig) -> None:
    """Raises UsageError if the config asks for a tracker that is not installed."""
    for name, packages in _NEEDED.items():
        if getattr(config, name) is None:
            continue
        try:
            for package in packages:
                version(package)
        except PackageNotFoundError as error:
            raise UsageError(
                f'tracking.{name} needs the package {error.name}; install it with pip install "segcli[{name}]"'
            ) from None


_CURES = {
    "tensorboard": "mend that, or set tracking.tensorboard to false",
    "wandb": "run wandb login, or set tracking.wandb.mode to offline",
    "mlflow": "mend tracking.mlflow.uri, or leave it out for a file in the run",
}


def _asked_for(config: TrackingConfig, run: RunDir, facts: Facts, say: Say) -> dict[str, Callable[[], Tracker]]:
    starts: dict[str, Callable[[], Tracker]] = {}
    if config.tensorboard:
        starts["tensorboard"] = lambda: TensorBoard(run, facts)
    if (wandb := config.wandb) is not None:
        starts["wandb"] = lambda: WandB(wandb, run, facts, say)
    if (mlflow := config.mlflow) is not None:
        starts["mlflow"] = lambda: MLflow(mlflow, run, facts, say)
    return starts


class TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, run: RunDir, facts: Facts) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(run.path / "tensorboard")
        # As text: the writer's own way to store facts (hparams) makes another folder, which shows up as a run.
        self.writer.add_text("facts", f"```yaml\n{dump_yaml(dict(facts))}```", 0)

    def add(self, figures: Figures, step: int) -> None:
        """Takes figures."""
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def add_pictures(self, pictures: Pictures, step: int) -> None:
        """Takes pictures."""
        for name, path in pictures.items():
            self.writer.add_image(name, read_image(path), step, dataformats="HWC")

    def finish(self, failed: bool) -> None:
        """Closes the file."""
        self.writer.close()


class WandB:
    """A run of Weights & Biases; its files lie in RUN/wandb."""

    def __init__(self, config: WandBTracking, run: RunDir, facts: Facts, say: Say) -> None:
        # W&B reads it once: whether it sends telemetry and reports of its own errors, even when offline.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        note = run.path / "wandb" / "run-id"
        note.parent.mkdir(exist_ok=True)
        known = note.read_text(encoding="utf-8").strip() if note.exists() else None
        self.run = wandb.init(
            project=config.project,
            name=config.name or run.path.name,
            mode=config.mode,
            tags=config.tags,
            dir=run.path,
            config=dict(facts),
            reinit="create_new",  # leaves wandb.run, and whoever uses it, alone
            settings={"console": "off", "silent": True, "finish_timeout": _PATIENCE},
            id=known,
            resume=None if known is None else "allow",
        )
        if self.run.disabled:
            return
        write_text(note, f"{self.run.id}\n")
        self.run.define_metric("*", step_metric="step")
        folder = Path(self.run.dir).parent
        say(f"wandb: offline; wandb sync {folder} sends it" if self.run.offline else f"wandb: {self.run.url}")

    def add(self, figures: Figures, step: int) -> None:
        """Takes figures."""
        # W&B's own step would hold a row back until the next comes, and refuse pictures that come after it.
        self.run.log({"step": step, **figures})

    def add_pictures(self, pictures: Pictures, step: int) -> None:
        """Takes pictures."""
        import wandb

        self.run.log({"step": step, **{name: wandb.Image(str(path)) for name, path in pictures.items()}})

    def finish(self, failed: bool) -> None:
        """Sends what is left."""
        self.run.finish(exit_code=int(failed))


class MLflow:
    """A run of MLflow, by its client: `mlflow.start_run` would set the store and the run of the whole process."""

    def __init__(self, config: MLflowTracking, run: RunDir, facts: Facts, say: Say) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it when it is imported
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        folder = run.path.resolve() / "mlflow"
        folder.mkdir(exist_ok=True)
        local = f"sqlite:///{folder / 'mlflow.db'}"
        uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI") or local
        self.client = MlflowClient(uri)
        note = folder / "run-id"
        if note.exists():
            self.run_id = note.read_text(encoding="utf-8").strip()
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            artifacts = (folder / "artifacts").as_uri() if uri == local else None
            self.run_id = self._begin(config.experiment, run.path.name, artifacts)
            self._add_facts(facts)
            write_text(note, f"{self.run_id}\n")
        say(f"mlflow: {uri}, experiment {config.experiment}")

    def _begin(self, experiment: str, name: str, artifacts: str | None) -> str:
        found = self.client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else self.client.create_experiment(experiment, artifacts)
        return str(self.client.create_run(place, run_name=name).info.run_id)

    def _add_facts(self, facts: Facts) -> None:
        from mlflow.entities import Param
        from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH

        params = [Param(_mlflow_name(name), str(value)[:MAX_PARAM_VAL_LENGTH]) for name, value in flat(facts)]
        for start in range(0, len(params), MAX_PARAMS_TAGS_PER_BATCH):
            self.client.log_batch(self.run_id, params=params[start : start + MAX_PARAMS_TAGS_PER_BATCH])

    def add(self, figures: Figures, step: int) -> None:
        """Takes figures."""
        from mlflow.entities import Metric
        from mlflow.utils.validation import MAX_METRICS_PER_BATCH

        now = int(time.time() * 1000)
        metrics = [Metric(_mlflow_name(name), value, now, step) for name, value in figures.items()]
        for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + MAX_METRICS_PER_BATCH])

    def add_pictures(self, pictures: Pictures, step: int) -> None:
        """Takes pictures."""
        for name, path in pictures.items():
            self.client.log_artifact(self.run_id, str(path), f"{name}/step-{step}")

    def finish(self, failed: bool) -> None:
        """Says how it ended."""
        self.client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")


def _mlflow_name(name: str) -> str:
    """A name with the characters that MLflow takes."""
    return re.sub(r"[^/\w.\- :]", "_", name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextmanager
def logging_to(path: Path) -> Iterator[logging.Logger]:
    """A logger that writes to the run's train.log."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.Logger(f"segcli.{path.parent.name}")
    log.addHandler(handler)
    try:
        yield log
    finally:
        handler.close()
