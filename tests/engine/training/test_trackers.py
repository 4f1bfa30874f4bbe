import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segcli.config import RunConfig, TrackingConfig
from segcli.engine.training import trackers as tracking
from segcli.engine.training.loop import train
from segcli.engine.training.provenance import git_commit
from segcli.engine.training.trackers import Board, check_trackers, trackers
from segcli.errors import UsageError
from segcli.io.rundir import RunDir

FACTS = {"config": {"train": {"epochs": 2}, "classes": ["a, b", "c"]}, "git_commit": None, "versions": {"torch": "2"}}
ROWS = [
    {"epoch": 1, "step": 3, "val_miou": 0.25, "lr": np.float32(0.5), "val_iou/wall, (brick)": 0.125, "note": "x"},
    {"epoch": 2, "step": 6, "val_miou": 0.5, "lr": float("inf"), "val_iou/wall, (brick)": float("nan"), "note": "x"},
]
# MLflow 3.17 meets SQLAlchemy 2.1 with a loader that is deprecated there.
mlflow_warnings = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps W&B's and MLflow's own files in the test's folder, and takes away what the machine has set."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    (tmp_path / "run").mkdir()
    return RunDir(tmp_path / "run")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (20, 10), (10, 200, 30)).save(tmp_path / "panel.png")
    return tmp_path / "panel.png"


def config(**values: Any) -> TrackingConfig:
    return TrackingConfig.model_validate({"tensorboard": False, **values})


def follow(settings: TrackingConfig, run: RunDir, rows: list[dict[str, Any]], **pictures: Path) -> list[str]:
    """Hands rows and pictures to a board; gives what was said."""
    said: list[str] = []
    with trackers(settings, run, FACTS, said.append) as board:
        for row in rows:
            board.add(row)
        board.add_pictures(pictures, rows[-1]["step"])
    return said


def test_tensorboard_holds_figures_pictures_and_facts(run: RunDir, picture: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert follow(config(tensorboard=True), run, ROWS, val_predictions=picture) == []
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {
        "epoch": [(3, 1), (6, 2)], "val_miou": [(3, 0.25), (6, 0.5)], "lr": [(3, 0.5)],
        "val_iou/wall, (brick)": [(3, 0.125)],
    }  # fmt: skip
    (image,) = events.Images("val_predictions")
    assert (image.step, image.width, image.height) == (6, 20, 10)
    (text,) = events.Tensors("facts/text_summary")
    assert b"epochs: 2" in text.tensor_proto.string_val[0]


def wandb_records(folder: Path) -> Iterator[Any]:
    """The records of the .wandb file in a folder: a LevelDB log, behind a header of 7 bytes, of protobuf messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    data, place, message = path.read_bytes(), 7, b""
    while place < len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # a whole message, or the last part of one
            yield Record.FromString(message)
            message = b""


def start(folder: Path) -> Any:
    return next(record.run for record in wandb_records(folder) if record.HasField("run"))


def history(folder: Path, number: int) -> list[dict[str, str]]:
    """A number of rows with values as JSON, but for W&B's own; its writer may be a little behind on a busy machine."""
    deadline = time.monotonic() + 30
    rows: list[Any] = []
    while len(rows) < number and time.monotonic() < deadline:
        rows = [record.history.item for record in wandb_records(folder) if record.HasField("history")]
    named = [{"".join(item.nested_key) or item.key: item.value_json for item in row} for row in rows]
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in named]


