import pytest
import timm
import torch
from segmentation_models_pytorch.encoders import encoders

from segcli.components.catalogue import entries
from segcli.components.encoder_names import own_encoders, timm_models
from segcli.components.models import ModelOptions, build_network, option_problems, resolve_encoder
from segcli.components.pretrained import IMAGENET_MEAN
from segcli.errors import ConfigError
from segcli.task import Task

TASK = Task.of("abc")
OPTIONS = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))


@pytest.mark.parametrize(
    ("name", "resolved"),
    [
        ("resnet34", "resnet34"), ("mobilenet_v2", "mobilenet_v2"), ("efficientnet-b3", "efficientnet-b3"),
        ("resnext50_32x4d", "resnext50_32x4d"), ("darknet53", "tu-darknet53"), ("tu-resnet18", "tu-resnet18"),
        ("tf_efficientnet_b3.ap_in1k", "tu-tf_efficientnet_b3.ap_in1k"), ("EfficientNet_B0", "efficientnet-b0"),
        ("timm-efficientnet-b3", "tu-tf_efficientnet_b3"), ("timm-tf_efficientnet_lite0", "tu-tf_efficientnet_lite0"),
        ("timm-mobilenetv3_large_100", "tu-tf_mobilenetv3_large_100"), ("timm-skresnet18", "tu-skresnet18"),
    ],
)  # fmt: skip
def test_encoders_are_found_under_usual_names(name: str, resolved: str) -> None:
    assert resolve_encoder(name) == resolved


def test_an_unknown_encoder_is_answered_with_a_near_one() -> None:
    with pytest.raises(ConfigError, match="unknown encoder 'resnet35'; did you mean resnet34"):
        resolve_encoder("resnet35")


def test_an_option_that_the_architecture_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.decoder_channels: Linknet has no such option"):
        build_network("Linknet", "resnet18", None, ModelOptions(decoder_channels=8), TASK)


def test_an_impossible_combination_is_one_line() -> None:
    with pytest.raises(ConfigError, match="DPT with encoder resnet18 cannot be built") as caught:
        build_network("DPT", "resnet18", None, ModelOptions(), TASK)
    assert "\n" not in str(caught.value)


def test_normalisation_is_imagenets_unless_the_config_says_otherwise() -> None:
    assert build_network("Unet", "resnet18", None, OPTIONS, TASK).mean == IMAGENET_MEAN
    told = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8), mean=(0.1, 0.2, 0.3))
    assert build_network("Unet", "resnet18", None, told, TASK).mean == (0.1, 0.2, 0.3)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("architecture", "encoder", "parameters", "stride"),
    [
        ("Unet", "mobilenet_v2", "2.2 M", "32"), ("Unet", "mobilenetv3_large_100", "3.0 M", "32"),
        ("Unet", "resnet18", "11.2 M", "32"), ("Unet", "resnext50_32x4d", "23.0 M", "32"),
        ("Unet", "efficientnet-b0", "4.0 M", "32"), ("Unet", "darknet53", "40.6 M", "32"),
        ("DPT", "vit_tiny_patch16_224", "5.7 M", "16, for DPT"),
    ],
)  # fmt: skip
def test_the_usual_encoders_build_and_are_listed(architecture: str, encoder: str, parameters: str, stride: str) -> None:
    network = build_network(architecture, encoder, None, ModelOptions(), TASK).eval()
    assert network(torch.zeros(1, 3, 40, 70, dtype=torch.uint8)).shape == (1, 3, 40, 70)
    facts = {entry.name: entry.facts for entry in entries("encoders", encoder)}[encoder]
    assert facts == {"parameters": parameters, "stride": stride}


def test_names_in_the_sources_are_those_of_the_libraries() -> None:
    assert timm_models() == set(timm.list_models())
    assert own_encoders() == {name for name in encoders if not name.startswith(("timm-", "tu-"))}


def test_the_options_that_are_refused_are_those_that_smp_does_not_take() -> None:
    for entry in entries("architectures"):
        taken = set(entry.facts["model options"].split(", "))
        values = {"output_stride": 16, "attention": "scse", "dropout": 0.1, "decoder_channels": 8, "encoder_depth": 5}
        lacking = {option for option, message in option_problems(entry.name, values) if "no such option" in message}
        assert lacking == values.keys() - taken
