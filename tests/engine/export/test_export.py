import copy
import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import segmentation_models_pytorch as smp
import torch
from conftest import draw_pair
from torch import nn
from torch.nn import functional

from segcli.components.models import ARCHITECTURES, ModelOptions, build_network
from segcli.engine.backends.onnxruntime import load_onnx
from segcli.engine.backends.program import load_program
from segcli.engine.export import conversion
from segcli.engine.export.conversion import DYNAMO, convert, to_fp16
from segcli.engine.export.export import Wanted, default_path, export_model
from segcli.engine.export.onnx import write_onnx
from segcli.engine.export.parity import odd_size
from segcli.engine.export.targets import TARGETS, Job, Target, find_target
from segcli.engine.isolated.worker import WorkerError
from segcli.engine.prediction.load import load_predictor
from segcli.engine.prediction.predictor import predict_mask
from segcli.errors import ExportError, ModelError, SegError, UsageError
from segcli.io.card import CARD, Contract
from segcli.io.formats import FORMATS, Format
from segcli.nn.deployed import Deployed
from segcli.nn.folding import folded
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task

SMALL = {
    "Unet": (32, 16, 16, 8, 8), "UnetPlusPlus": (32, 16, 16, 8, 8), "MAnet": (32, 16, 16, 8, 8), "UPerNet": 32, "DPT": 32,
}  # fmt: skip
ONNX = find_target("onnx")


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.values()))
def test_every_architecture_converts_right_at_other_sizes(name: str) -> None:
    """`convert` itself compares with torch at sizes and batches other than the traced one."""
    encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
    options = ModelOptions(decoder_channels=SMALL.get(name))
    model, route = convert(Deployed(build_network(name, encoder, None, options, Task.of("ab"))))
    assert route == "TorchScript"
    assert_free(model)


def assert_free(model: onnx.ModelProto) -> None:
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    for value in (image, logits):
        names = [side.dim_param for side in value.type.tensor_type.shape.dim]
        assert (names[0], names[2], names[3]) == ("batch", "height", "width")


def test_the_exporter_of_torch_export_takes_over(network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the deprecated exporter fails or is gone; the result is checked at the same sizes, and named the same."""
    export = torch.onnx.export

    def without_torchscript(*arguments: object, dynamo: bool = True, **options: object) -> object:
        if not dynamo:
            raise RuntimeError("gone")
        return export(*arguments, dynamo=True, **options)

    monkeypatch.setattr(torch.onnx, "export", without_torchscript)
    model, route = convert(Deployed(network))
    assert route == DYNAMO
    assert_free(model)


def test_an_encoder_of_one_size_exports_at_that_size_alone() -> None:
    options = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
    swin = smp.Unet("tu-swin_tiny_patch4_window7_224", encoder_weights=None, decoder_channels=(8,) * 5, **options)
    network = Deployed(SegmentationNetwork(swin, (0.5,) * 3, (0.5,) * 3))
    exported, _ = convert(network, Contract(size=(224, 224)), routes=("TorchScript",))
    assert exported.graph.input[0].type.tensor_type.shape.dim[2].dim_value == 224
    for contract in (Contract(), Contract(size=(96, 100))):
        with pytest.raises(ExportError, match="; its encoder takes images of one size: --size 224x224$"):
            convert(network, contract, routes=("TorchScript",))
    assert folded(network.network)(torch.zeros(1, 3, 224, 224)).shape == (1, 2, 224, 224)  # as a bundle is loaded


def test_an_export_that_is_wrong_at_another_size_is_refused(network: SegmentationNetwork) -> None:

    class Frozen(nn.Module):
        """A head whose offset grows with the image's size, which tracing freezes."""

        def __init__(self, head: nn.Module) -> None:
            super().__init__()
            self.head = head

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x) + float(x.shape[-1])

    network.model.segmentation_head = Frozen(network.model.segmentation_head)
    with pytest.raises(ExportError, match="does not export to ONNX .*at sizes other than the traced one"):
        convert(Deployed(network), routes=("TorchScript",))


