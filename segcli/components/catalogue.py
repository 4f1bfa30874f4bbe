"""What a config may choose from: names with what helps to choose."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from segcli.components.augmentations import AugmentationConfig
from segcli.components.losses import LossConfig
from segcli.components.models import ARCHITECTURES, ModelOptions, resolve_encoder
from segcli.components.optimizers import OptimizerConfig
from segcli.components.schedulers import SchedulerConfig
from segcli.components.section import Section, sections_in
from segcli.components.weights import weight_sets
from segcli.errors import UsageError, did_you_mean

FEW = 40
"""Encoders up to which each one is built to count its parameters."""


@dataclass(frozen=True)
class Entry:
    """Something to choose.

    Attributes:
        name: as in the config.
        facts: what helps to choose, by title.
    """

    name: str
    facts: Mapping[str, str]


def entries(kind: str, pattern: str = "") -> list[Entry]:
    """What there is of a kind.

    Args:
        kind: one of KINDS.
        pattern: part of the name, or a pattern with `*`; for weights the encoder.

    Raises:
        UsageError: if there is no such kind, or nothing matches.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}; {did_you_mean(kind, KINDS)}")
    found = list(KINDS[kind](pattern))
    if not found:
        raise UsageError(f"no {kind} match {pattern!r}; `seg list {kind}` shows what there is")
    return found


def matches(name: str, pattern: str) -> bool:
    """Whether a name holds a text, or is like a pattern with `*`."""
    return fnmatch(name.lower(), pattern.lower() if "*" in pattern else f"*{pattern.lower()}*")


def _architectures(pattern: str) -> Iterator[Entry]:
    import inspect

    import segmentation_models_pytorch as smp

    options = [name for name in ModelOptions.model_fields if name not in {"auxiliary", "mean", "std"}]
    for name in ARCHITECTURES.values():
        known = inspect.signature(getattr(smp, name).__init__).parameters
        taken = [option for option in options if _parameter(option, name) in known]
        if matches(name, pattern):
            yield Entry(name, {"model options": ", ".join(taken)})


def _parameter(option: str, architecture: str) -> str:
    """Smp's parameter for an option of the config."""
    one: Any = {option: 1}
    return next(iter(ModelOptions.model_construct(**one).for_architecture(architecture)))


def _encoders(pattern: str) -> Iterator[Entry]:
    names = [name for name in _encoder_names() if matches(name, pattern)]
    for name in names:
        yield Entry(name, _measured(name) if len(names) <= FEW else {})


def _encoder_names() -> list[str]:
    import timm
    from segmentation_models_pytorch.encoders import encoders

    own = [name for name in encoders if not name.startswith(("timm-", "tu-"))]
    return sorted({*own, *timm.list_models()})


def _measured(name: str) -> dict[str, str]:
    """Parameters and largest stride of an encoder, built without memory for its weights."""
    import torch
    from segmentation_models_pytorch.encoders import TimmViTEncoder, get_encoder

    name = resolve_encoder(name)
    try:
        with torch.device("meta"):
            return _size(get_encoder(name, weights=None))
    except Exception as error:  # timm has models that give no features; each says so in its own way
        reason = " ".join(str(error).split())[:80]
    try:
        with torch.device("meta"):
            return _size(TimmViTEncoder(name.removeprefix("tu-"), pretrained=False, dynamic_img_size=True), ", for DPT")
    except Exception:  # no vision transformer either
        return {"parameters": "–", "stride": f"gives no features ({reason})"}


def _size(encoder: Any, use: str = "") -> dict[str, str]:
    number = sum(parameter.numel() for parameter in encoder.parameters())
    return {"parameters": f"{number / 1e6:.1f} M", "stride": f"{encoder.output_stride}{use}"}


def _weights(encoder: str) -> Iterator[Entry]:
    if not encoder:
        raise UsageError("seg list weights wants an encoder: seg list weights resnet50")
    for weights in weight_sets(resolve_encoder(encoder).partition(".")[0]):
        facts = {"word": ", ".join(weights.words), "source": weights.source}
        yield Entry(weights.name, {**facts, "licence": weights.licence or "not stated"})


def _sections(union: Any) -> Callable[[str], Iterator[Entry]]:
    def found(pattern: str) -> Iterator[Entry]:
        for section in sections_in(union):
            name = str(section.model_fields["name"].default)
            if matches(name, pattern):
                yield Entry(name, {"what it is": _first_sentence(section), "keys": ", ".join(_keys(section))})

    return found


def _first_sentence(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


def _keys(section: type[Section]) -> Sequence[str]:
    return [name for name in section.model_fields if name not in {"name", "weight"}]


KINDS: dict[str, Callable[[str], Iterator[Entry]]] = {
    "architectures": _architectures,
    "encoders": _encoders,
    "weights": _weights,
    "losses": _sections(LossConfig),
    "optimizers": _sections(OptimizerConfig),
    "schedulers": _sections(SchedulerConfig),
    "augmentations": _sections(AugmentationConfig),
}
