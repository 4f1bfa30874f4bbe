"""A network as it computes fastest when it no longer learns: each batch norm folded into the convolution before it."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode

from segcli.nn.depthwise import depthwise_as_any
from segcli.nn.network import SegmentationNetwork, only_size

_PLAIN = (nn.BatchNorm2d, nn.SyncBatchNorm)
_WITH_ACTIVATION = (BatchNormAct2d, SyncBatchNormAct)  # timm's: the norm holds what comes behind it
_PROBE = (64, 64)  # height and width of the image that shows which norm follows which convolution


def folded(network: SegmentationNetwork) -> SegmentationNetwork:
    """Copies a network for inference, with equal logits up to rounding.

    Which norm follows which convolution is watched in a forward pass, so that no order in the code needs to be
    trusted: a convolution is folded where its result goes into one norm and nowhere else.

    Args:
        network: stays as it is.

    Returns:
        A copy in evaluation mode on the same device, of convolutions without the norms behind them.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    network.auxiliary = None
    depthwise_as_any(network)
    size = only_size(network.model) or _PROBE
    with torch.no_grad(), _Watched() as watched:
        network(torch.zeros(1, 3, *size, dtype=torch.uint8, device=network.scale.device))
    convolutions = _by_tensor(network, "weight", (nn.Conv2d, nn.ConvTranspose2d))
    norms = _by_tensor(network, "running_mean", (*_PLAIN, *_WITH_ACTIVATION))
    replaced: dict[nn.Module, nn.Module] = {}
    for weight, mean in watched.pairs():
        convolution, norm = convolutions.get(weight), norms.get(mean)
        if convolution is not None and norm is not None:
            _fold(convolution, norm)
            replaced[norm] = nn.Sequential(norm.drop, norm.act) if isinstance(norm, _WITH_ACTIVATION) else nn.Identity()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if child in replaced:
                setattr(parent, name, replaced[child])
    return network


def _by_tensor(network: nn.Module, name: str, kinds: tuple[type[nn.Module], ...]) -> dict[int, Any]:
    """The modules of some kinds by the id of one of their tensors."""
    return {id(getattr(module, name)): module for module in network.modules() if isinstance(module, kinds)}


def _fold(convolution: Any, norm: Any) -> None:
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias,
        transpose=isinstance(convolution, nn.ConvTranspose2d),
    )  # fmt: skip
    convolution.requires_grad_(False)


class _Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes in a forward pass which norm takes the result of which convolution, and what else does."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weight_of: dict[int, int] = {}  # of each convolution's result
        self.norms: list[tuple[int, int]] = []  # the input of each norm, and its running mean
        self.readers: Counter[int] = Counter()
        self.uses: Counter[int] = Counter()  # of weights and running means
        self.kept: list[Tensor] = []  # so that no id is given twice

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        result = function(*args, **(kwargs or {}))
        self.readers.update(id(tensor) for tensor in _tensors([*args, *(kwargs or {}).values()]))
        if name == "convolution" and (not args[6] or args[8] == 1):  # not a transposed one in groups
            self.weight_of[id(result)] = id(args[1])
            self.uses[id(args[1])] += 1
        elif "batch_norm" in name:
            self.norms.append((id(args[0]), id(args[3])))
            self.uses[id(args[3])] += 1
        self.kept.extend(_tensors([result, *args]))
        return result

    def pairs(self) -> list[tuple[int, int]]:
        """The ids of a convolution's weight and of its norm's running mean, where each is used once for the other."""
        return [
            (self.weight_of[given], mean)
            for given, mean in self.norms
            if given in self.weight_of
            and self.readers[given] == self.uses[self.weight_of[given]] == self.uses[mean] == 1
        ]


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    flat = [item for value in values for item in (value if isinstance(value, list | tuple) else (value,))]
    return [value for value in flat if isinstance(value, Tensor)]
