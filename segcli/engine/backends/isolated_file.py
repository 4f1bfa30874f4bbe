"""Exported files whose runtime is another process: what the backends of LiteRT and TensorFlow share."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.engine.backends.exported import ExportedFile
from segcli.engine.isolated.inside_messages import Message
from segcli.engine.isolated.worker import Worker, WorkerError
from segcli.errors import ModelError
from segcli.io.card import ModelCard
from segcli.parallel import available_cores


def open_in(worker: Worker, question: Message, path: Path, card: ModelCard) -> ExportedFile:
    """Lets a process open a file.

    Args:
        worker: answers `open`, and then `run` for each batch.
        question: names the file.
        path: the file, for messages.
        card: what the file carries.

    Raises:
        ModelError: if the process cannot open the file; later, if it cannot compute.
    """
    try:
        worker.ask({"task": "open", "threads": available_cores(), **question})
    except WorkerError as error:
        raise ModelError(f"{path} cannot be opened: {error}") from None

    def run(batch: Any) -> NDArray[Any]:
        try:
            output, (values,) = worker.ask({"task": "run", "shape": batch.shape}, [batch])
        except WorkerError as error:
            raise ModelError(f"{path} fails to compute: {error}") from None
        return np.frombuffer(values, output["dtype"]).reshape(output["shape"])

    return ExportedFile(run, card)
