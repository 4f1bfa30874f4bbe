"""The network as an exported file has it: with the layout, the resize and the kind of output that were asked for."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcli.nn.network import SegmentationNetwork
from segcli.nn.pooling import exportable, resampling_matrix
from segcli.nn.sizes import divided, larger, smaller


class Deployed(nn.Module):
    """Wraps a network with what an exported file does beside it.

    Args:
        network: is copied, with layers that export at any size, in evaluation mode on the CPU in fp32.
        layout: `nchw` or `nhwc`.
        output: `logits`, `probabilities` or `labels`.
        resize: the size at which the network sees an image: its short side, or the (height, width) to fit in; None
            shows it as it is. What comes out has the size of the image in any case.

    Shape:
        image: B×3×H×W uint8 RGB, or B×H×W×3.
        returns: B×C×H×W float32, or B×H×W×C; labels are B×H×W uint8, int32 beyond 256 classes.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        layout: str = "nchw",
        output: str = "logits",
        resize: int | tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.network = exportable(network).float().cpu().requires_grad_(False)
        self.network.auxiliary = None
        self.channels_last = layout == "nhwc"
        self.output = output
        self.resize = resize
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Computes what the file gives for raw images."""
        pixels = image.permute(0, 3, 1, 2) if self.channels_last else image
        height, width = pixels.shape[-2:]
        if self.resize is not None:
            pixels = self._resized(pixels.float(), height, width)
        logits = cast(Tensor, self.network(pixels))
        if self.resize is not None:
            logits = functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        if self.output == "labels":
            return logits.argmax(1).to(torch.uint8 if logits.shape[1] <= 256 else torch.int32)
        values = logits.softmax(1) if self.output == "probabilities" else logits
        return values.permute(0, 2, 3, 1) if self.channels_last else values

    def _resized(self, pixels: Tensor, height: int, width: int) -> Tensor:
        """Pixels (B×3×H×W float) at the size that the network is to see, rounded as an image would be."""
        new_height, new_width = network_size(self.resize, height, width)
        down = resampling_matrix(new_height, height, pixels)
        across = resampling_matrix(new_width, width, pixels)
        return (down @ pixels @ across.T).round().clamp(0, 255)


def network_size(resize: int | tuple[int, int] | None, height: int, width: int) -> tuple[int, int]:
    """Height and width at which the network sees an image, as `Inference.network_size` gives them.

    It is written so that exporters keep height and width free; exact halves are rounded upwards.
    """
    if resize is None:
        return height, width
    if isinstance(resize, int):
        short = smaller(height, width)
        return divided(height * resize, short), divided(width * resize, short)
    new_height = smaller(resize[0], divided(height * resize[1], width))
    new_width = smaller(resize[1], divided(width * resize[0], height))
    return larger(new_height, 1), larger(new_width, 1)