@pytest.fixture(params=[False, True], ids=["by config", "by environment"])
def by_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Whether the environment says that W&B is offline; W&B reads it once, so it is started anew before and behind."""
    import wandb

    if not request.param:
        yield False
        return
    wandb.teardown()
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        yield True
    wandb.teardown()


def test_wandb_works_offline_inside_the_run(run: RunDir, picture: Path, by_environment: bool) -> None:
    import wandb

    settings = config(wandb={"project": "p", "tags": ["a"], **({} if by_environment else {"mode": "offline"})})
    said = follow(settings, run, ROWS[:1], val_predictions=picture)
    (folder,) = (run.path / "wandb").glob("offline-run-*")
    assert said == [f"wandb: offline; wandb sync {folder} sends it"]
    figures, pictures = history(folder, 2)
    assert figures == {"epoch": "1", "step": "3", "val_miou": "0.25", "lr": "0.5", "val_iou/wall, (brick)": "0.125"}
    assert pictures["step"] == "3"
    assert [path.suffix for path in (folder / "files" / "media" / "images").iterdir()] == [".png"]
    assert (start(folder).project, start(folder).display_name, list(start(folder).tags)) == ("p", "run", ["a"])
    assert {item.key: item.value_json for item in start(folder).config.update}["git_commit"] == "null"
    assert wandb.run is None
    assert not [thread.name for thread in threading.enumerate() if "Otel" in thread.name]  # would send telemetry


def test_a_resumed_run_goes_on_in_the_same_wandb_run(run: RunDir) -> None:
    for row in ROWS:
        follow(config(wandb={"mode": "offline"}), run, [row])
        time.sleep(1 - time.time() % 1)  # W&B names its folder by the second
    folders = list((run.path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert {start(folder).run_id for folder in folders} == {(run.path / "wandb" / "run-id").read_text().strip()}


def test_wandb_without_a_key_is_refused_with_the_cures(run: RunDir) -> None:
    with pytest.raises(UsageError, match=r"tracking.wandb cannot start: No API key.*wandb login.*offline"):
        follow(config(wandb=True), run, ROWS)


@mlflow_warnings
def test_mlflow_keeps_a_run_over_its_resumption(run: RunDir, picture: Path) -> None:
    import mlflow

    uri = f"sqlite:///{run.path}/mlflow/mlflow.db"
    globally = mlflow.get_tracking_uri()
    for row in ROWS:
        assert follow(config(mlflow=True), run, [row], val_predictions=picture) == [f"mlflow: {uri}, experiment segcli"]
    client = mlflow.MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("segcli").experiment_id])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params == {
        "config.train.epochs": "2", "config.classes": "['a, b', 'c']", "git_commit": "None", "versions.torch": "2",
    }  # fmt: skip
    figures = {
        name: [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }
    assert figures == {
        "epoch": [(3, 1), (6, 2)], "val_miou": [(3, 0.25), (6, 0.5)], "lr": [(3, 0.5)],
        "val_iou/wall_ _brick_": [(3, 0.125)],
    }  # fmt: skip
    assert [file.path for file in client.list_artifacts(found.info.run_id, "val_predictions/step-6")] == [
        "val_predictions/step-6/panel.png"
    ]
    assert len(list((run.path / "mlflow" / "artifacts").rglob("panel.png"))) == 2
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == globally

    # An interrupted training leaves a failed run behind.
    with pytest.raises(KeyboardInterrupt), trackers(config(mlflow=True), run, FACTS):
        raise KeyboardInterrupt
    assert client.get_run(found.info.run_id).info.status == "FAILED"


@mlflow_warnings
def test_an_mlflow_uri_that_leads_nowhere_is_refused(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tracking.mlflow cannot start: .*mend tracking.mlflow.uri"):
        follow(config(mlflow={"uri": "nothing://x"}), run, ROWS)


class Recorder:
    """A tracker that keeps what it is given, and fails from a step on."""

    def __init__(self, fails_from: float = float("inf")) -> None:
        self.fails_from = fails_from
        self.steps: list[int] = []
        self.figures: list[dict[str, float]] = []
        self.finished: list[bool] = []

    def add(self, figures: Mapping[str, float], step: int) -> None:
        if step >= self.fails_from:
            raise OSError(28, "No space left on device")
        self.steps.append(step)
        self.figures.append(dict(figures))

    def add_pictures(self, pictures: Mapping[str, Path], step: int) -> None:
        self.add({}, step)

    def finish(self, failed: bool) -> None:
        self.finished.append(failed)


def test_a_tracker_that_fails_is_told_of_once_and_dropped() -> None:
    said: list[str] = []
    good, bad = Recorder(), Recorder(fails_from=6)
    board = Board([("bad", bad), ("good", good)], said.append)
    for row in ROWS:
        board.add(row)
    board.add_pictures({}, 6)
    board.finish(failed=False)
    assert said == ["tracking.bad failed and is left out from now on: [Errno 28] No space left on device"]
    assert (good.steps, good.finished) == ([3, 6, 6], [False])
    assert (bad.steps, bad.finished) == ([3], [])
    assert good.figures[1] == {"epoch": 2, "val_miou": 0.5}


def test_an_empty_board_takes_everything() -> None:
    board = Board()
    board.add(ROWS[0])
    board.add_pictures({"a": Path("nowhere.png")}, 3)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_extra_is_told_with_its_command_before_anything_else(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    from importlib.metadata import PackageNotFoundError

    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    check_trackers(config(**{name: True}))
    monkeypatch.setattr(tracking, "version", missing)
    check_trackers(config(tensorboard=True))
    with pytest.raises(UsageError, match=rf'tracking.{name} needs .*pip install "segcli\[{name}\]"'):
        train(tiny(tracking={name: True}), "a")
    assert not (tmp_path / "runs").exists()


def test_a_training_hands_over_what_it_is_made_from(tiny: Callable[..., RunConfig]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(tiny(tracking={"tensorboard": True}), "a")
    events = EventAccumulator(str(result.run.path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("val_miou")] == [
        (row["step"], pytest.approx(row["val_miou"])) for row in result.rows
    ]
    assert set(events.Tags()["images"]) == {"train_batch", "val_predictions", "confusion"}
    facts = events.Tensors("facts/text_summary")[0].tensor_proto.string_val[0].decode()
    for part in ("encoder: resnet18", "git_commit:", "fingerprint:", "torch:"):
        assert part in facts


def test_the_commit_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_commit() is None  # no repository
    git("init")
    assert git_commit() is None  # no commit
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    git("tag", "-a", "v1", "-m", "v1")
    (tmp_path / "new").write_text("runs and the like do not count")
    assert git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("2")
    assert git_commit() == git("rev-parse", "HEAD") + "-dirty"
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None
