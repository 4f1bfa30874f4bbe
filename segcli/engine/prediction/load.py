"""Loads a model as a predictor, whatever computes it."""

from collections.abc import Callable
from pathlib import Path

from segcli.engine.backends.exported import ExportedFile, Stranger
from segcli.engine.prediction.one_size import OneSize
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import Resizing
from segcli.errors import UsageError
from segcli.io.card import Inference
from segcli.io.formats import format_of
from segcli.parallel import Progress, silent


def load_predictor(
    model: Path,
    device: str = "auto",
    size: int | tuple[int, int] | None = None,
    precision: str = "auto",
    stranger: Stranger | None = None,
    progress: Progress = silent,
) -> Predictor:
    """Loads a bundle or an exported file as a predictor.

    Args:
        model: a bundle folder, or an exported file.
        device: where a bundle computes: auto, cpu, cuda or mps.
        size: another size than the model's own, as `val.image_size`.
        precision: in which number format a bundle computes: fp32, bf16, fp16, or auto for its own.
        stranger: what an ONNX file that seg did not write is; None for all others.
        progress: told where what computes the file has to be fetched first.

    Raises:
        UsageError: if the device or the number format is not to be had, or the file takes no other size.
        ModelError: if it is missing or damaged.
    """
    known = format_of(model)
    if stranger is not None and (known is None or known.name != "onnx"):
        raise UsageError(f"--classes and the like tell what an ONNX file is, and {model} is none")
    if known is None:
        # Imported here, so that predicting with an exported file never imports torch.
        from segcli.engine.backends.pytorch import TorchBackend

        backend: Predictor = TorchBackend.load(model, device, precision)
        return Resizing(backend, backend.card.inference if size is None else Inference.of(size))
    if device != "auto":
        raise UsageError(f"--device is for bundles; {model} runs on what its runtime offers")
    file = _load_onnx(model, progress, stranger) if stranger is not None else LOADERS[known.name](model, progress)
    if precision not in {"auto", file.precision}:
        raise UsageError(f"--precision is for bundles; {model} was exported in {file.precision}")
    return of_any_size(file, size, model)


def of_any_size(file: ExportedFile, size: int | tuple[int, int] | None = None, path: Path | None = None) -> Predictor:
    """An exported file as a predictor that takes images of any size, with the resize that its model wants.

    Raises:
        UsageError: if another size is asked for, and the file has its own inside.
    """
    contract, inference = file.contract, file.card.inference if size is None else Inference.of(size)
    if size is not None and (contract.size or contract.resizes):
        own = f"{contract.size[0]}x{contract.size[1]} only" if contract.size else "any size, and resizes by itself"
        raise UsageError(f"--size: {path} takes images of {own}; leave it out, or export anew")
    inner: Predictor = OneSize(file, contract.size) if contract.size else file
    return inner if contract.resizes else Resizing(inner, inference)


def _load_onnx(path: Path, progress: Progress = silent, stranger: Stranger | None = None) -> ExportedFile:
    from segcli.engine.backends.onnxruntime import load_onnx

    return load_onnx(path, stranger)


def _load_openvino(path: Path, progress: Progress = silent) -> ExportedFile:
    from segcli.engine.backends.openvino import load_openvino

    return load_openvino(path)


def _load_program(path: Path, progress: Progress = silent) -> ExportedFile:
    from segcli.engine.backends.program import load_program

    return load_program(path)


def _load_tflite(path: Path, progress: Progress = silent) -> ExportedFile:
    from segcli.engine.backends.tflite import load_tflite

    return load_tflite(path, progress)


def _load_savedmodel(path: Path, progress: Progress = silent) -> ExportedFile:
    from segcli.engine.backends.savedmodel import load_savedmodel

    return load_savedmodel(path, progress)


LOADERS: dict[str, Callable[..., ExportedFile]] = {
    "onnx": _load_onnx,
    "openvino": _load_openvino,
    "torch": _load_program,
    "tflite": _load_tflite,
    "savedmodel": _load_savedmodel,
}
"""What opens a file of each format: told its path, and perhaps a progress."""
