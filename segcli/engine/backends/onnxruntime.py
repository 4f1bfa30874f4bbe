"""ONNX Runtime: an .onnx file, without torch."""

from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from segcli.engine.backends.exported import ExportedFile
from segcli.errors import ModelError
from segcli.io.card import CARD, ModelCard


def load_onnx(path: Path, stranger: ModelCard | None = None) -> ExportedFile:
    """Opens a file.

    Args:
        path: of `seg export onnx`, or of others.
        stranger: what a file of others does not say itself; its contract is read off the file's ends.

    Raises:
        ModelError: if it is missing or damaged, or carries no card and none is given.
    """
    session = open_session(path)
    text = session.get_modelmeta().custom_metadata_map.get(CARD)
    if text is not None:
        card = ModelCard.from_json(text, path)
    elif stranger is not None:
        card = stranger
    else:
        raise ModelError(
            f"{path} carries no {CARD}, so it was not written by `seg export`; say what it is with --classes (and "
            f"--mean and --std, if it wants normalised images)"
        )
    name = session.get_inputs()[0].name

    def run(batch: Any) -> NDArray[Any]:
        output: NDArray[Any] = session.run(None, {name: batch})[0]
        return output

    return ExportedFile(run, card)


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
