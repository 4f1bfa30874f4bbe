"""The layers of encoders, against those read off the networks by hand."""

import pytest

from segcli.components.layers import layers_by_name, names_without_decay
from segcli.components.models import ModelOptions, build_network
from segcli.task import Task

# the names that begin a layer, in order; "" is a stem without a number
LAYERS = {
    "resnet18": ["", *(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))],
    # three convolutions in the stem, with a norm behind each
    "tu-resnet10t": ["conv1.0", "conv1.3", "conv1.6", "layer1.0", "layer2.0", "layer3.0", "layer4.0"],
    "tf_efficientnet_lite0": [
        "", *(f"blocks.{stage}.{block}" for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(depth)),
    ],
    # a convolution, 17 blocks and a convolution; the first and the last are numbered inside, with their norms
    "mobilenet_v2": ["features.0.0", *(f"features.{block}" for block in range(1, 18)), "features.18.0"],
    "vit_tiny_patch16_224": ["", *(f"blocks.{block}" for block in range(12))],
}  # fmt: skip


@pytest.mark.parametrize("encoder", LAYERS)
def test_layers_of_encoders(encoder: str) -> None:
    architecture = "DPT" if encoder.startswith("vit") else "Unet"
    built = build_network(architecture, encoder, None, ModelOptions(), Task.of("ab")).model.encoder
    names = {name: parameter.ndim for name, parameter in built.named_parameters()}
    layers = layers_by_name(names)
    assert list(layers) == list(names)
    assert list(layers.values()) == sorted(layers.values())
    assert set(layers.values()) == set(range(len(LAYERS[encoder])))
    for index, start in enumerate(LAYERS[encoder]):
        first = next(name for name, layer in layers.items() if layer == index).removeprefix("model.")
        assert first.startswith(f"{start}." if start else first)
        assert start or not any(part.isdigit() for part in first.split("."))


def test_names_by_hand() -> None:
    names = {
        "stem.weight": 4, "stem_norm.weight": 1, "a.0.weight": 4, "a.1.weight": 1, "down.norm.weight": 1,
        "b.0.3.mlp.0.weight": 2, "b.0.3.mlp.1.weight": 2, "b.0.4.weight": 2, "norm.weight": 1,
    }  # fmt: skip
    assert list(layers_by_name(names).values()) == [0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert layers_by_name({"s1.b1.conv.weight": 4, "s1.b2.conv.weight": 4}) == {
        "s1.b1.conv.weight": 0, "s1.b2.conv.weight": 0,
    }  # fmt: skip


def test_tokens_and_position_embeddings_do_not_decay() -> None:
    network = build_network("DPT", "vit_tiny_patch16_224", None, ModelOptions(), Task.of("ab"))
    spared = names_without_decay(network)
    assert {"model.encoder.model.cls_token", "model.encoder.model.pos_embed"} <= spared
