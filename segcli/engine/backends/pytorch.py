"""The torch backend: a bundle, or the network that is being trained."""

from pathlib import Path
from typing import Self

import numpy as np
import torch

from segcli.engine.arrays import Logits
from segcli.engine.device import pick_device
from segcli.io.bundle import load_bundle
from segcli.io.card import ModelCard
from segcli.io.images import Pixels
from segcli.nn.network import SegmentationNetwork


class TorchBackend:
    """Predicts with a network in fp32, so that a figure is the same in training, evaluation and parity.

    Args:
        network: in eval mode while it predicts.
        card: what the model carries.
        device: where the network lies.
    """

    def __init__(self, network: SegmentationNetwork, card: ModelCard, device: torch.device) -> None:
        self.network = network
        self._card = card
        self.device = device

    @classmethod
    def load(cls, bundle: Path, device: str) -> Self:
        """Loads a bundle."""
        network, card = load_bundle(bundle)
        place = pick_device(device)
        return cls(network.to(place).to(memory_format=torch.channels_last), card, place)

    @property
    def card(self) -> ModelCard:
        """What the model carries."""
        return self._card

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits."""
        batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            logits: Logits = self.network(batch.to(self.device)).float().cpu().numpy()
        return logits
