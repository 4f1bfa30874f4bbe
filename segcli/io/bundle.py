"""Bundles: a folder with smp's config.json and model.safetensors, and our segcli.json."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.components.models import wrap
from segcli.errors import ModelError
from segcli.io.card import CARD, ModelCard
from segcli.io.files import replacing_folder, write_text
from segcli.io.readme import README, readme

if TYPE_CHECKING:
    from segcli.nn.network import SegmentationNetwork


def save_bundle(folder: Path, network: "SegmentationNetwork", card: ModelCard) -> None:
    """Writes a bundle; an older one in its place is replaced as a whole."""
    with replacing_folder(folder, durable=True) as staged:
        (staged / README).write_text(readme(card), encoding="utf-8")  # first: the hub's mixin writes one of its own
        network.model.save_pretrained(staged)  # type: ignore[operator]
        (staged / CARD).write_text(card.to_json(), encoding="utf-8")


def load_bundle(folder: Path) -> "tuple[SegmentationNetwork, ModelCard]":
    """Reads a bundle: the network in eval mode on the CPU, and its card.

    Raises:
        ModelError: if a file is missing, damaged, or does not fit the others.
    """
    from safetensors import SafetensorError

    card = read_card(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name}: no such file; the bundle is not whole")
    try:
        model = _load_model(folder)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{folder} cannot be loaded ({reason}); copy the bundle again") from None
    return wrap(model, card.architecture, card.mean, card.std).eval(), card


def _load_model(folder: Path) -> Any:
    """What `smp.from_pretrained` does for a local folder, without its word on stdout."""
    import segmentation_models_pytorch as smp
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = getattr(smp, config["_model_class"])(**{k: v for k, v in config.items() if not k.startswith("_")})
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


def read_card(folder: Path) -> ModelCard:
    """Reads a bundle's card.

    Raises:
        ModelError: if there is none, or it is damaged.
    """
    path = folder / CARD
    if not path.is_file():
        raise ModelError(f"{folder} is no model: it holds no {CARD}")
    return ModelCard.from_json(path.read_text(encoding="utf-8", errors="replace"), path)


def write_card(folder: Path, card: ModelCard) -> None:
    """Replaces a bundle's card, and the README.md that says the same; the weights stay."""
    write_text(folder / CARD, card.to_json())
    write_text(folder / README, readme(card))
