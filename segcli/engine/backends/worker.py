"""A predictor whose runtime is another process: what the backends of LiteRT and TensorFlow share."""

from pathlib import Path

import numpy as np

from segcli.engine.arrays import Logits
from segcli.engine.isolated.inside_messages import Message
from segcli.engine.isolated.worker import Worker, WorkerError
from segcli.errors import ModelError
from segcli.io.card import ModelCard
from segcli.io.images import Pixels
from segcli.parallel import available_cores


class WorkerBackend:
    """Predicts with a file that a process has opened, at the one size that the file was made for.

    Args:
        worker: answers `open` and `run`.
        question: names the file for `open`.
        path: the file, for messages.
        card: what the file carries.

    Raises:
        ModelError: if the process cannot open the file.
    """

    def __init__(self, worker: Worker, question: Message, path: Path, card: ModelCard) -> None:
        self._worker, self._path, self._card = worker, path, card
        try:
            shapes, _ = worker.ask({"task": "open", "threads": available_cores(), **question})
        except WorkerError as error:
            raise ModelError(f"{path} cannot be opened: {error}") from None
        self._batch, *sides = shapes["input"]
        self._channels_last = sides[-1] == 3
        self.size = (sides[0], sides[1]) if self._channels_last else (sides[1], sides[2])
        self._output = shapes["output"][1:]
        self._dtype = np.dtype(shapes["dtype"])

    @property
    def card(self) -> ModelCard:
        """What the file carries."""
        return self._card

    @property
    def precision(self) -> str:
        """The number format that the file was exported in."""
        return self._card.precision

    @property
    def batch_size(self) -> int:
        """How many images it computes well at a time."""
        return 1

    @property
    def concurrency(self) -> int:
        """One: the runtime shares each call among its own threads."""
        return 1

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits of images (N×H×W×3) of the file's own size, as numpy's array.

        Raises:
            ModelError: if the process fails.
        """
        assert images.shape[1:3] == self.size
        if self._batch == 1 and len(images) > 1:
            return np.concatenate([self._computed(image[None]) for image in images])
        return self._computed(images)

    def _computed(self, images: Pixels) -> Logits:
        batch = images if self._channels_last else images.transpose(0, 3, 1, 2)
        try:
            _, (values,) = self._worker.ask({"task": "run"}, [np.ascontiguousarray(batch)])
        except WorkerError as error:
            raise ModelError(f"{self._path} fails to compute: {error}") from None
        output = np.frombuffer(values, self._dtype).reshape(len(images), *self._output)
        return output.transpose(0, 3, 1, 2) if self._channels_last else output
