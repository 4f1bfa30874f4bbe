"""The network as everything else sees it: raw pixels of any size in, logits of the same size out."""

import math

import torch
from segmentation_models_pytorch import DPT
from torch import Tensor, nn
from torch.nn import functional

from segcli.nn.auxiliary import with_feature
from segcli.nn.sizes import larger

Channels = tuple[float, float, float]


class SegmentationNetwork(nn.Module):
    """Wraps an smp model with the preprocessing that belongs to its weights.

    Normalisation and zero padding to the stride happen inside, so training, prediction and every
    exported file share them. With a head of one channel z the logits are [0, z], whose softmax is
    exactly [1 - sigmoid(z), sigmoid(z)].

    Args:
        model: an smp segmentation model with a head of C channels, or of 1 for two classes.
        mean: per channel, in units of pixel / 255.
        std: per channel, in units of pixel / 255.
        min_side: smallest padded side that the model takes.
        auxiliary: a head on the encoder's last feature but one, for training only; no part of a bundle.
        auxiliary_weight: weight of the loss of that head's logits beside the loss of the logits.

    Shape:
        images: B×3×H×W uint8 (or float with values 0…255), RGB, any H and W ≥ 1.
        returns: B×C×H×W float logits; in training mode with an auxiliary head a pair: they, and that head's.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: nn.Module,
        mean: Channels,
        std: Channels,
        min_side: int = 1,
        auxiliary: nn.Module | None = None,
        auxiliary_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.auxiliary = auxiliary
        self.auxiliary_weight = auxiliary_weight
        self.mean, self.std = mean, std
        self.stride = input_stride(model)
        self.min_side = -(-min_side // self.stride) * self.stride
        self.register_buffer("scale", 1 / (255 * torch.tensor(std).view(1, 3, 1, 1)), persistent=False)
        self.register_buffer("shift", -(torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Computes the logits (B×C×H×W) of raw images (B×3×H×W)."""
        height, width = images.shape[-2:]
        x = images.to(self.scale.dtype) * self.scale + self.shift
        # Padding by a constant and slicing, never by an amount that depends on the size: torch.export would
        # otherwise split on "already a multiple or not" and refuse the other kind.
        spare = max(self.stride, self.min_side) - 1
        x = functional.pad(x, (0, spare, 0, spare))[..., : self.padded(height), : self.padded(width)]
        if self.auxiliary is None or not self.training:
            return _logits(self.model(x), height, width)
        output, feature = with_feature(self.model, x)
        rough = functional.interpolate(self.auxiliary(feature), x.shape[-2:], mode="bilinear")
        return _logits(output, height, width), _logits(rough, height, width)

    def padded(self, side: int) -> int:
        """The smallest multiple of the stride that is neither below a side nor below `min_side`."""
        multiple = (side + self.stride - 1) // self.stride * self.stride
        return larger(multiple, self.min_side) if self.min_side > self.stride else multiple


def only_size(model: nn.Module) -> tuple[int, int] | None:
    """Height and width that an smp model's encoder was made for, where timm says that it takes no others."""
    made_for = getattr(getattr(getattr(model, "encoder", None), "model", None), "pretrained_cfg", {})
    return made_for["input_size"][1:] if made_for.get("fixed_input_size") else None


def _logits(output: Tensor, height: int, width: int) -> Tensor:
    """What a head gives without the padding; a head of one channel z means [0, z]."""
    output = output[..., :height, :width]
    return torch.cat([torch.zeros_like(output), output], dim=1) if output.shape[1] == 1 else output


def input_stride(model: nn.Module) -> int:
    """The number that both sides of an smp model's input must be a multiple of.

    Most models say it themselves. DPT says its patch size, but its decoder goes on to halve the grid of patches
    down to 1/2^(levels + 1), and fails where a level is not exactly half of the one before.
    """
    stride = int(model.encoder.output_stride)  # type: ignore[union-attr, arg-type]
    if isinstance(model, DPT):
        stride = math.lcm(stride, 2 ** (len(model.decoder.fusion_blocks) + 1))
    return stride
