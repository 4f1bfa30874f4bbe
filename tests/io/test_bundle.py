import json
from dataclasses import replace
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from segcli.components.models import ModelOptions, build_network
from segcli.errors import ModelError
from segcli.io.bundle import load_bundle, read_card, save_bundle, write_card
from segcli.io.card import Inference, ModelCard
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, SegmentationNetwork, ModelCard]:
    options = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8), mean=MEAN, std=STD)
    network = build_network("Unet", "resnet18", None, options, Task.of("abc")).eval()
    card = ModelCard(
        Task.of("abc"), "Unet", "resnet18", None, MEAN, STD, Inference.of((30, 40)), metrics={"val": {"miou": 0.5}}
    )
    save_bundle(tmp_path / "best", network, card)
    return tmp_path / "best", network, card


@torch.inference_mode()
def test_a_bundle_gives_the_network_back(bundle: tuple[Path, SegmentationNetwork, ModelCard]) -> None:
    folder, network, card = bundle
    loaded, loaded_card = load_bundle(folder)
    image = torch.randint(0, 256, (1, 3, 19, 23), dtype=torch.uint8)
    assert torch.equal(loaded(image), network(image))
    assert loaded_card == card


def test_an_older_card_is_read(bundle: tuple[Path, SegmentationNetwork, ModelCard]) -> None:
    folder, _, card = bundle
    values = json.loads((folder / "segcli.json").read_text())
    del values["precision"]
    values["inference"]["interpolation"] = "bilinear"
    (folder / "segcli.json").write_text(json.dumps(values))
    assert read_card(folder) == card
    assert card.precision == "fp32"


@torch.inference_mode()
def test_plain_smp_reads_a_bundle(bundle: tuple[Path, SegmentationNetwork, ModelCard]) -> None:
    folder, network, _ = bundle
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(smp.from_pretrained(str(folder)).eval()(x), network.model(x))


def test_a_changed_card_leaves_the_weights(bundle: tuple[Path, SegmentationNetwork, ModelCard]) -> None:
    folder, _, card = bundle
    weights = (folder / "model.safetensors").read_bytes()
    write_card(folder, replace(card, tta="d4"))
    assert read_card(folder).tta == "d4"
    assert (folder / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("segcli.json", b"{", "holds no valid model card"),
        ("segcli.json", b"{}", "holds no valid model card"),
        ("segcli.json", None, "is no model: it holds no segcli.json"),
        ("model.safetensors", b"xx", "cannot be loaded"),
        ("model.safetensors", None, "no such file; the bundle is not whole"),
        ("config.json", None, "no such file; the bundle is not whole"),
    ],
)
def test_a_damaged_bundle_is_refused(
    bundle: tuple[Path, SegmentationNetwork, ModelCard], name: str, content: bytes | None, message: str
) -> None:
    file = bundle[0] / name
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_bundle(bundle[0])


@pytest.mark.parametrize(
    ("size", "image", "expected"),
    [
        (None, (37, 91), (37, 91)), (50, (100, 200), (50, 100)), (50, (30, 20), (75, 50)),
        ((100, 100), (50, 200), (25, 100)), ((100, 300), (50, 100), (100, 200)), (1, (3, 1000), (1, 333)),
    ],
)  # fmt: skip
def test_inference_keeps_the_aspect(
    size: int | tuple[int, int] | None, image: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert Inference.of(size).network_size(*image) == expected


def test_a_card_from_before_the_weights_licence_was_kept_loads(
    bundle: tuple[Path, SegmentationNetwork, ModelCard],
) -> None:
    folder, _, card = bundle
    values = json.loads((folder / "segcli.json").read_text())
    del values["encoder_weights_licence"]
    (folder / "segcli.json").write_text(json.dumps(values))
    assert read_card(folder) == card
    write_card(folder, replace(card, encoder_weights_licence="cc-by-nc-4.0"))
    assert read_card(folder).encoder_weights_licence == "cc-by-nc-4.0"


def test_a_bundles_readme_is_filled_from_its_card(bundle: tuple[Path, SegmentationNetwork, ModelCard]) -> None:
    folder, network, card = bundle
    scored = {"a": {"iou": 0.25, "dice": 0.4, "accuracy": float("nan")}}
    card = replace(
        card, encoder_weights="imagenet", encoder_weights_licence="bsd-3-clause", data={"name": "my|streets"},
        metrics={"val": {"miou": 0.5, "pixel_accuracy": 0.75, "precision": "bf16", "classes": scored}},
    )  # fmt: skip
    save_bundle(folder, network, card)
    text = (folder / "README.md").read_text(encoding="utf-8")
    for part in (
        "# Unet on resnet18, 3 classes", "On the val split, at the size of the masks, computed in bf16: mean IoU 0.5000",
        "| a | 0.2500 | 0.4000 | – |", "my\\|streets", "a, b, c", "resized to fit into 40×30", "torch.tensor([0.1, 0.2, 0.3])",
        "`imagenet`; their licence: bsd-3-clause",
    ):  # fmt: skip
        assert part in text
    assert "mit" not in text.split()
    assert "license:" not in text
    write_card(folder, replace(card, encoder_weights=None))
    assert "started without weights of others" in (folder / "README.md").read_text(encoding="utf-8")