def test_what_no_onnx_file_holds_is_refused_at_once(
    network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "MOST_BYTES", 1_000_000)
    with pytest.raises(ExportError, match=r"take [\d.]+ GB, and an ONNX file holds 0.0 GB; export to torch instead$"):
        convert(Deployed(network))


def test_fp16_halves_the_file_and_keeps_its_ends() -> None:
    model, _ = convert(Deployed(build_network("Unet", "resnet18", None, ModelOptions(), Task.of("abc"))))
    half = to_fp16(model)
    assert half.ByteSize() < 0.52 * model.ByteSize()
    assert half.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert half.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_a_file_carries_its_card_and_agrees_at_an_odd_size_and_in_a_batch(bundle: Path, tmp_path: Path) -> None:
    parity = export_model(ONNX, bundle, tmp_path / "m.onnx", Wanted(verify=2))
    odd = odd_size(48, 67)
    assert [(found.size, found.batch) for found in parity.agreements] == [
        ((48, 67), 1), ((48, 67), 3), (odd, 1), (odd, 3),
    ]  # fmt: skip
    assert all(found.labels >= 0.999 and found.relative < 1e-4 for found in parity.agreements)
    assert parity.miou is not None
    assert parity.miou[0] == pytest.approx(parity.miou[1], abs=1e-4)
    assert parity.num_bytes == (tmp_path / "m.onnx").stat().st_size
    assert min(parity.milliseconds) > 0
    told = json.loads((tmp_path / "m.onnx.parity.json").read_text())
    assert told["agreements"][0]["size"] == [48, 67]
    assert told["facts"] == {"exporter": "TorchScript"}
    file = load_onnx(tmp_path / "m.onnx")
    assert file.card.task.num_classes == 3
    assert file.card.inference.size == 48
    assert file.card.encoder_weights_licence == "MIT"
    assert file.contract == Contract()
    assert file(np.zeros((2, 33, 70, 3), np.uint8)).shape == (2, 3, 33, 70)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(layout="nhwc", output="labels", verify=1),
        Wanted(output="labels", resizes=True, verify=1),
        Wanted(layout="nhwc", output="probabilities", size=(48, 67), verify=1),
        Wanted(precision="fp16", size=(64, 64), verify=1),
    ],
    ids=lambda wanted: f"{wanted.layout}-{wanted.output}-{wanted.size}-{wanted.resizes}-{wanted.precision}",
)
def test_a_file_of_any_contract_gives_the_models_masks(bundle: Path, tmp_path: Path, wanted: Wanted) -> None:
    export_model(ONNX, bundle, tmp_path / "m.onnx", wanted)
    model = onnx.load(tmp_path / "m.onnx")
    (image,), (given,) = model.graph.input, model.graph.output
    shape = [side.dim_value for side in image.type.tensor_type.shape.dim]
    assert shape.index(3) == (3 if wanted.layout == "nhwc" else 1)
    assert given.name == wanted.output
    assert (given.type.tensor_type.elem_type == onnx.TensorProto.UINT8) == (wanted.output == "labels")
    expected, found = load_predictor(bundle, precision="fp32"), load_predictor(tmp_path / "m.onnx")
    for height, width in ((96, 134), (40, 56)):
        picture, _ = draw_pair(5, height, width)
        same = predict_mask(expected, picture) == predict_mask(found, picture)
        assert same.mean() > 0.97  # labels are enlarged without their logits, and one size pads: borders move a little


def test_a_file_of_one_size_takes_larger_and_smaller_images(bundle: Path, tmp_path: Path) -> None:
    export_model(ONNX, bundle, tmp_path / "m.onnx", Wanted(size=(48, 67), verify=1))
    predictor = load_predictor(tmp_path / "m.onnx")
    for height, width in ((30, 40), (200, 90), (48, 200)):
        assert predictor(np.zeros((2, height, width, 3), np.uint8)).shape == (2, 3, height, width)
    with pytest.raises(UsageError, match="takes images of 48x67 only"):
        load_predictor(tmp_path / "m.onnx", size=64)


