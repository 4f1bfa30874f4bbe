"""The LiteRT backend: an exported .tflite file, by its own interpreter in a process of its own."""

import importlib.util
import sys
from pathlib import Path

from segcli.engine.backends.exported import ExportedFile
from segcli.engine.backends.isolated_file import open_in
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import LITERT, Worker
from segcli.io.exported import read_tflite_card
from segcli.parallel import Progress, silent


def load_tflite(path: Path, progress: Progress = silent, offline: bool = False) -> ExportedFile:
    """Opens a .tflite file.

    The interpreter is that of `ai-edge-litert` where it is installed beside segcli, else the isolated environment's.

    Args:
        path: the file.
        progress: told where the environment has to be made.
        offline: make it without a network.

    Raises:
        ModelError: if it is missing, damaged, or was not written by `seg export tflite`.
    """
    card = read_tflite_card(path)
    if importlib.util.find_spec("ai_edge_litert") is not None:
        worker = Worker(Path(sys.executable), LITERT)
    else:
        worker = isolated_environment(progress, offline).worker(LITERT)
    return open_in(worker, {"file": str(path.resolve())}, path, card)
