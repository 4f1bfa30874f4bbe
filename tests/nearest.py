"""A predictor without a network, and without torch: the nearest of the three colours of the tiny images."""

from dataclasses import dataclass

import numpy as np

from segcli.engine.arrays import Logits
from segcli.io.card import ModelCard
from segcli.io.images import Pixels
from segcli.task import Task

COLOURS = np.array([(60, 60, 60), (200, 60, 60), (60, 60, 220)], np.uint8)
TASK = Task.of(("background", "red", "blue"))
CARD = ModelCard(TASK, "Unet", "resnet18", None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass
class Nearest:
    """Logits fall with the distance to each colour."""

    card: ModelCard = CARD
    precision: str = "fp32"
    batch_size: int = 1
    concurrency: int = 1

    def __call__(self, images: Pixels) -> Logits:
        distance = ((images[..., None, :] - COLOURS.astype(np.float32)) ** 2).sum(-1) / 2000
        return -distance.transpose(0, 3, 1, 2).astype(np.float32)
