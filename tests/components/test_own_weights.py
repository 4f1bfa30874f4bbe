import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segcli.components.models import ARCHITECTURES, ModelOptions, build_network, build_network_with_report
from segcli.components.pretrained import WeightReport
from segcli.errors import ConfigError, ModelError
from segcli.io.bundle import save_bundle
from segcli.io.card import ModelCard
from segcli.task import Task

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
OPTIONS = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))
ROAD = Task.of(["road", "car", "sky"])


def bundle(folder: Path, task: Task = ROAD, encoder: str = "resnet18") -> tuple[Path, dict[str, Tensor]]:
    """A bundle whose every tensor differs from an initialised one, and its state dict."""
    network = build_network("Unet", encoder, None, with_normalisation(), task)
    state = network.model.state_dict()
    for value in state.values():
        value.copy_(torch.rand_like(value) if value.is_floating_point() else value + 7)
    card = ModelCard(task, "Unet", encoder, "swsl", MEAN, STD, encoder_weights_licence="cc-by-nc-4.0")
    save_bundle(folder, network, card)
    return folder, {name: value.clone() for name, value in state.items()}


def with_normalisation() -> ModelOptions:
    return ModelOptions(**{**OPTIONS.model_dump(), "mean": MEAN, "std": STD})


def started(
    weights: Path, task: Task, architecture: str = "Unet", encoder: str = "resnet18", options: ModelOptions = OPTIONS
) -> tuple[dict[str, Tensor], WeightReport]:
    network, report = build_network_with_report(architecture, encoder, str(weights), options, task)
    assert report is not None
    return network.model.state_dict(), report


def test_the_same_task_takes_over_everything(tmp_path: Path) -> None:
    folder, given = bundle(tmp_path / "x/best")
    for weights in (folder, folder.parent):  # the bundle, and the run that holds it
        state, report = started(weights, ROAD)
        for name, value in state.items():
            assert torch.equal(value, given[name]), name
        assert report == WeightReport(str(folder), "network", len(given), (), MEAN, STD, "cc-by-nc-4.0")


def test_other_classes_take_over_the_rows_of_the_same_name(tmp_path: Path) -> None:
    folder, given = bundle(tmp_path / "best")
    torch.manual_seed(3)
    untouched = build_network("Unet", "resnet18", None, OPTIONS, Task.of(["sky", "tree", "road", "pole"]))
    torch.manual_seed(3)
    state, report = started(folder, Task.of(["sky", "tree", "road", "pole"]))
    initial = untouched.model.state_dict()
    for part in ("weight", "bias"):
        name = f"segmentation_head.0.{part}"
        assert torch.equal(state[name][[0, 2]], given[name][[2, 0]])
        assert torch.equal(state[name][[1, 3]], initial[name][[1, 3]])
    assert report.not_loaded == ("segmentation_head.0.weight (tree, pole)", "segmentation_head.0.bias (tree, pole)")
    rest = [name for name in given if not name.startswith("segmentation_head")]
    assert all(torch.equal(state[name], given[name]) for name in rest)
    assert report.loaded == len(rest)


def test_as_many_classes_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    folder, given = bundle(tmp_path / "best")
    state, report = started(folder, Task.of(["sky", "road", "car"]))
    assert torch.equal(state["segmentation_head.0.weight"], given["segmentation_head.0.weight"][[2, 0, 1]])
    assert report.not_loaded == ()


@pytest.mark.parametrize(
    ("theirs", "ours", "taken"),
    [
        (["a", "b"], ["a", "b"], True), (["a", "b"], ["b", "a"], False), (["a", "b"], ["a", "c"], False),
        (["a", "b"], ["a", "b", "c"], False), (["a", "b", "c"], ["a", "b"], False),
    ],
)  # fmt: skip
def test_a_head_of_one_channel_wants_the_same_two_classes(
    tmp_path: Path, theirs: list[str], ours: list[str], taken: bool
) -> None:
    folder, given = bundle(tmp_path / "best", Task.of(theirs))
    state, report = started(folder, Task.of(ours))
    name = "segmentation_head.0.weight"
    assert (state[name].shape == given[name].shape and torch.equal(state[name], given[name])) is taken
    assert (report.not_loaded == ()) is taken


def test_another_architecture_takes_the_encoder(tmp_path: Path) -> None:
    folder, given = bundle(tmp_path / "best")
    state, report = started(folder, ROAD, "FPN", options=ModelOptions(encoder_depth=3))
    encoder = [name for name in state if name.startswith("encoder.")]
    assert all(torch.equal(state[name], given[name]) for name in encoder)
    assert (report.part, report.loaded, report.total) == ("encoder", len(encoder), len(encoder))


def test_tensors_of_another_shape_stay_and_are_named(tmp_path: Path) -> None:
    folder, _ = bundle(tmp_path / "best")
    wider = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 16))
    _, report = started(folder, ROAD, options=wider)
    assert "decoder.blocks.2.conv2.0.weight" in report.not_loaded
    assert "segmentation_head.0.weight (road, car, sky)" in report.not_loaded
    assert "decoder.blocks.1.conv2.0.weight" not in report.not_loaded


def test_another_encoder_is_refused_with_the_right_one(tmp_path: Path) -> None:
    folder, _ = bundle(tmp_path / "best")
    with pytest.raises(ConfigError, match="best has the encoder resnet18, not resnet34; set encoder: resnet18"):
        started(folder, ROAD, encoder="resnet34")
    with pytest.raises(ConfigError, match="not resnet10t; set encoder: resnet18"):
        started(folder, ROAD, encoder="resnet10t")


def test_a_timm_encoder_is_the_same_with_any_tag(tmp_path: Path) -> None:
    folder, given = bundle(tmp_path / "best", encoder="resnet10t")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "encoder_name": "tu-resnet10t.c3_in1k"}))
    state, report = started(folder, ROAD, encoder="resnet10t")
    assert torch.equal(state["encoder.model.layer1.0.conv1.weight"], given["encoder.model.layer1.0.conv1.weight"])
    assert report.not_loaded == ()


def test_the_configs_normalisation_goes_before_the_bundles(tmp_path: Path) -> None:
    folder, _ = bundle(tmp_path / "best")
    told = with_normalisation().model_copy(update={"mean": (0.7, 0.7, 0.7), "std": None})
    _, report = started(folder, ROAD, options=told)
    assert (report.mean, report.std) == ((0.7, 0.7, 0.7), STD)


@pytest.mark.parametrize(
    ("name", "content"), [("segcli.json", "{"), ("model.safetensors", "xx"), ("config.json", None)]
)
def test_a_damaged_bundle_is_one_line(tmp_path: Path, name: str, content: str | None) -> None:
    folder, _ = bundle(tmp_path / "best")
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(ModelError, match="best cannot be read as a bundle") as caught:
        started(folder, ROAD)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES.values())))
def test_the_rows_of_every_head_are_found(tmp_path: Path, architecture: str) -> None:
    encoder = "test_vit" if architecture == "DPT" else "resnet18"
    network = build_network(architecture, encoder, None, ModelOptions(), ROAD)
    save_bundle(tmp_path / "best", network, ModelCard(ROAD, architecture, encoder, None, MEAN, STD))
    others = Task.of(["car", "moon", "sky", "sea"])
    _, report = started(tmp_path / "best", others, architecture, encoder, ModelOptions())
    assert {name.rpartition(" (")[2] for name in report.not_loaded} == {"moon, sea)"}
