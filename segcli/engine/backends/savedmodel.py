"""The TensorFlow backend: a SavedModel as TensorFlow Serving wants it, by its signature in the isolated environment."""

from pathlib import Path

from segcli.engine.backends.worker import WorkerBackend
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import TENSORFLOW
from segcli.errors import ModelError
from segcli.io.card import CARD, ModelCard
from segcli.parallel import Progress, silent

GRAPH = "saved_model.pb"
EXTRA = "assets.extra"


def load_savedmodel(path: Path, progress: Progress = silent, offline: bool = False) -> WorkerBackend:
    """Opens a SavedModel, in a process of its own.

    Args:
        path: the model's folder, whose newest version is taken, or that of one version.
        progress: told where the environment has to be made.
        offline: make it without a network.

    Raises:
        ModelError: if it is damaged, or was not written by `seg export savedmodel`.
    """
    folder = newest_version(path)
    if folder is None:
        raise ModelError(f"{path} holds no SavedModel: no {GRAPH}, and no folder that is named by a number and has one")
    card = folder / EXTRA / CARD
    if not card.is_file():
        raise ModelError(f"{folder} carries no {CARD}; only what `seg export savedmodel` wrote can be used")
    found = ModelCard.from_json(card.read_text(encoding="utf-8", errors="replace"), card)
    worker = isolated_environment(progress, offline).worker(TENSORFLOW)
    return WorkerBackend(worker, {"folder": str(folder.resolve())}, path, found)


def newest_version(path: Path) -> Path | None:
    """The folder of a SavedModel: itself, or its version of the highest number, as TensorFlow Serving chooses."""
    if (path / GRAPH).is_file():
        return path
    versions = [folder for folder in path.glob("*") if folder.name.isdecimal() and (folder / GRAPH).is_file()]
    return max(versions, key=lambda folder: int(folder.name), default=None)
