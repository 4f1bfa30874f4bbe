"""A small network that every test of export shares."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_pair, explicit
from torch.nn import functional

from segcli.components.models import ModelOptions, build_network
from segcli.io.bundle import load_bundle, save_bundle
from segcli.io.card import Inference, ModelCard
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task


def small_network() -> SegmentationNetwork:
    """A Unet of stride 8 that has learnt the colours: on random weights a rounding turns labels over."""
    torch.manual_seed(0)
    options = ModelOptions(encoder_depth=3, decoder_channels=(16, 8, 8))
    network = build_network("Unet", "resnet18", None, options, Task.of("abc")).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for number in range(30):
        images, masks = (np.stack(each) for each in zip(*(draw_pair(4 * number + i) for i in range(4)), strict=True))
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
        optimizer.zero_grad()
        functional.cross_entropy(logits, torch.from_numpy(masks).long()).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="package")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a small network, with its data."""
    folder = tmp_path_factory.mktemp("run")
    network = small_network()
    card = ModelCard(
        Task.of("abc"), "Unet", "resnet18", None, network.mean, network.std, Inference.of(48),
        data={"dataset": {**explicit(folder / "data"), "classes": list("abc")}, "fingerprint": "1"},
        encoder_weights_licence="MIT",
    )  # fmt: skip
    save_bundle(folder / "best", network, card)
    return folder / "best"


@pytest.fixture
def network(bundle: Path) -> SegmentationNetwork:
    """The network of the bundle, to be changed."""
    return load_bundle(bundle)[0].eval()


@pytest.fixture(scope="package")
def bundle_with_an_outlier(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with the same function, but one activation a thousand times the others of its layer."""
    folder = tmp_path_factory.mktemp("outlier") / "best"
    network, card = load_bundle(bundle)
    block = network.model.decoder.blocks[-1]
    block.conv1[1].weight.data[0] *= 1000
    block.conv1[1].bias.data[0] *= 1000
    block.conv2[0].weight.data[:, 0] /= 1000
    save_bundle(folder, network, card)
    return folder
