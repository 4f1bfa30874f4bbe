"""One step of training: forward, loss and backward of its micro-batches, then optimiser, schedule and average."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from segcli.engine.device import is_out_of_memory, memory_errors
from segcli.engine.training.batches import Batch
from segcli.engine.training.build import Parts
from segcli.engine.training.distributed import Processes
from segcli.engine.training.events import Observer, Said
from segcli.engine.training.progress import Outcome
from segcli.engine.training.seeding import seed_of
from segcli.errors import SegError, UsageError


class Stepper:
    """Takes training steps.

    Args:
        parts: what is trained, and with what; its network in the mode that it is to be trained in.
        processes: those that share a step.
        observe: told what a user should know.
    """

    def __init__(self, parts: Parts, processes: Processes, observe: Observer) -> None:
        self.network, self.loss = parts.network, parts.loss
        self.optimizer, self.scheduler, self.average = parts.optimizer, parts.scheduler, parts.average
        self.precision, self.config, self.seed = parts.precision, parts.config.train, parts.config.seed
        self.ignore_index = parts.card.task.ignore_index
        self.processes, self.observe = processes, observe
        self.splits = 1  # parts that a micro-batch is cut into, since it did not fit into memory
        self.wrap()

    def wrap(self) -> None:
        """Puts round the network what shares gradients and compiles; anew where other parameters are trained."""
        forward: nn.Module = self.network
        if self.processes.count > 1:
            place = [self.precision.device] if self.precision.device.type == "cuda" else None
            # Encoders may hold layers beyond the depth that is used.
            forward = DistributedDataParallel(forward, device_ids=place, find_unused_parameters=True)
        self.forward: Any = torch.compile(forward) if self.config.compile else forward

    def step(self, batches: Sequence[Batch], masses: Tensor, number: int) -> Outcome:
        """Takes one step.

        Args:
            batches: this process's micro-batches: images B×3×H×W uint8 and masks B×H×W.
            masses: what the terms of the loss are divided by, summed over the step and all processes.
            number: of the step in the whole training.

        Returns:
            What it gave, the same in every process but for the pixels counted.

        Raises:
            UsageError: if the network cannot train on batches of one.
            SegError: if not even one crop at a time fits into memory.
        """
        # Running means move in the forward pass, before it is known whether the step can be taken.
        before = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        while True:
            parts = [part for batch in batches for part in self._parts(batch)]
            try:
                loss, confusion = self._gradients(parts, masses, number)
                break
            except torch._dynamo.exc.TorchDynamoException as error:
                self._go_on_uncompiled(error)
                _put_back(before)
            except (RuntimeError, MemoryError) as error:
                self._go_on_smaller(error, max(len(images) for images, _ in batches))
                _put_back(before)
        with memory_errors("lower train.batch_size (and raise train.accumulate, so that the step stays as it is)"):
            taken = self.precision.step(self.optimizer, loss, self.config.clip_grad_norm)
            if not taken:
                _put_back(before)
            elif self.average is not None:
                self.average.update(self.network)
        lr = float(max(self.scheduler.get_last_lr()))
        with warnings.catch_warnings():
            if not taken:  # torch wonders about a schedule that moves on without the optimiser
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            self.scheduler.step()
        return Outcome(loss, taken, confusion, lr)

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        """Cuts a micro-batch evenly into what fits; not into single crops, which some networks cannot normalise."""
        images, masks = batch
        assert self.config.batch_size != "auto"
        fits = -(-self.config.batch_size // self.splits)
        number = -(-len(images) // fits)
        if fits > 1 and number > 1 and len(images) < 2 * number:
            number -= 1
        yield from zip(torch.tensor_split(images, number), torch.tensor_split(masks, number), strict=True)

    def _gradients(self, batches: Sequence[Batch], masses: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Adds up the gradients of a step's parts; gives its loss over all processes, and the pixels counted."""
        torch.manual_seed(seed_of(self.seed, number, self.processes.rank))
        self.optimizer.zero_grad(set_to_none=True)
        losses, counts = [], []
        for place, (images, masks) in enumerate(batches):
            with self._sharing(last=place == len(batches) - 1):
                loss, count = self._part(images, masks, masses)
            losses.append(loss)
            counts.append(count)
        loss = torch.stack(losses).sum()
        if self.processes.count > 1:
            distributed.all_reduce(loss)
        return loss, torch.stack(counts).sum(0)

    def _part(self, images: Tensor, masks: Tensor, masses: Tensor) -> tuple[Tensor, Tensor]:
        """Forward and backward of one part."""
        device = self.precision.device
        memory_format = torch.channels_last if self.config.channels_last else torch.contiguous_format
        images = images.to(device, memory_format=memory_format, non_blocking=True)
        masks = masks.to(device, non_blocking=True).long()
        with self.precision.autocast(), _batch_norm_errors(len(images), self.splits):
            output = self.forward(images)
        logits, auxiliary = output if isinstance(output, tuple) else (output, None)
        loss: Tensor = self.loss(logits, masks, masses)
        if auxiliary is not None:
            loss = loss + self.network.auxiliary_weight * self.loss(auxiliary, masks, masses)
        # The processes' gradients are averaged, but their shares of the loss are to be added.
        self.precision.backward(loss * self.processes.count if self.processes.count > 1 else loss)
        return loss.detach(), count_pixels(logits.detach(), masks, self.ignore_index)

    def _sharing(self, last: bool) -> AbstractContextManager[None]:
        """Gradients travel between processes once a step, with its last part."""
        inner = getattr(self.forward, "_orig_mod", self.forward)
        if last or not isinstance(inner, DistributedDataParallel):
            return nullcontext()
        return inner.no_sync()

    def _go_on_smaller(self, error: Exception, batch_size: int) -> None:
        """Cuts micro-batches in two after an out-of-memory error; raises other errors, and where it is of no use."""
        if not is_out_of_memory(error):
            raise error
        self.optimizer.zero_grad(set_to_none=True)
        if self.precision.device.type == "cuda":
            torch.cuda.empty_cache()
        size = -(-batch_size // self.splits)
        if size == 1:
            raise SegError("out of memory with one crop at a time; lower train.image_size, or take a smaller encoder")
        if self.processes.count > 1:
            raise SegError(
                f"out of memory on process {self.processes.rank} with {size} crops at a time; keep the step as it is "
                f"with --set train.batch_size={-(-size // 2)} --set train.accumulate={self.config.accumulate * 2}"
            )
        self.splits *= 2
        self.observe(
            Said(
                f"out of memory with {size} crops at a time; going on with {-(-size // 2)}, the step's gradients stay "
                f"those of {self.config.batch_size * self.config.accumulate} crops, but batch norms see fewer at a time"
            )
        )

    def _go_on_uncompiled(self, error: Exception) -> None:
        if not self.config.compile:
            raise error
        self.config = self.config.model_copy(update={"compile": False})
        self.wrap()
        reason = " ".join(str(error).split())[:160]
        self.observe(Said(f"torch.compile failed ({reason}); going on without it: same figures, at the usual speed"))


def _put_back(tensors: Sequence[tuple[Tensor, Tensor]]) -> None:
    for tensor, value in tensors:
        tensor.copy_(value)


@contextmanager
def _batch_norm_errors(batch_size: int, splits: int) -> Iterator[None]:
    """Tells in words of the config that a network which pools to 1×1 cannot normalise a batch of one."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        if splits > 1:
            raise SegError(
                "out of memory with two crops at a time, and this network cannot train on one; lower train.image_size"
            ) from None
        raise UsageError(
            f"this network cannot train on a batch of {batch_size}: set train.batch_size to 2 or more, "
            f"with at least 2 training images"
        ) from None


def count_pixels(logits: Tensor, masks: Tensor, ignore_index: int) -> Tensor:
    """Counts pixels by true and predicted class.

    Args:
        logits: B×C×H×W.
        masks: B×H×W int64.
        ignore_index: the value of masks that is counted in the last place.

    Returns:
        C² + 1 int64: true class × C + predicted class, then the ignored ones.
    """
    num_classes = logits.shape[1]
    cells = masks * num_classes + logits.argmax(dim=1)
    cells[masks == ignore_index] = num_classes**2
    return torch.bincount(cells.flatten(), minlength=num_classes**2 + 1)