class PaddedRaw(nn.Module):
    """Pads with black before normalisation instead of with zeros behind it."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network, self.model = network, network.model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        padded = functional.pad(images, (0, 7, 0, 7))
        return self.network(padded[..., : (height + 7) // 8 * 8, : (width + 7) // 8 * 8])[..., :height, :width]


def wrongly_normalised(network: SegmentationNetwork) -> nn.Module:
    network.shift.zero_()
    return network


def with_swapped_channels(network: SegmentationNetwork) -> nn.Module:
    network.model.encoder.conv1.weight.data = network.model.encoder.conv1.weight.data[:, [2, 1, 0]].clone()
    return network


def spoilt(spoil: Callable[[SegmentationNetwork], nn.Module], contract: Contract | None = None) -> Target:
    """The target onnx, with a mistake in what it writes."""

    def write(job: Job) -> dict[str, str]:
        network = spoil(copy.deepcopy(job.network))
        return {**write_onnx(replace(job, network=network, contract=contract or job.contract))}

    return replace(ONNX, write=write)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (spoilt(wrongly_normalised), "gives other labels than the model|logits differ"),
        (spoilt(with_swapped_channels), "gives other labels than the model|logits differ"),
        (spoilt(PaddedRaw), "gives other labels than the model|logits differ"),
        (spoilt(lambda network: network, Contract(size=(48, 67))), "fails on .* images of"),
        (spoilt(lambda network: network, Contract(batch=1)), "fails on 3 images of 67×48"),
    ],
    ids=["normalisation", "channels", "padding", "size", "batch"],
)
def test_a_broken_export_is_caught_and_the_old_file_stays(
    bundle: Path, tmp_path: Path, target: Target, told: str
) -> None:
    (tmp_path / "m.onnx").write_text("old")
    with pytest.raises(ExportError, match=told):
        export_model(target, bundle, tmp_path / "m.onnx", Wanted(verify=2))
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "old"


def test_the_tolerance_is_what_is_asked_for(bundle: Path, tmp_path: Path) -> None:
    def other_bias(network: SegmentationNetwork) -> nn.Module:
        network.model.segmentation_head[0].bias.data[0] += 9
        return network

    with pytest.raises(ExportError, match=r"other labels .* more than the 0.10% of --tolerance; .* is not written"):
        export_model(spoilt(other_bias), bundle, tmp_path / "m.onnx", Wanted(output="labels", verify=1))
    assert list(tmp_path.iterdir()) == []
    export_model(spoilt(other_bias), bundle, tmp_path / "m.onnx", Wanted(output="labels", verify=1, tolerance=1.0))
    assert (tmp_path / "m.onnx").is_file()


def test_a_program_of_torch_export_is_a_model_like_any_other(bundle: Path, tmp_path: Path) -> None:
    parity = export_model(find_target("torch"), bundle, tmp_path / "m.pt2", Wanted(verify=2))
    assert min(found.labels for found in parity.agreements) >= 0.999
    assert load_program(tmp_path / "m.pt2").contract == Contract()
    content = (tmp_path / "m.pt2").read_bytes()
    (tmp_path / "half.pt2").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"half.pt2 cannot be opened .*; export it again"):
        load_predictor(tmp_path / "half.pt2")


@pytest.mark.parametrize("name", ["onnx", "torch", "openvino"])
def test_a_full_disk_is_told_and_the_old_file_stays(name: str, bundle: Path, tmp_path: Path) -> None:
    target = find_target(name)
    if target.format.module is not None:
        pytest.importorskip(target.format.module, reason=f"the extra {target.format.extra} is not installed")
    path = default_path(target, tmp_path, "fp32")
    old = path / target.format.marker if target.format.marker else path
    old.parent.mkdir(exist_ok=True)
    old.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as if the disk had no more room
    try:
        with pytest.raises(SegError, match=rf"{path.name} cannot be written: .* What was there before is kept"):
            export_model(target, bundle, path, Wanted(verify=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [path]
    assert old.read_text() == "old"


def test_openvino_writes_a_folder(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    target = find_target("openvino")
    path = default_path(target, tmp_path, "fp32")
    parity = export_model(target, bundle, path, Wanted(verify=2))
    assert min(found.labels for found in parity.agreements) >= 0.999
    assert sorted(file.name for file in path.iterdir()) == ["model.bin", "model.xml", CARD]
    assert load_predictor(path)(np.zeros((1, 50, 70, 3), np.uint8)).shape == (1, 3, 50, 70)
    (path / "model.xml").write_text("<net")
    with pytest.raises(ModelError, match="cannot be opened by OpenVINO"):
        load_predictor(path)


def test_wrong_files_are_refused(bundle: Path, tmp_path: Path) -> None:
    export_model(ONNX, bundle, tmp_path / "m.onnx", Wanted(verify=1))
    with pytest.raises(UsageError, match="is an exported file"):
        export_model(ONNX, tmp_path / "m.onnx", tmp_path / "n.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"half.onnx cannot be opened as ONNX .*it is damaged, export it again"):
        load_onnx(tmp_path / "half.onnx")
    stranger = onnx.load(tmp_path / "m.onnx")
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "stranger.onnx")
    with pytest.raises(ModelError, match=f"carries no {CARD}.*--classes"):
        load_onnx(tmp_path / "stranger.onnx")


@pytest.mark.parametrize(
    ("target", "name", "wanted", "told"),
    [
        ("onnx", "m.pt2", Wanted(), "must end in .onnx"),
        ("torch", "m.pt2", Wanted("fp16"), "torch is exported in fp32, not in fp16"),
        ("onnx", "m.onnx", Wanted(data=Path("nowhere")), "nowhere is no dataset"),
    ],
)
def test_what_does_not_go_together_is_refused(
    bundle: Path, tmp_path: Path, target: str, name: str, wanted: Wanted, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        export_model(find_target(target), bundle, tmp_path / name, wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_answered_with_the_command() -> None:
    with pytest.raises(
        UsageError, match=r"openvino needs the package no_such; install it with pip install 'segcli\[ov\]'"
    ):
        Format("openvino", ".x", module="no_such", extra="ov").require()


def test_every_target_has_a_format_and_a_backend() -> None:
    assert {target.name for target in TARGETS} <= {known.name for known in FORMATS}
    assert len({known.suffix for known in FORMATS}) == len(FORMATS)
    with pytest.raises(UsageError, match="unknown target 'onx'; did you mean onnx"):
        find_target("onx")


def test_an_odd_size_is_neither_square_nor_even() -> None:
    for size in ((360, 480), (512, 512), (100, 97), (32, 31)):
        height, width = odd_size(*size)
        assert height != width
        assert height % 2 == width % 2 == 1


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (
            "LLVM ERROR: IO failure on output stream: No space left on device",
            r"m.tflite cannot be written: No space left",
        ),
        ("op Foo is not supported", r"cannot be converted: op Foo is not supported"),
    ],
)
def test_a_full_disk_in_the_isolated_environment_is_told_as_such(
    told: str, error: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worker:
        def ask(self, question: object, tell: object) -> None:
            raise WorkerError(told)

        def close(self) -> None:
            pass

    class Environment:
        def worker(self, script: Path) -> Worker:
            return Worker()

    monkeypatch.setattr("segcli.engine.export.elsewhere.isolated_environment", lambda *_: Environment())
    (tmp_path / "m.tflite").write_text("old")
    with pytest.raises(SegError, match=error):
        export_model(find_target("tflite"), bundle, tmp_path / "m.tflite", Wanted(size=(40, 56), verify=1))
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]
    assert (tmp_path / "m.tflite").read_text() == "old"
