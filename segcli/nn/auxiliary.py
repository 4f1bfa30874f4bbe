"""An auxiliary head: a second, rougher prediction from inside the encoder, that helps training and is then left out."""

from segmentation_models_pytorch import DPT
from torch import Tensor, nn


class AuxiliaryHead(nn.Sequential):
    """A small head on a feature of the encoder. Source: Zhao et al., "Pyramid Scene Parsing Network", 2017, 3.2.

    Args:
        in_channels: of the feature.
        out_channels: as of the main head.

    Shape:
        feature: B×in_channels×h×w.
        returns: B×out_channels×h×w.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        width = max(in_channels // 4, out_channels)
        super().__init__(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(width, out_channels, 1),
        )


def with_feature(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The output of an smp model as of its own forward, and its encoder's last feature but one.

    Args:
        model: any of smp's segmentation models.
        x: normalised images B×3×H×W, H and W multiples of the stride.
    """
    encoder, decoder, head = (model.get_submodule(name) for name in ("encoder", "decoder", "segmentation_head"))
    if isinstance(model, DPT):
        features, prefix_tokens = encoder(x)
        return head(decoder(features, prefix_tokens)), features[-2]
    features = encoder(x)
    return head(decoder(features)), features[-2]
