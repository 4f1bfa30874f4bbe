"""The validation behind an epoch: the one evaluation, shared by the processes, and the loss on the same logits."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segcli.datasets.dataset import Sample
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.device import memory_errors
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.evaluation.scores import Scores
from segcli.engine.prediction.resizing import Resizing
from segcli.engine.training.build import Parts
from segcli.engine.training.distributed import Processes
from segcli.parallel import Progress


def validate(parts: Parts, samples: Sequence[Sample], processes: Processes, progress: Progress) -> tuple[Scores, float]:
    """Evaluates the network of a training on samples, in the number format that its card names.

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
    predictor = Resizing(TorchBackend(network, parts.card, parts.device), parts.card.inference)
    losses = MeanLoss(parts.loss)
    size = predictor.batch_size if parts.config.val.batch_size == "auto" else parts.config.val.batch_size
    whole = [samples[start : start + size] for start in range(0, len(samples), size)]
    mine = [sample for batch in whole[processes.rank :: processes.count] for sample in batch]
    with memory_errors("lower val.batch_size, or set val.image_size"):
        scores = evaluate(predictor, mine, [losses], size, progress).scores
    confusion = processes.sum(torch.from_numpy(scores.confusion)).numpy()
    return Scores(confusion), losses.mean(processes)


class MeanLoss:
    """Accumulates the loss of each image of an evaluation, on the device."""

    def __init__(self, loss: nn.Module) -> None:
        self.loss = loss
        self.losses: list[Tensor] = []

    def add(self, names: Sequence[str], logits: Tensor, truth: Tensor) -> None:
        """Takes a batch."""
        with torch.inference_mode():
            for image in range(len(names)):
                self.losses.append(self.loss(logits[image : image + 1], truth[image : image + 1].long()))

    def mean(self, processes: Processes) -> float:
        """The mean over the images of all processes, whichever had which."""
        own = torch.stack(self.losses).tolist() if self.losses else []
        losses = [loss for losses in processes.gather(own) for loss in losses]
        return math.fsum(losses) / len(losses)
