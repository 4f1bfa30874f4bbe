"""The TensorFlow backend: a SavedModel as TensorFlow Serving wants it, by its signature in the isolated environment."""

from pathlib import Path

from segcli.engine.backends.exported import ExportedFile
from segcli.engine.backends.isolated_file import open_in
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import TENSORFLOW
from segcli.errors import ModelError
from segcli.io.exported import read_savedmodel_card, savedmodel_version
from segcli.parallel import Progress, silent


def load_savedmodel(path: Path, progress: Progress = silent, offline: bool = False) -> ExportedFile:
    """Opens a SavedModel, in a process of its own.

    Args:
        path: the model's folder, whose newest version is taken.
        progress: told where the environment has to be made.
        offline: make it without a network.

    Raises:
        ModelError: if it is damaged, or was not written by `seg export savedmodel`.
    """
    version = savedmodel_version(path)
    if version is None:
        raise ModelError(f"{path} holds no SavedModel in a folder that is named by a number")
    card = read_savedmodel_card(version)
    worker = isolated_environment(progress, offline).worker(TENSORFLOW)
    return open_in(worker, {"folder": str(version.resolve())}, path, card)
