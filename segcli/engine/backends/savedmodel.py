"""The TensorFlow backend: a SavedModel as TensorFlow Serving wants it, by its signature in the isolated environment."""

from pathlib import Path

from segcli.engine.backends.worker import WorkerBackend
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import TENSORFLOW
from segcli.errors import ModelError
from segcli.io.exported import read_savedmodel_card, savedmodel_version
from segcli.parallel import Progress, silent


def load_savedmodel(path: Path, progress: Progress = silent, offline: bool = False) -> WorkerBackend:
    """Opens a SavedModel, in a process of its own.

    Args:
        path: the model's folder, whose newest version is taken, or that of one version.
        progress: told where the environment has to be made.
        offline: make it without a network.

    Raises:
        ModelError: if it is damaged, or was not written by `seg export savedmodel`.
    """
    version = savedmodel_version(path)
    if version is None:
        raise ModelError(f"{path} holds no SavedModel, neither itself nor in a folder that is named by a number")
    card = read_savedmodel_card(version)
    worker = isolated_environment(progress, offline).worker(TENSORFLOW)
    return WorkerBackend(worker, {"folder": str(version.resolve())}, path, card)
