"""Every architecture trains, evaluates and comes back from its bundle; benchmarks/network_matrix.py tries more encoders."""

from collections.abc import Callable

import pytest
import torch

from segcli.components.models import ARCHITECTURES
from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.prediction.load import load_predictor
from segcli.engine.training.loop import train
from segcli.io.bundle import load_bundle


@pytest.mark.parametrize("architecture", ARCHITECTURES.values())
def test_every_architecture_trains_two_steps_and_comes_back(tiny: Callable[..., RunConfig], architecture: str) -> None:
    encoder = "vit_tiny_patch16_224" if architecture == "DPT" else "mobilenet_v2"
    values = tiny().model_dump() | {"model_name": architecture, "encoder": encoder, "model": {}}
    config = RunConfig.model_validate(
        values | {"train": values["train"] | {"epochs": 1, "max_steps": 2, "image_size": 64}}
    )  # fmt: skip
    result = train(config, "a")
    assert result.rows[-1]["step"] == 2
    assert 0 <= result.scores.miou <= 1
    images = torch.randint(0, 256, (1, 3, 40, 56), dtype=torch.uint8)
    network, card = load_bundle(result.run.last)
    assert card.architecture == architecture
    assert network(images).shape == (1, 3, 40, 56)
    # what the bundle shows is what the training validated: its figures come out again
    scores = evaluate(load_predictor(result.run.last, "cpu"), open_dataset(config.dataset).split("val")).scores
    assert scores.confusion.tolist() == result.scores.confusion.tolist()
