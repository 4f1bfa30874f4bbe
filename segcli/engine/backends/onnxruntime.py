"""ONNX Runtime: an .onnx file, without torch."""

from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from segcli.engine.backends.exported import ExportedFile, Stranger
from segcli.errors import ModelError, UsageError
from segcli.io.card import CARD, Contract, ModelCard
from segcli.parallel import available_cores
from segcli.task import Task

_HOST = "CPUExecutionProvider"
_PROVIDERS = ("CUDAExecutionProvider", _HOST)
"""What may compute, the best first. TensorRT and others must be built or chosen for a model, and so are not taken."""
_SIDE_BY_SIDE = 2  # while the logits of one image are resized and become labels, the next one is computed


def load_onnx(path: Path, stranger: Stranger | None = None) -> ExportedFile:
    """Opens a file.

    Args:
        path: of `seg export onnx`, or of others.
        stranger: what a file of others does not say itself; the rest is read off its input and output.

    Raises:
        UsageError: if what is said of the file does not fit it.
        ModelError: if it is missing or damaged, or carries no card and none is given.
    """
    session = open_session(path)
    text = session.get_modelmeta().custom_metadata_map.get(CARD)
    if text is not None:
        card = ModelCard.from_json(text, path)
    elif stranger is not None:
        card = _card_of(session, stranger, path)
    else:
        raise ModelError(
            f"{path} carries no {CARD}, so it was not written by `seg export`; say what it is with --classes (and "
            f"--mean and --std, if it wants normalised images)"
        )
    name = session.get_inputs()[0].name

    def run(batch: Any) -> NDArray[Any]:
        output: NDArray[Any] = session.run(None, {name: batch})[0]
        return output

    on_host = session.get_providers() == [_HOST]
    return ExportedFile(run, card, min(available_cores(), _SIDE_BY_SIDE) if on_host else 1)


def _card_of(session: Any, stranger: Stranger, path: Path) -> ModelCard:
    """The card of a file of others: from its only input, its first output and what was said of it."""
    image, output = session.get_inputs(), session.get_outputs()[0]
    if len(image) != 1 or len(image[0].shape) != 4 or 3 not in (image[0].shape[1], image[0].shape[3]):
        raise ModelError(f"{path} takes {[each.shape for each in image]}, not one batch of images with 3 channels")
    batch, *sides = image[0].shape
    layout = "nchw" if sides[0] == 3 else "nhwc"
    height, width = sides[1:] if layout == "nchw" else sides[:2]
    raw = image[0].type == "tensor(uint8)"
    if not raw and (stranger.mean is None or stranger.std is None):
        raise UsageError(
            f"{path} takes {image[0].type}, so images are normalised before it: say how with --mean and --std, such as "
            f"--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 (--mean 0,0,0 --std 1,1,1 for 0 … 1)"
        )
    labels = len(output.shape) == 3
    channels = None if labels else output.shape[1 if layout == "nchw" else 3]
    if isinstance(channels, int) and channels != len(stranger.classes):
        raise UsageError(f"--classes names {len(stranger.classes)} classes, and {path} gives {channels} channels")
    contract = Contract(
        layout, "labels" if labels else "logits", (height, width) if isinstance(height, int) else None,
        batch if isinstance(batch, int) else None, raw_pixels=raw,
    )  # fmt: skip
    nothing, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return ModelCard(
        Task.of(stranger.classes), "unknown", "unknown", None, stranger.mean or nothing, stranger.std or one,
        contract=contract,
    )  # fmt: skip


def open_session(path: Path) -> Any:
    """Opens an ONNX Runtime session on CUDA where this runtime has it, else on the CPU with all of its threads.

    They do not wait for work by spinning, since others read, draw and write beside them.

    Raises:
        ModelError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    there = ort.get_available_providers()
    try:
        return ort.InferenceSession(path, options, providers=[name for name in _PROVIDERS if name in there])
    except Exception as error:  # the runtime raises classes of its own, one for each kind of damage
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{path} cannot be opened as ONNX ({reason}); it is damaged, export it again") from None
