"""Loads a model as a predictor, whatever computes it."""

from collections.abc import Callable
from pathlib import Path

from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import Resizing
from segcli.errors import UsageError
from segcli.io.card import Inference
from segcli.io.exported import TFLITE, savedmodel_version


def load_predictor(
    model: Path, device: str = "auto", size: int | tuple[int, int] | None = None, precision: str = "auto"
) -> Predictor:
    """Loads a bundle or an exported file as a predictor.

    Args:
        model: a bundle folder, an .onnx or .tflite file, or the folder of a SavedModel.
        device: where a bundle computes: auto, cpu, cuda or mps.
        size: another size than the model's own, as `val.image_size`.
        precision: in which number format a bundle computes: fp32, bf16, fp16, or auto for its own.

    Raises:
        UsageError: if the device or the number format is not to be had.
        ModelError: if it is missing or damaged.
    """
    kind = SAVEDMODEL if savedmodel_version(model) else model.suffix.lower()
    backend = _BACKENDS.get(kind, _load_torch)(model, device, precision)
    inference = backend.card.inference
    if size is not None and inference.mode == "exact":
        raise UsageError(f"--size is for models that take any size; {model} was exported at {inference.size}")
    return Resizing(backend, inference if size is None else Inference.of(size))


def _load_onnx(model: Path, device: str, precision: str) -> Predictor:
    from segcli.engine.backends.onnxruntime import OnnxBackend

    return _as_exported(OnnxBackend.load, model, device, precision)


def _load_tflite(model: Path, device: str, precision: str) -> Predictor:
    from segcli.engine.backends.tflite import load_tflite

    return _as_exported(load_tflite, model, device, precision)


def _load_savedmodel(model: Path, device: str, precision: str) -> Predictor:
    from segcli.engine.backends.savedmodel import load_savedmodel

    return _as_exported(load_savedmodel, model, device, precision)


def _as_exported(load: Callable[[Path], Predictor], model: Path, device: str, precision: str) -> Predictor:
    """Loads an exported file, for which neither device nor number format can be chosen."""
    if device != "auto":
        raise UsageError(f"--device is for bundles; {model} runs on what its runtime offers")
    backend = load(model)
    if precision not in {"auto", backend.precision}:
        raise UsageError(f"--precision is for bundles; {model} was exported in {backend.precision}")
    return backend


def _load_torch(model: Path, device: str, precision: str) -> Predictor:
    # Imported here, so that predicting with an exported file never imports torch.
    from segcli.engine.backends.pytorch import TorchBackend

    return TorchBackend.load(model, device, precision)


SAVEDMODEL = "a SavedModel's folder"

_BACKENDS: dict[str, Callable[[Path, str, str], Predictor]] = {
    ".onnx": _load_onnx,
    TFLITE: _load_tflite,
    SAVEDMODEL: _load_savedmodel,
}
