"""The optimisers a config may choose."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from segcli.components.section import Section, choice
from segcli.errors import ConfigError

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from segcli.nn.network import SegmentationNetwork


class _Optimizer(Section):
    """What all optimisers share."""

    lr: float = Field(1e-3, gt=0)
    """learning rate of the decoder and the head; the highest that the scheduler reaches"""
    encoder_lr_factor: float = Field(1.0, ge=0)
    """the encoder's learning rate as a share of `lr`"""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """factor by which the rate falls from each layer of the encoder to the one before it; the last layer has the
    encoder's own rate (Clark et al. 2020; 0.65 to 0.9 is usual for transformers); 1: one rate for the whole encoder"""
    weight_decay: float = Field(1e-2, ge=0)
    """decay of the weights; norms, biases, position embeddings and tokens have none"""

    def groups(self, network: "SegmentationNetwork") -> list[dict[str, Any]]:
        """The parameter groups: one for each learning rate and weight decay that occur.

        Raises:
            ConfigError: if the rate is to fall over layers, but the encoder's names do not tell them apart.
        """
        from segcli.components.layers import names_without_decay

        spared = names_without_decay(network)
        encoder_rates = self._encoder_rates(network)
        groups: dict[tuple[float, float], list[Any]] = {}
        for name, parameter in network.named_parameters():
            decays = parameter.ndim > 1 and name not in spared
            rate = encoder_rates.get(name, self.lr)
            groups.setdefault((rate, self.weight_decay if decays else 0.0), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()
        ]

    def _encoder_rates(self, network: "SegmentationNetwork") -> dict[str, float]:
        """The rate of each of the encoder's parameters, by its name in the network."""
        from segcli.components.layers import layers_by_name

        encoder = network.model.get_submodule("encoder")
        layers = layers_by_name({name: parameter.ndim for name, parameter in encoder.named_parameters()})
        last = max(layers.values())
        if last == 0 and self.layer_decay < 1:
            raise ConfigError(
                "optimizer.layer_decay: the names of this encoder's parameters do not number its layers; "
                "set it to 1, or choose another encoder"
            )
        return {
            f"model.encoder.{name}": self.lr * self.encoder_lr_factor * self.layer_decay ** (last - layer)
            for name, layer in layers.items()
        }


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    """decay rates of the running means of gradient and square"""

    def build(self, network: "SegmentationNetwork") -> "Optimizer":
        """Builds the optimiser of a network's parameters."""
        import torch

        return torch.optim.AdamW(self.groups(network), lr=self.lr, betas=self.betas, **_fused(network))


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum."""

    aliases: ClassVar = ("SGD",)
    name: Literal["sgd"] = "sgd"
    lr: float = Field(1e-2, gt=0)
    """learning rate of the decoder and the head; the highest that the scheduler reaches"""
    momentum: float = Field(0.9, ge=0, lt=1)
    """share of the last step that goes on"""
    nesterov: bool = True
    """look ahead along the momentum"""

    def build(self, network: "SegmentationNetwork") -> "Optimizer":
        """Builds the optimiser of a network's parameters."""
        import torch

        nesterov = self.nesterov and self.momentum > 0
        return torch.optim.SGD(
            self.groups(network), lr=self.lr, momentum=self.momentum, nesterov=nesterov, **_fused(network)
        )


class _Timm(_Optimizer):
    """An optimiser as timm builds it."""

    timm_name: ClassVar[str]
    fuses: ClassVar[bool] = False

    def build(self, network: "SegmentationNetwork") -> "Optimizer":
        """Builds the optimiser of a network's parameters."""
        from timm.optim import create_optimizer_v2

        options = self.model_dump(exclude={"name", "lr", "weight_decay", "encoder_lr_factor", "layer_decay"})
        options |= _fused(network) if self.fuses else {}
        built: Optimizer = create_optimizer_v2(
            self.groups(network), opt=self.timm_name, lr=self.lr, weight_decay=self.weight_decay, **options
        )
        return built


class Adam(_Timm):
    """Adam, whose weight decay is part of the gradient (Kingma & Ba 2015)."""

    timm_name = "adam"
    fuses = True
    name: Literal["adam"] = "adam"
    weight_decay: float = Field(0.0, ge=0)
    """decay of the weights; norms, biases, position embeddings and tokens have none"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay rates of the running means of gradient and square"""


class RAdam(_Timm):
    """Adam that warms up by itself (Liu et al. 2020), with decoupled weight decay."""

    timm_name = "radamw"
    name: Literal["radam"] = "radam"
    betas: tuple[float, float] = (0.9, 0.999)
    """decay rates of the running means of gradient and square"""


class Lion(_Timm):
    """Steps of one size, by the sign of the momentum (Chen et al. 2023); wants a tenth of AdamW's rate."""

    timm_name = "lion"
    name: Literal["lion"] = "lion"
    lr: float = Field(1e-4, gt=0)
    """learning rate of the decoder and the head; the highest that the scheduler reaches"""
    weight_decay: float = Field(1e-1, ge=0)
    """decay of the weights; norms, biases, position embeddings and tokens have none"""
    betas: tuple[float, float] = (0.9, 0.99)
    """decay rates of the two momenta"""


class Lamb(_Timm):
    """Adam whose steps are scaled to the size of each layer's weights, for large batches (You et al. 2020)."""

    timm_name = "lamb"
    name: Literal["lamb"] = "lamb"
    lr: float = Field(5e-3, gt=0)
    """learning rate of the decoder and the head; the highest that the scheduler reaches"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay rates of the running means of gradient and square"""


class Muon(_Optimizer):
    """Momentum made orthogonal for weights, AdamW for norms and biases (Jordan et al. 2024)."""

    name: Literal["muon"] = "muon"
    momentum: float = Field(0.95, ge=0, lt=1)
    """share of the last step that goes on"""
    nesterov: bool = True
    """look ahead along the momentum"""

    def build(self, network: "SegmentationNetwork") -> "Optimizer":
        """Builds the optimiser of a network's parameters."""
        from segcli.nn import muon

        built: Optimizer = muon.Muon(self.groups(network), lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)
        return built


def _fused(network: "SegmentationNetwork") -> dict[str, bool]:
    """Asks for the one kernel on a GPU, which is faster and leaves out a step without a word from the host."""
    return {"fused": True} if next(network.parameters()).is_cuda else {}


OptimizerConfig = choice("optimizer", AdamW, Sgd, Adam, RAdam, Lion, Lamb, Muon)
