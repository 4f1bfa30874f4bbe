"""int8 in TensorFlow Lite: weights per channel and activations to int8, by the isolated environment's quantiser."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from segcli.engine.backends.exported import ExportedFile
from segcli.engine.backends.isolated_file import open_in
from segcli.engine.export.int8 import Calibration, Quantised, choose_layers, group_nodes, inputs_of
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import INT8, Worker, WorkerError
from segcli.errors import ExportError, ModelError
from segcli.io.card import ModelCard
from segcli.parallel import Progress, available_cores, silent


def quantise(path: Path, card: ModelCard, calibration: Calibration, progress: Progress = silent) -> Quantised:
    """Quantises a .tflite file in its place, but for the layers that lose too much.

    Args:
        path: in fp32, without a card inside.
        card: with the contract of the file.
        calibration: real images, and what may be lost.
        progress: told of each step.

    Raises:
        ExportError: if nothing can be quantised without losing more, or the quantiser fails.
    """
    worker = isolated_environment(progress).worker(INT8)
    try:
        with tempfile.TemporaryDirectory() as folder:
            quantiser = _TfliteQuantiser(worker, path, card, calibration, Path(folder), progress)
            found = choose_layers(quantiser, card, calibration, progress)
            path.write_bytes(quantiser.file(found.computed).read_bytes())
    except (WorkerError, ModelError) as error:
        raise ExportError(f"the file cannot be quantised: {error}") from None
    finally:
        worker.close()
    return found


class _TfliteQuantiser:
    """Quantises one file in several ways, with the ranges of its activations measured once."""

    def __init__(
        self, worker: Worker, path: Path, card: ModelCard, calibration: Calibration, folder: Path, progress: Progress
    ) -> None:
        self.worker, self.path, self.card, self.folder = worker, path, card, folder
        images = list(inputs_of(calibration.train, card, progress))
        question = {"task": "calibrate", "file": str(path), "shape": images[0].shape, "threads": available_cores()}
        answer, _ = worker.ask(question, images)
        self.nodes = group_nodes(answer["layers"], answer["weighted"])

    @property
    def groups(self) -> Sequence[str]:
        return list(self.nodes)

    def open(self, names: Sequence[str]) -> ExportedFile:
        file = self.file(names)
        return open_in(self.worker, {"file": str(file)}, file, self.card)

    def file(self, names: Sequence[str]) -> Path:
        """The file in which these groups are quantised."""
        if not names:
            return self.path
        file = self.folder / "quantised.tflite"
        layers = [node for name in names for node in self.nodes[name]]
        self.worker.ask({"task": "quantise", "layers": layers, "to": str(file)})
        return file
