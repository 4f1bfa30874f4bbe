"""Starting a network from one that was trained before: a bundle of our own, for the same classes or others."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segcli.components.pretrained import WeightReport
from segcli.errors import ConfigError, ModelError
from segcli.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from segcli.nn.network import Channels

CARD = "segcli.json"
"""The card's file in a bundle, and its key in an exported file."""


@dataclass(frozen=True)
class Donor:
    """A trained network that gives its weights.

    Attributes:
        folder: the bundle.
        architecture: smp's class name.
        encoder: under smp's name.
        classes: in the order of the head's channels.
        tensors: its state dict.
        mean: normalisation, in units of pixel / 255.
        std: likewise.
        licence: of the weights that it was started from itself.
    """

    folder: Path
    architecture: str
    encoder: str
    classes: tuple[str, ...]
    tensors: "dict[str, Tensor]"
    mean: "Channels"
    std: "Channels"
    licence: str | None


def bundle_at(weights: str) -> Path | None:
    """The bundle that a folder is, or that a run's folder holds as its best; None if it is neither."""
    path = Path(weights).expanduser()
    return next((folder for folder in (path, path / "best") if (folder / CARD).is_file()), None)


def read_donor(folder: Path) -> Donor:
    """Reads a bundle: of its card and config.json just what a new network needs.

    Raises:
        ModelError: if a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (red, green, blue), std = card["mean"], card["std"]
        return Donor(
            folder=folder,
            architecture=config["_model_class"],
            encoder=config["encoder_name"],
            classes=Task.from_json(card["task"]).classes,
            tensors=load_file(folder / "model.safetensors"),
            mean=(red, green, blue),
            std=(std[0], std[1], std[2]),
            licence=card.get("encoder_weights_licence"),
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(
            f"encoder_weights: {folder} cannot be read as a bundle ({type(error).__name__}: {reason}); copy it again"
        ) from None


def fill_from_donor(model: "nn.Module", architecture: str, encoder: str, task: Task, donor: Donor) -> WeightReport:
    """Fills a network with what has the same name and shape in a trained one, and the head class by class.

    Where the architecture is another, only the encoder is filled. In the head, a class that the donor knows by the
    same name takes over its row; the others stay as initialised. A head of one channel (two classes) is taken over
    only where both classes are the same.

    Raises:
        ConfigError: if the encoder is another.
    """
    theirs = donor.encoder.partition(".")[0]
    if encoder.partition(".")[0] != theirs:
        raise ConfigError(
            f"encoder_weights: {donor.folder} has the encoder {donor.encoder.removeprefix('tu-')}, "
            f"not {encoder.removeprefix('tu-')}; set encoder: {theirs.removeprefix('tu-')}"
        )
    whole = architecture == donor.architecture
    state = model.state_dict()
    wanted = [name for name in state if whole or name.startswith("encoder.")]
    rows = set(_class_rows(model))
    missing: list[str] = []
    for name in wanted:
        given = donor.tensors.get(name)
        if given is None:
            missing.append(name)
        elif name in rows:
            state[name], left = _by_class(state[name], given, task.classes, donor.classes)
            missing.extend([f"{name} ({', '.join(left)})"] if left else [])
        elif given.shape == state[name].shape:
            state[name] = given
        else:
            missing.append(name)
    model.load_state_dict(state)
    part = "network" if whole else "encoder"
    return WeightReport(str(donor.folder), part, len(wanted), tuple(missing), donor.mean, donor.std, donor.licence)


def _class_rows(model: "nn.Module") -> Iterator[str]:
    """Names of the tensors that have a row for each class: those of the head's last convolution."""
    from torch.nn import Conv2d

    head: nn.Module = model.segmentation_head  # type: ignore[assignment]
    *_, (last, convolution) = ((name, module) for name, module in head.named_modules() if isinstance(module, Conv2d))
    for name, _ in convolution.named_parameters():
        yield f"segmentation_head.{last}.{name}"


def _by_class(
    ours: "Tensor", theirs: "Tensor", classes: Sequence[str], known: Sequence[str]
) -> "tuple[Tensor, list[str]]":
    """Our tensor with the rows of the classes that the donor knows, and the classes that it does not give."""
    if tuple(classes) == tuple(known) and ours.shape == theirs.shape:
        return theirs, []
    if len(ours) != len(classes) or len(theirs) != len(known) or ours.shape[1:] != theirs.shape[1:]:
        return ours, list(classes)
    filled = ours.clone()
    for row, name in enumerate(classes):
        if name in known:
            filled[row] = theirs[known.index(name)]
    return filled, [name for name in classes if name not in known]
