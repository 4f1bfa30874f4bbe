from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from segcli.components.models import ARCHITECTURES, ModelOptions, build_network
from segcli.config import RunConfig
from segcli.engine.backends.onnxruntime import OnnxBackend
from segcli.engine.export import onnx as export
from segcli.engine.export.conversion import convert, to_fp16
from segcli.engine.export.parity import odd_size
from segcli.engine.training.loop import train
from segcli.errors import ExportError, ModelError, UsageError
from segcli.io.card import CARD
from segcli.task import Task

SMALL = {
    "Unet": (32, 16, 16, 8, 8), "UnetPlusPlus": (32, 16, 16, 8, 8), "MAnet": (32, 16, 16, 8, 8), "UPerNet": 32, "DPT": 32,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.values()))
def test_every_architecture_converts_right_at_other_sizes(name: str) -> None:
    """`convert` itself compares with torch at sizes and batches other than the traced one."""
    encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
    options = ModelOptions(decoder_channels=SMALL.get(name))
    model = convert(build_network(name, encoder, None, options, Task.of("ab")))
    (image,), (logits,) = model.graph.input, model.graph.output
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    for value in (image, logits):
        names = [side.dim_param for side in value.type.tensor_type.shape.dim]
        assert (names[0], names[2], names[3]) == ("batch", "height", "width")


def test_an_export_that_is_wrong_at_another_size_is_refused() -> None:
    network = build_network(
        "Unet", "resnet18", None, ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8)), Task.of("abc")
    )

    class Frozen(nn.Module):
        """A head whose offset grows with the image's size, which tracing freezes."""

        def __init__(self, head: nn.Module) -> None:
            super().__init__()
            self.head = head

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x) + float(x.shape[-1])

    network.model.segmentation_head = Frozen(network.model.segmentation_head)
    with pytest.raises(ExportError, match="does not export to ONNX: at sizes other than the traced one"):
        convert(network)


def test_fp16_halves_the_file_and_keeps_its_ends() -> None:
    model = convert(build_network("Unet", "resnet18", None, ModelOptions(), Task.of("abc")))
    half = to_fp16(model)
    assert half.ByteSize() < 0.52 * model.ByteSize()
    assert half.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert half.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.fixture
def bundle(tiny: Callable[..., RunConfig]) -> Path:
    config = tiny(train={"epochs": 8}, optimizer={"lr": 1e-2}, val={"image_size": 48})
    return train(config, "a").run.best


def test_a_file_carries_its_card_and_agrees_at_an_odd_size(bundle: Path, tmp_path: Path) -> None:
    parity = export.export_onnx(bundle, tmp_path / "m.onnx")
    sizes = [agreement.size for agreement in parity.agreements]
    assert sizes == [(48, 67), odd_size(48, 67)]
    assert all(agreement.labels >= 0.999 for agreement in parity.agreements)
    backend = OnnxBackend.load(tmp_path / "m.onnx")
    assert backend.card.task.num_classes == 3
    assert backend.card.inference.size == 48
    assert backend(np.zeros((2, 33, 70, 3), np.uint8)).shape == (2, 3, 33, 70)


def test_a_file_that_disagrees_does_not_appear(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(network: nn.Module) -> onnx.ModelProto:
        model = convert(network)
        last = next(w for w in model.graph.initializer if "segmentation_head" in w.name and w.name.endswith("bias"))
        last.CopyFrom(onnx.numpy_helper.from_array(np.array([9, 0, 0], np.float32), last.name))
        return model

    monkeypatch.setattr(export, "convert", spoilt)
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match=r"agrees with .* on \d+\.\d+% of the pixels at .* is not written"):
        export.export_onnx(bundle, tmp_path / "out" / "m.onnx")
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_files_are_refused(bundle: Path, tmp_path: Path) -> None:
    export.export_onnx(bundle, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="is an exported file"):
        export.export_onnx(tmp_path / "m.onnx", tmp_path / "n.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"half.onnx cannot be opened as ONNX .*it is damaged, export it again"):
        OnnxBackend.load(tmp_path / "half.onnx")
    stranger = onnx.load(tmp_path / "m.onnx")
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "stranger.onnx")
    with pytest.raises(ModelError, match=f"carries no {CARD}"):
        OnnxBackend.load(tmp_path / "stranger.onnx")


def test_an_odd_size_is_neither_square_nor_even() -> None:
    for size in ((360, 480), (512, 512), (100, 97), (32, 31)):
        height, width = odd_size(*size)
        assert height != width
        assert height % 2 == width % 2 == 1
