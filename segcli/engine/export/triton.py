"""An exported ONNX file as a model of a Triton Inference Server: `ROOT/NAME/config.pbtxt` and `ROOT/NAME/1/model.onnx`.

The fields are those of `model_config.proto` in triton-inference-server/common.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segcli.engine.backends.onnxruntime import open_session
from segcli.errors import UsageError
from segcli.io.files import replacing_folder

LARGEST_BATCH = 8
"""Images that Triton computes together at most."""

QUEUE_MICROSECONDS = 2000
"""How long a request waits for others of its size: little beside a forward pass, enough for what comes at once."""

_WARM_UP_SIDE = 512  # of the image that is predicted before the first request, where sizes are free
_TYPES = {
    "tensor(uint8)": "TYPE_UINT8", "tensor(uint16)": "TYPE_UINT16",
    "tensor(float)": "TYPE_FP32", "tensor(float16)": "TYPE_FP16",
}  # fmt: skip


def write_repository(file: Path, root: Path, name: str) -> Path:
    """Lays out an exported file as a model in a repository; an older one of that name is replaced as a whole.

    Args:
        file: what `seg export onnx` wrote.
        root: the model repository, which `tritonserver --model-repository` names; made where it is missing.
        name: of the model, which is the last part of the address of its requests.

    Returns:
        The model's folder.

    Raises:
        UsageError: if the name is none for a folder.
        ModelError: if the file is damaged.
    """
    if name in {"", ".", ".."} or set(name) & set('/\\"'):
        raise UsageError(f"{name!r} cannot be the name of a model in Triton; give a plain one")
    text = config_text(file, name)
    with replacing_folder(root / name) as staged:
        (staged / "1").mkdir()
        shutil.copyfile(file, staged / "1" / "model.onnx")
        (staged / "config.pbtxt").write_text(text, encoding="utf-8")
    return root / name


def config_text(file: Path, name: str) -> str:
    """The configuration of a file: batches are formed of what arrives together, where its batch is free."""
    session = open_session(file)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    batched = not isinstance(inputs[0].shape[0], int)
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {LARGEST_BATCH if batched else 0}"]
    for field, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            lines += _tensor(field, tensor, batched)
    if batched:
        lines += ["dynamic_batching {", f"  max_queue_delay_microseconds: {QUEUE_MICROSECONDS}", "}"]
    return "\n".join([*lines, *_warm_up(inputs[0], batched)]) + "\n"


def _tensor(field: str, tensor: Any, batched: bool) -> Iterator[str]:
    yield f"{field} {{"
    yield f'  name: "{tensor.name}"'
    yield f"  data_type: {_TYPES[tensor.type]}"
    yield f"  dims: {_sides(tensor.shape, batched, free=-1)}"
    yield "}"


def _warm_up(image: Any, batched: bool) -> Iterator[str]:
    """An image that is predicted while the model is loaded, so that no client waits for what happens only once."""
    sides = _sides(image.shape, batched, free=_WARM_UP_SIDE)
    yield "model_warmup {"
    yield '  name: "an image"'
    yield f"  batch_size: {1 if batched else 0}"
    yield "  inputs {"
    yield f'    key: "{image.name}"'
    yield f"    value {{ data_type: {_TYPES[image.type]} dims: {sides} random_data: true }}"
    yield "  }"
    yield "}"


def _sides(shape: Sequence[int | str | None], batched: bool, free: int) -> list[int]:
    """The lengths of a shape without the batch, and `free` for those that a request chooses."""
    return [side if isinstance(side, int) else free for side in (shape[1:] if batched else shape)]
