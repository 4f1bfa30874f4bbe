"""A network as a program of torch.export, which other versions of torch read."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from segcli.errors import ExportError
from segcli.nn.network import SegmentationNetwork
from segcli.nn.pooling import exportable


class Served(nn.Module):
    """A network from `image` (uint8) to `logits`, both in a layout.

    Args:
        network: B×3×H×W in, B×C×H×W out.
        layout: nchw, or nhwc: B×H×W×3 in, B×H×W×C out.
    """

    def __init__(self, network: nn.Module, layout: str) -> None:
        super().__init__()
        self.network = network
        self.channels_last = layout == "nhwc"

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The logits by their name."""
        if not self.channels_last:
            return {"logits": self.network(image)}
        return {"logits": self.network(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)}


@contextmanager
def handed_over(
    network: SegmentationNetwork, size: tuple[int, int], layout: str, free_batch: bool
) -> Iterator[Path]:
    """A network as a .pt2 file for another process; it goes when the block ends.

    Args:
        network: stays as it is.
        size: height and width of its images.
        layout: nchw or nhwc.
        free_batch: any number of images; else one.

    Raises:
        ExportError: if torch.export does not take the network.
    """
    served = Served(exportable(network).float().cpu(), layout).eval()
    shape = (2 if free_batch else 1, *((*size, 3) if layout == "nhwc" else (3, *size)))
    dynamic = ({0: torch.export.Dim("batch")},) if free_batch else None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of things to come
        path = Path(folder) / "network.pt2"
        try:
            program = torch.export.export(served, (torch.zeros(shape, dtype=torch.uint8),), dynamic_shapes=dynamic)
        except Exception as error:  # torch raises a dozen types here
            reason = str(error).strip().partition("\n")[0][:150]
            raise ExportError(f"{network.model.name} does not export by torch.export: {reason}") from error
        torch.export.save(program, path)
        yield path
