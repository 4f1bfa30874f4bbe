"""The ONNX Runtime backend: an exported .onnx file, without torch."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort

from segcli.engine.arrays import Logits
from segcli.errors import ModelError
from segcli.io.card import CARD, ModelCard
from segcli.io.images import Pixels


class OnnxBackend:
    """Predicts with an ONNX Runtime session.

    Args:
        session: of a file that `seg export onnx` wrote.
        card: what the file carries.
    """

    def __init__(self, session: Any, card: ModelCard) -> None:
        self.session = session
        self._card = card

    @classmethod
    def load(cls, path: Path) -> Self:
        """Opens a file.

        Raises:
            ModelError: if it is missing, damaged, or was not written by `seg export onnx`.
        """
        session = open_session(path)
        text = session.get_modelmeta().custom_metadata_map.get(CARD)
        if text is None:
            raise ModelError(f"{path} carries no {CARD}; only files written by `seg export onnx` can be used")
        return cls(session, ModelCard.from_json(text, path))

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
        """Computes the logits, as numpy's array."""
        batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        logits: Logits = self.session.run(None, {"image": batch})[0]
        return logits


def open_session(path: Path) -> Any:
    """Opens an ONNX Runtime session on the best provider there is.

    Raises:
        ModelError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path, options, providers=ort.get_available_providers())
    except Exception as error:  # the runtime raises classes of its own, one for each kind of damage
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{path} cannot be opened as ONNX ({reason}); it is damaged, export it again") from None
