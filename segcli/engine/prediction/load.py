"""Loads a model as a predictor, whatever computes it."""

from collections.abc import Callable
from pathlib import Path

from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import Resizing
from segcli.errors import UsageError
from segcli.io.card import Inference


def load_predictor(
    model: Path, device: str = "auto", size: int | tuple[int, int] | None = None, precision: str = "auto"
) -> Predictor:
    """Loads a bundle or an exported file as a predictor.

    Args:
        model: a bundle folder, or an .onnx file.
        device: where a bundle computes: auto, cpu, cuda or mps.
        size: another size than the model's own, as `val.image_size`.
        precision: in which number format a bundle computes: fp32, bf16, fp16, or auto for its own.

    Raises:
        UsageError: if the device or the number format is not to be had.
        ModelError: if it is missing or damaged.
    """
    backend = _BACKENDS.get(model.suffix.lower(), _load_torch)(model, device, precision)
    inference = backend.card.inference if size is None else Inference.of(size)
    return Resizing(backend, inference)


def _load_onnx(model: Path, device: str, precision: str) -> Predictor:
    from segcli.engine.backends.onnxruntime import OnnxBackend

    if device != "auto":
        raise UsageError(f"--device is for bundles; {model} runs on what this onnxruntime offers")
    backend = OnnxBackend.load(model)
    if precision not in {"auto", backend.precision}:
        raise UsageError(f"--precision is for bundles; {model} was exported in {backend.precision}")
    return backend


def _load_torch(model: Path, device: str, precision: str) -> Predictor:
    # Imported here, so that predicting with an exported file never imports torch.
    from segcli.engine.backends.pytorch import TorchBackend

    return TorchBackend.load(model, device, precision)


_BACKENDS: dict[str, Callable[[Path, str, str], Predictor]] = {".onnx": _load_onnx}
