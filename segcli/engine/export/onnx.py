"""seg export onnx: a bundle as an ONNX file with the model card inside, checked before it appears."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch

from segcli.datasets.layouts import shapes
from segcli.datasets.open import open_for_model
from segcli.engine.backends.onnxruntime import OnnxBackend
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.export.conversion import convert, to_fp16
from segcli.engine.export.parity import Parity, compare
from segcli.engine.prediction.resizing import resize_images
from segcli.errors import ExportError, UsageError
from segcli.io.bundle import load_bundle
from segcli.io.card import CARD, ModelCard
from segcli.io.files import replacing
from segcli.io.images import Pixels
from segcli.parallel import Progress, silent

# Shares of equal labels below which a file is refused.
REQUIRED_FP32 = 0.999
REQUIRED_FP16 = 0.995
_NUM_IMAGES = 4


def export_onnx(
    bundle: Path, target: Path, fp16: bool = False, data: Path | None = None, progress: Progress = silent
) -> Parity:
    """Writes a bundle as ONNX: `image` uint8 B×3×H×W in, `logits` float32 B×C×H×W out, B, H and W free.

    Args:
        bundle: the model's folder.
        target: the file.
        fp16: weights and arithmetic in half precision.
        data: a dataset whose images serve for the check; None takes the model's own.
        progress: told of each step.

    Raises:
        UsageError: if the model is an exported file already, or the target is no .onnx file.
        ExportError: if it cannot be converted, or the file disagrees with the model; nothing is written then.
    """
    if bundle.is_file():
        raise UsageError(f"{bundle} is an exported file; give the bundle or the run that it was made from")
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"-o {target}: the file's name must end in .onnx")
    network, card = load_bundle(bundle)
    images, origin = _images(card, data)
    progress("converting", 0, 1)
    model = convert(network)
    model = to_fp16(model) if fp16 else model
    progress("converting", 1, 1)
    onnx.helper.set_model_props(model, {CARD: replace(card, precision="fp16" if fp16 else "fp32").to_json()})
    required = REQUIRED_FP16 if fp16 else REQUIRED_FP32
    with replacing(target) as staged:
        onnx.save(model, staged)
        reference = TorchBackend(network, card, torch.device("cpu"), "fp32")
        agreements = compare(reference, OnnxBackend.load(staged), images, progress)
        worst = min(agreements, key=lambda agreement: agreement.labels)
        if worst.labels < required:
            raise ExportError(
                f"the exported file agrees with {bundle} on {worst.labels:.2%} of the pixels at "
                f"{worst.size[1]}×{worst.size[0]}, less than {required:.1%}; {target} is not written"
            )
    return Parity(target, agreements, required, origin)


def _images(card: ModelCard, data: Path | None) -> tuple[Sequence[Pixels], str]:
    """A few images to compare on, at the size the model wants, and where they come from."""
    try:
        dataset = open_for_model(card, data)
        samples = next(dataset.splits[split] for split in ("val", "test", "train") if dataset.splits.get(split))
        origin = dataset.name
    except UsageError:
        if data is not None:
            raise
        # The model has travelled without its data: any picture shows whether the file computes the same.
        samples, origin = (
            shapes.dataset().splits["val"],
            "the embedded shapes, as the model's own data is not here",
        )
    images = [sample.image() for sample in samples[:_NUM_IMAGES]]
    sizes = [card.inference.network_size(*image.shape[:2]) for image in images]
    return [resize_images(image[None], size)[0] for image, size in zip(images, sizes, strict=True)], origin
