"""The LiteRT backend: an exported .tflite file, by its own interpreter."""

import importlib.util
import sys
import zipfile
from pathlib import Path

from segcli.engine.backends.worker import WorkerBackend
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import LITERT, Worker
from segcli.errors import ModelError
from segcli.io.card import CARD, ModelCard
from segcli.parallel import Progress, silent


def load_tflite(path: Path, progress: Progress = silent, offline: bool = False) -> WorkerBackend:
    """Opens a .tflite file, in a process of its own.

    The interpreter is that of `ai-edge-litert` where it is installed beside segcli, else the isolated environment's.

    Args:
        path: the file.
        progress: told where the environment has to be made.
        offline: make it without a network.

    Raises:
        ModelError: if it is missing, damaged, or was not written by `seg export tflite`.
    """
    card = read_tflite_card(path)
    return WorkerBackend(litert_worker(progress, offline), {"file": str(path.resolve())}, path, card)


def litert_worker(progress: Progress, offline: bool) -> Worker:
    """A process that runs .tflite files."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        return Worker(Path(sys.executable), LITERT)
    return isolated_environment(progress, offline).worker(LITERT)


def read_tflite_card(path: Path) -> ModelCard:
    """The card inside a .tflite file: as TFLite keeps files with a model, in a zip archive that is appended to it.

    Raises:
        ModelError: if there is none.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(CARD).decode(errors="replace")
    except (zipfile.BadZipFile, KeyError):
        raise ModelError(
            f"{path} carries no {CARD}; only whole files written by `seg export tflite` can be used"
        ) from None
    return ModelCard.from_json(text, path)
