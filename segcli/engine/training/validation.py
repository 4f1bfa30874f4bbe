"""The validation behind an epoch: the one evaluation, shared by the processes, and the loss on the same logits."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from segcli.datasets.dataset import Sample
from segcli.engine.arrays import Logits
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.device import memory_errors
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.evaluation.scores import Scores
from segcli.engine.prediction.resizing import Resizing
from segcli.engine.training.build import Parts
from segcli.engine.training.distributed import Processes
from segcli.io.images import Mask
from segcli.parallel import Progress


def validate(parts: Parts, samples: Sequence[Sample], processes: Processes, progress: Progress) -> tuple[Scores, float]:
    """Evaluates the network of a training on samples.

    Args:
        parts: the training's.
        samples: with masks; each goes to one of the processes.
        processes: those that train together; each calls this with the same samples.
        progress: told of each image of this process.

    Returns:
        The scores over all samples, and the mean of the images' losses.
    """
    network = parts.shown_network.eval()
    processes.make_equal(network)
    losses = MeanLoss(parts.loss, parts.device)
    size = parts.config.val.batch_size
    whole = [samples[start : start + size] for start in range(0, len(samples), size)]
    mine = [sample for batch in whole[processes.rank :: processes.count] for sample in batch]
    predictor = Resizing(TorchBackend(network, parts.card, parts.device), parts.card.inference)
    with memory_errors("lower val.batch_size, or set val.image_size"):
        scores = evaluate(predictor, mine, [losses], size, progress)
    confusion = processes.sum(torch.from_numpy(scores.confusion)).numpy()
    return Scores(confusion), losses.mean(processes)


class MeanLoss:
    """Accumulates the loss of each image of an evaluation."""

    def __init__(self, loss: nn.Module, device: torch.device) -> None:
        self.loss = loss
        self.device = device
        self.losses: list[float] = []

    def add(self, name: str, logits: Logits, mask: Mask) -> None:
        """Takes one image."""
        truth = torch.from_numpy(mask[None].astype("int64")).to(self.device)
        with torch.inference_mode():
            self.losses.append(float(self.loss(torch.from_numpy(logits[None]).to(self.device), truth)))

    def mean(self, processes: Processes) -> float:
        """The mean over the images of all processes, whichever had which."""
        losses = [loss for losses in processes.gather(self.losses) for loss in losses]
        return math.fsum(losses) / len(losses)
