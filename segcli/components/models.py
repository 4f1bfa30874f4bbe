"""The networks a config may choose: an smp architecture on an encoder, with or without trained weights."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from segcli.components.encoder_names import is_plainly_known
from segcli.components.own_weights import bundle_at, fill_from_donor, read_donor
from segcli.components.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    WeightReport,
    fill_from_file,
    fill_from_hub,
    weight_file,
)
from segcli.components.section import Section
from segcli.components.weights import resolve_weights
from segcli.errors import ConfigError, did_you_mean
from segcli.task import Task

if TYPE_CHECKING:
    from torch import nn

    from segcli.nn.network import Channels, SegmentationNetwork

# smp's class names by the spellings people use: lower case, without spaces, - and _; + is "plus".
ARCHITECTURES = {
    name.lower(): name
    for name in (
        "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN",
        "DeepLabV3", "DeepLabV3Plus", "UPerNet", "Segformer", "DPT",
    )
}  # fmt: skip

# smp's parameter for an option, by architecture where its name differs from one to the next.
_DROPOUT = {
    "FPN": "decoder_dropout", "PSPNet": "psp_dropout",
    "DeepLabV3": "decoder_aspp_dropout", "DeepLabV3Plus": "decoder_aspp_dropout",
}  # fmt: skip
_CHANNELS = {
    "FPN": "decoder_segmentation_channels", "Segformer": "decoder_segmentation_channels",
    "PSPNet": "psp_out_channels", "DPT": "decoder_fusion_channels",
}  # fmt: skip

# The architectures that take an option; all others do.
_TAKEN_BY = {
    "output_stride": {"DeepLabV3", "DeepLabV3Plus", "PAN"},
    "decoder_channels": {*ARCHITECTURES.values()} - {"Linknet"},
    "attention": {"Unet", "UnetPlusPlus"},
    "dropout": {*_DROPOUT},
}
_WIDTH_A_STAGE = {"Unet", "UnetPlusPlus", "MAnet"}
_USUAL_DEPTH = 5

# PAN halves its deepest features three times: where they are smaller than this, torch itself fails.
_PAN_SMALLEST_FEATURES = 8

Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


class ModelOptions(Section):
    """The network's own options; what is left out is smp's default for the architecture."""

    encoder_depth: int | None = Field(None, ge=3, le=5)
    """number of encoder stages; each halves the resolution"""
    output_stride: int | None = Field(None, ge=8, le=32)
    """the encoder's largest stride (DeepLabV3, DeepLabV3+, PAN): 8, 16 or 32"""
    decoder_channels: int | tuple[int, ...] | None = None
    """width of the decoder: one a stage (Unet, Unet++, MAnet), else one number"""
    attention: Literal["scse"] | None = None
    """attention in the decoder (Unet, Unet++): scse"""
    dropout: float | None = Field(None, ge=0, lt=1)
    """dropout in the decoder (FPN, PSPNet, DeepLabV3, DeepLabV3+)"""
    auxiliary: float = Field(0.0, ge=0)
    """weight of the loss of an auxiliary head on the encoder's last feature but one, which only training has;
    0: none (0.4 in PSPNet, Zhao et al. 2017)"""
    mean: tuple[Share, Share, Share] | None = None
    """mean that the encoder's weights expect, in units of pixel / 255; by default that of the weights"""
    std: tuple[Spread, Spread, Spread] | None = None
    """standard deviation that the encoder's weights expect, in units of pixel / 255"""

    def for_architecture(self, architecture: str) -> dict[str, Any]:
        """The options that are set, under smp's parameter names for the architecture."""
        named = {
            "encoder_depth": self.encoder_depth,
            "encoder_output_stride": self.output_stride,
            _CHANNELS.get(architecture, "decoder_channels"): self.decoder_channels,
            "decoder_attention_type": self.attention,
            _DROPOUT.get(architecture, "dropout"): self.dropout,
        }
        return {name: value for name, value in named.items() if value is not None}


def architecture_name(spelling: str) -> str:
    """The smp class that a usual spelling means: `UNet`, `unet++`, `DeepLabV3+`, `deeplab-v3-plus` ….

    Raises:
        ValueError: if none is meant.
    """
    plain = re.sub(r"[\s_-]", "", spelling.lower()).replace("+", "plus")
    if plain not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {spelling!r}; {did_you_mean(spelling, ARCHITECTURES.values())}")
    return ARCHITECTURES[plain]


