"""The same network in layers that any exporter can trace at one size and that stay right at every other.

Two operations of the networks have weights that depend on the size of their input: adaptive average pooling, and the
resampling of a vision transformer's position embedding. Exporters refuse them, or freeze them at the traced size.
Both are linear and separable, so here they are P_h · x · P_wᵀ, with small matrices made from `arange`.
"""

import copy
from typing import cast

import torch
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from segcli.nn.network import SegmentationNetwork
from segcli.nn.same_padding import padded_by_constants


def exportable(network: SegmentationNetwork) -> SegmentationNetwork:
    """Copies a network in evaluation mode, with equal layers in place of those that do not export.

    Args:
        network: stays as it is.

    Returns:
        A deep copy with equal logits, up to rounding.
    """
    network = copy.deepcopy(network).eval()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, PSPBlock):
                setattr(parent, name, PyramidLevel(child.pool))
            elif isinstance(child, nn.AdaptiveAvgPool2d) and _sides(child) != (1, 1):
                setattr(parent, name, MatrixPool2d(_sides(child)))
            elif (padded := padded_by_constants(child)) is not None:
                setattr(parent, name, padded)
        if isinstance(parent, VisionTransformer) and parent.pos_embed is not None and _resamples_positions(parent):
            _move_positions(parent, parent.pos_embed.detach())
    return network


class MatrixPool2d(nn.Module):
    """Adaptive average pooling by two matrices; equals `nn.AdaptiveAvgPool2d`.

    Args:
        sides: number of bins down and across.

    Shape:
        x: …×H×W, any H and W ≥ 1.
        returns: …×sides[0]×sides[1].
    """

    def __init__(self, sides: tuple[int, int]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        """Averages x over each bin."""
        height, width = x.shape[-2:]
        down = averaging_matrix(self.sides[0], height, x)
        across = averaging_matrix(self.sides[1], width, x)
        return down @ x @ across.T


class PyramidLevel(nn.Module):
    """One level of a pyramid pooling module: pool, project, resize back.

    It stands in for smp's `PSPBlock`, which takes another path while it is being exported.

    Args:
        pool: the pooling and the projection.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Returns the level at the size of x."""
        return functional.interpolate(self.pool(x), size=x.shape[-2:], mode="bilinear", align_corners=True)


class PositionedPatches(nn.Module):
    """A patch embedding that adds the position embedding, resampled to the grid of patches.

    Args:
        patches: maps images to a grid of patches (B×h×w×C).
        positions: the embedding on the grid that it was learnt on, C×H×W.
    """

    positions: Tensor

    def __init__(self, patches: nn.Module, positions: Tensor) -> None:
        super().__init__()
        self.patches = patches
        self.dynamic_feat_size = patches.dynamic_feat_size
        self.register_buffer("positions", positions)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the patches with their positions added, B×h×w×C."""
        x: Tensor = self.patches(images)
        height, width = x.shape[1:3]
        down = cubic_matrix(height, self.positions.shape[1], x)
        across = cubic_matrix(width, self.positions.shape[2], x)
        return x + (down @ self.positions @ across.T).permute(1, 2, 0)


def averaging_matrix(num_bins: int, size: int, like: Tensor) -> Tensor:
    """The matrix (num_bins×size) that averages over adaptive bins.

    Bin i covers ⌊i·size/num_bins⌋ … ⌈(i+1)·size/num_bins⌉ - 1, as in torch's adaptive pooling; bins may overlap.

    Args:
        num_bins: length of the output.
        size: length of the input, which may be traced.
        like: a tensor of the dtype and device wanted.
    """
    bins = torch.arange(num_bins, device=like.device).unsqueeze(1)
    pixels = torch.arange(size, device=like.device)
    # A pixel p overlaps [i·size/num_bins, (i+1)·size/num_bins); in integers, since fp16 could not hold the products.
    inside = ((pixels + 1) * num_bins > bins * size) & (pixels * num_bins < (bins + 1) * size)
    weights = inside.to(like.dtype)
    return weights / weights.sum(1, keepdim=True)


def resampling_matrix(new_size: int, size: int, like: Tensor) -> Tensor:
    """The matrix (new_size×size) that resizes as OpenCV does: areas averaged where it shrinks, else bilinearly.

    It equals INTER_AREA where both sides shrink, and INTER_LINEAR where they do not, before rounding.

    Args:
        new_size: length of the output, which may be traced.
        size: length of the input, which may be traced.
        like: a tensor of the dtype and device wanted.
    """
    targets = torch.arange(new_size, dtype=torch.float32, device=like.device).unsqueeze(1)
    sources = torch.arange(size, dtype=torch.float32, device=like.device)
    step = torch.full((1, 1), 1.0, device=like.device) * size / new_size
    start = targets * step
    area = (torch.minimum(start + step, sources + 1) - torch.maximum(start, sources)).clamp(min=0) / step
    centre = torch.minimum((targets + 0.5) * step - 0.5, sources[-1:]).clamp(min=0)  # the border pixels go on outside
    linear = (1 - (sources - centre).abs()).clamp(min=0)
    return torch.where(step > 1, area, linear).to(like.dtype)


def cubic_matrix(new_size: int, size: int, like: Tensor) -> Tensor:
    """The matrix (new_size×size) of antialiased bicubic resampling.

    It equals `interpolate(mode="bicubic", antialias=True)`: the kernel of Keys (1981) with a = -1/2, stretched when
    the output is the smaller, and cut and renormalised at the borders.

    Args:
        new_size: length of the output, which may be traced.
        size: length of the input.
        like: a tensor of the dtype and device wanted.
    """
    targets = torch.arange(new_size, dtype=torch.float32, device=like.device).unsqueeze(1)
    sources = torch.arange(size, dtype=torch.float32, device=like.device)
    step = torch.full((1, 1), float(size), device=like.device) / new_size
    distance = ((sources + 0.5 - (targets + 0.5) * step) / step.clamp(min=1)).abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    return (weights / weights.sum(1, keepdim=True)).to(like.dtype)


def _sides(pool: nn.AdaptiveAvgPool2d) -> tuple[int, int]:
    size = pool.output_size
    return (size, size) if isinstance(size, int) else cast(tuple[int, int], size)


def _resamples_positions(vit: VisionTransformer) -> bool:
    return vit.dynamic_img_size and type(vit)._pos_embed is VisionTransformer._pos_embed


def _move_positions(vit: VisionTransformer, positions: Tensor) -> None:
    """Moves the position embedding into the prefix tokens and the patch embedding, in place."""
    start = 0
    if not vit.no_embed_class:
        for name in ("cls_token", "reg_token"):
            token = getattr(vit, name)
            if token is not None:
                stop = start + token.shape[1]
                setattr(vit, name, nn.Parameter(token + positions[:, start:stop]))
                start = stop
    grid = positions[0, start:].T.reshape(-1, *vit.patch_embed.grid_size)
    vit.patch_embed = PositionedPatches(vit.patch_embed, grid)
    vit.pos_embed = None
