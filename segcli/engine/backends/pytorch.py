"""The torch backend: a bundle, or the network that is being trained."""

from pathlib import Path
from typing import Self

import numpy as np
import torch

from segcli.engine.arrays import Logits
from segcli.engine.arrays.torch_arrays import upload
from segcli.engine.device import (
    computing,
    keep_freed_memory,
    pick_batch_size,
    pick_concurrency,
    pick_device,
    pick_inference_precision,
)
from segcli.io.bundle import load_bundle
from segcli.io.card import ModelCard
from segcli.io.images import Pixels
from segcli.nn.folding import folded
from segcli.nn.network import SegmentationNetwork


class TorchBackend:
    """Predicts with a network as it is now; what it learns later is not seen.

    Args:
        network: stays as it is; a copy of it predicts, with norms folded into convolutions.
        card: what the model carries.
        device: where to compute.
        precision: the number format: fp32, bf16, fp16, or auto for the card's own where the device has it.

    Raises:
        UsageError: if the device cannot compute in that number format.
    """

    def __init__(
        self, network: SegmentationNetwork, card: ModelCard, device: torch.device, precision: str = "auto"
    ) -> None:
        self._card = card
        self._device = device
        self._precision = pick_inference_precision(precision, card.precision, device)
        self._concurrency = pick_concurrency(device)  # now, since whoever computes side by side shares the threads out
        self._network = folded(network).to(device).to(memory_format=torch.channels_last)
        self._uploads = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @classmethod
    def load(cls, bundle: Path, device: str, precision: str = "auto") -> Self:
        """Loads a bundle."""
        network, card = load_bundle(bundle)
        place = pick_device(device)
        if place.type == "cpu":
            keep_freed_memory()
        return cls(network, card, place, precision)

    @property
    def card(self) -> ModelCard:
        """What the model carries."""
        return self._card

    @property
    def precision(self) -> str:
        """The number format that it computes in."""
        return self._precision

    @property
    def batch_size(self) -> int:
        """How many images it computes well at a time."""
        return pick_batch_size(self._device)

    @property
    def concurrency(self) -> int:
        """How many calls it computes well side by side."""
        return self._concurrency

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, float32 on the device; does not wait for them."""
        with computing(self._precision, self._device):
            batch = self._uploaded(torch.from_numpy(np.ascontiguousarray(images)))
            return self._network(batch.permute(0, 3, 1, 2)).float()

    def _uploaded(self, images: torch.Tensor) -> torch.Tensor:
        """The images on the device; on CUDA they travel while what was asked for before is still computed."""
        if self._uploads is None:
            return upload(images, self._device)
        with torch.cuda.stream(self._uploads):
            batch = upload(images, self._device)
        computing_stream = torch.cuda.current_stream(self._device)
        computing_stream.wait_stream(self._uploads)
        batch.record_stream(computing_stream)
        return batch