def network_problems(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with the network that the values of a config ask for: the keys of each mistake, and the message.

    Values that are no names or numbers at all are passed over; the types of the config judge those.
    """
    encoder, name, options = values.get("encoder"), values.get("model_name", "Unet"), values.get("model")
    if isinstance(encoder, str) and not is_plainly_known(encoder):
        try:
            resolve_encoder(encoder)
        except ConfigError as error:
            yield ("encoder",), str(error).removeprefix("encoder: ")
    try:
        architecture = architecture_name(name) if isinstance(name, str) else None
    except ValueError:
        return
    if architecture is not None and isinstance(options, Mapping):
        for option, message in option_problems(architecture, options):
            yield ("model", option), message


def option_problems(architecture: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The options that do not fit an architecture, each with what is wrong."""
    for option, takers in _TAKEN_BY.items():
        if options.get(option) is not None and architecture not in takers:
            yield option, f"{architecture} has no such option; leave it out, or choose {_listed(takers)}"
    channels = options.get("decoder_channels")
    depth = options.get("encoder_depth") or _USUAL_DEPTH
    if architecture in _WIDTH_A_STAGE and channels is not None:
        widths = len(channels) if isinstance(channels, Sequence) else None
        if widths != depth:
            given = "one number" if widths is None else f"{widths} numbers"
            yield "decoder_channels", f"{architecture} wants a width for each of its {depth} stages, not {given}"
    elif isinstance(channels, Sequence) and architecture in _TAKEN_BY["decoder_channels"]:
        yield "decoder_channels", f"{architecture} wants one number, not {len(channels)}"


def _listed(names: Set[str]) -> str:
    return " or ".join(sorted(names)) if len(names) < 6 else "another architecture"


def build_network(
    architecture: str, encoder: str, weights: str | None, options: ModelOptions, task: Task
) -> "SegmentationNetwork":
    """The network of `build_network_with_report`."""
    return build_network_with_report(architecture, encoder, weights, options, task)[0]


def build_network_with_report(
    architecture: str, encoder: str, weights: str | None, options: ModelOptions, task: Task
) -> "tuple[SegmentationNetwork, WeightReport | None]":
    """Builds a network that starts from the weights asked for, and tells what they filled.

    Args:
        architecture: smp's class name.
        encoder: an encoder of smp, or any of timm's that gives features (with or without smp's `tu-`).
        weights: `imagenet` or another set that the encoder has, `package:NAME`, a weight file, a bundle or a run of
            one's own (which fill the whole network where the architecture is the same), or None.
        options: the network's own options.
        task: its classes give the head's channels.

    Returns:
        The network, and the report with the normalisation in force; None without weights.

    Raises:
        ConfigError: if the encoder, the weights' name or an option does not exist or does not fit.
        ModelError: if the weights cannot be fetched, or the file does not fit the encoder.
    """
    encoder = resolve_encoder(encoder)
    if weights is None:
        model = _build_model(architecture, encoder, options, task)
        return _finished(model, architecture, options, task, IMAGENET_MEAN, IMAGENET_STD), None
    if bundle := bundle_at(weights):
        donor = read_donor(bundle)
        model = _build_model(architecture, encoder, options, task)
        report = fill_from_donor(model, architecture, encoder, task, donor)
    elif file := weight_file(weights):
        model = _build_model(architecture, encoder, options, task)
        report = fill_from_file(model, encoder, file)
    else:
        chosen = resolve_weights(encoder, weights)
        model = _build_model(architecture, chosen.encoder, options, task)
        report = fill_from_hub(model, chosen)
    report = replace(report, mean=options.mean or report.mean, std=options.std or report.std)
    return _finished(model, architecture, options, task, report.mean, report.std), report


def _finished(
    model: "nn.Module", architecture: str, options: ModelOptions, task: Task, mean: "Channels", std: "Channels"
) -> "SegmentationNetwork":
    head = _auxiliary_head(model, task) if options.auxiliary else None
    return wrap(model, architecture, options.mean or mean, options.std or std, head, options.auxiliary)


def wrap(
    model: "nn.Module",
    architecture: str,
    mean: "Channels",
    std: "Channels",
    auxiliary: "nn.Module | None" = None,
    auxiliary_weight: float = 0.0,
) -> "SegmentationNetwork":
    """Puts the preprocessing round an smp model, and an auxiliary head beside it."""
    from segcli.nn.network import SegmentationNetwork, input_stride

    min_side = _PAN_SMALLEST_FEATURES * input_stride(model) if architecture == "PAN" else 1
    return SegmentationNetwork(model, mean, std, min_side, auxiliary, auxiliary_weight)


def _auxiliary_head(model: "nn.Module", task: Task) -> "nn.Module":
    from segcli.nn.auxiliary import AuxiliaryHead

    channels: Sequence[int] = model.encoder.out_channels  # type: ignore[union-attr, assignment]
    return AuxiliaryHead(channels[-2], task.num_head_channels)


def resolve_encoder(name: str) -> str:
    """The name under which smp knows an encoder: its own, or `tu-` and timm's.

    Raises:
        ConfigError: if neither library has it.
    """
    import timm
    from segmentation_models_pytorch.encoders import encoders

    own = {known for known in encoders if not known.startswith("timm-")}
    if name in own:
        return name
    bare = name.removeprefix("tu-")
    if name.startswith("timm-"):  # smp's names of old for some of timm's encoders
        bare = re.sub("^(efficientnet-|mobilenetv3)", _with_tf, name.removeprefix("timm-"))
    if timm.is_model(bare.split(".")[0]):
        return f"tu-{bare}"
    lowered = {known.lower(): known for known in own}
    if name.lower().replace("_", "-") in lowered:
        return str(lowered[name.lower().replace("_", "-")])
    raise ConfigError(f"encoder: unknown encoder {name!r}; {did_you_mean(name, own | set(timm.list_models()))}")


def _with_tf(start: re.Match[str]) -> str:
    return "tf_" + start[0].replace("-", "_")


def _build_model(architecture: str, encoder: str, options: ModelOptions, task: Task) -> "nn.Module":
    import segmentation_models_pytorch as smp

    for option, message in option_problems(architecture, options.model_dump()):
        raise ConfigError(f"model.{option}: {message}")
    model_class = getattr(smp, architecture)
    arguments = options.for_architecture(architecture)
    if architecture == "DPT":
        arguments["dynamic_img_size"] = True  # a vision transformer otherwise takes one size only
    with _smp_errors(f"{architecture} with encoder {encoder.removeprefix('tu-')}"):
        model: nn.Module = model_class(
            encoder_name=encoder, encoder_weights=None, classes=task.num_head_channels, **arguments
        )
    return model


@contextmanager
def _smp_errors(what: str) -> Iterator[None]:
    """Turns what smp and timm raise for impossible combinations into one line."""
    try:
        yield
    except (
        ValueError,
        KeyError,
        RuntimeError,
        AttributeError,
        AssertionError,
        TypeError,
        IndexError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{what} cannot be built: {reason}; choose another encoder or model option") from error
