"""One step of training: forward, loss and backward of its micro-batches, then optimiser, schedule and average."""

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from segcli.engine.device import is_out_of_memory, memory_errors
from segcli.engine.training.batches import Batch
from segcli.engine.training.build import Parts
from segcli.engine.training.distributed import Processes
from segcli.engine.training.events import Observer, Said
from segcli.engine.training.progress import Outcome
from segcli.engine.training.seeding import seed_of
from segcli.engine.training.undo import Undo
from segcli.errors import SegError, UsageError

_LANES = 64
"""Histograms side by side that an accelerator counts in: thousands of threads would wait for the same few cells."""


class Stepper:
    """Takes training steps, on an accelerator without ever waiting for it.

    Args:
        parts: what is trained, and with what.
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
        self._buffers = Undo(self.network.buffers())
        self._averages = Undo(() if self.average is None else self.average.tensors)
        self._unused = self._freeze_unused() if processes.count > 1 else set[Tensor]()
        self._wrap()

    def _freeze_unused(self) -> set[Tensor]:
        """Lets parameters be that get no gradient, such as an encoder's beyond the depth that is used.

        Else the processes, which share gradients as they come about, would look for them in each step.
        """
        tried = copy.deepcopy(self.network).train()
        side = self.config.image_size
        crop = (side, side) if isinstance(side, int) else side
        with self.precision.autocast():
            output = tried(torch.zeros(2, 3, *crop, dtype=torch.uint8, device=self.precision.device))
        outputs = output if isinstance(output, tuple) else (output,)
        torch.autograd.backward([logits.float().sum() for logits in outputs])
        reached = {name for name, parameter in tried.named_parameters() if parameter.grad is not None}
        unused = {name: value for name, value in self.network.named_parameters() if name not in reached}
        for parameter in unused.values():
            parameter.requires_grad_(False)
        if unused:
            self.observe(Said(f"{len(unused)} parameters that the network does not use are frozen: {_some(unused)}"))
        return set(unused.values())

    def _wrap(self) -> None:
        """Puts round the network what shares gradients and compiles; anew where other parameters are trained."""
        forward: nn.Module = self.network
        if self.processes.count > 1:
            place = [self.precision.device] if self.precision.device.type == "cuda" else None
            forward = DistributedDataParallel(forward, device_ids=place, gradient_as_bucket_view=True)
        self.forward: Any = torch.compile(forward) if self.config.compile else forward

    def begin_epoch(self, epoch: int) -> None:
        """Makes the network ready to train, but for what is frozen in this epoch (from 0)."""
        network = self.network.train()
        encoder = network.model.get_submodule("encoder")
        frozen = epoch < self.config.freeze_encoder
        used = [parameter for parameter in encoder.parameters() if parameter not in self._unused]
        if any(parameter.requires_grad is frozen for parameter in used):
            for parameter in used:
                parameter.requires_grad_(not frozen)
            self._wrap()
        if frozen:
            encoder.eval()
        if epoch < self.config.freeze_batch_norm:
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def step(self, batches: Sequence[Batch], masses: Tensor, number: int) -> Outcome:
        """Takes one step.

        Args:
            batches: this process's micro-batches.
            masses: what the terms of the loss are divided by, summed over the step and all processes, on the CPU.
            number: of the step in the whole training.

        Raises:
            UsageError: if the network cannot train on batches of one.
            SegError: if not even one crop at a time fits into memory.
        """
        self._buffers.keep()  # running means move in the forward pass, before it is known whether the step can be taken
        masses = self._upload(masses.float())
        while True:
            parts = [part for batch in batches for part in self._parts(batch)]
            try:
                loss, confusion = self._gradients(parts, masses, number)
                break
            except torch._dynamo.exc.TorchDynamoException as error:
                self._go_on_uncompiled(error)
                self._buffers.put_back()
            except (RuntimeError, MemoryError) as error:
                self._go_on_smaller(error, max(len(batch.images) for batch in batches))
                self._buffers.put_back()
        with memory_errors("lower train.batch_size (and raise train.accumulate, so that the step stays as it is)"):
            taken, fault = self.precision.step(self.optimizer, loss, self.config.clip_grad_norm)
            self._follow(taken)
        lr = float(max(self.scheduler.get_last_lr()))
        with warnings.catch_warnings():  # torch wonders about a schedule that moves on without the optimiser
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            self.scheduler.step()
        return Outcome(loss, fault, confusion, lr)

    def _follow(self, taken: Tensor) -> None:
        """Lets running means and average move where the weights did."""
        if not self.precision.waits_for(self.optimizer):  # nothing is read: all is done, and undone where it must
            self._buffers.put_back_where(~taken)
            if self.average is not None:
                self._averages.keep()
                self.average.update(self.network)
                self._averages.put_back_where(~taken)
        elif not taken:
            self._buffers.put_back()
        elif self.average is not None:
            self.average.update(self.network)

    def _upload(self, values: Tensor) -> Tensor:
        device = self.precision.device
        return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)

    def _parts(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
        """Cuts a micro-batch evenly into what fits; not into single crops, which some networks cannot normalise."""
        assert self.config.batch_size != "auto"
        fits = -(-self.config.batch_size // self.splits)
        size = len(batch.images)
        number = -(-size // fits)
        if fits > 1 and number > 1 and size < 2 * number:
            number -= 1
        yield from zip(torch.tensor_split(batch.images, number), torch.tensor_split(batch.masks, number), strict=True)

    def _gradients(self, parts: Sequence[tuple[Tensor, Tensor]], masses: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Adds up the gradients of a step's parts; gives this process's share of its loss, and the pixels counted."""
        torch.manual_seed(seed_of(self.seed, number, self.processes.rank))
        self.optimizer.zero_grad(set_to_none=True)
        losses, counts = [], []
        for place, (images, masks) in enumerate(parts):
            with self._sharing(last=place == len(parts) - 1):
                loss, count = self._part(images, masks, masses)
            losses.append(loss)
            counts.append(count)
        return torch.stack(losses).sum(), torch.stack(counts).sum(0)

    def _part(self, images: Tensor, masks: Tensor, masses: Tensor) -> tuple[Tensor, Tensor]:
        """Forward and backward of one part."""
        device = self.precision.device
        memory_format = torch.channels_last if self.config.channels_last else torch.contiguous_format
        images = images.to(device, non_blocking=True).contiguous(memory_format=memory_format)
        masks = masks.to(device, non_blocking=True).long()
        with _tuned(not self.config.deterministic):
            with self.precision.autocast(), _batch_norm_errors(len(images), self.splits):
                output = self.forward(images)
            logits, auxiliary = output if isinstance(output, tuple) else (output, None)
            loss: Tensor = self.loss(logits, masks, masses)
            if auxiliary is not None:
                loss = loss + self.network.auxiliary_weight * self.loss(auxiliary, masks, masses)
            self.precision.backward(loss if self.processes.count == 1 else self._share(loss))
        lanes = 1 if device.type == "cpu" else _LANES
        return loss.detach(), count_pixels(logits.detach(), masks, self.ignore_index, lanes)

    def _share(self, loss: Tensor) -> Tensor:
        """The processes' gradients are averaged, but their shares of the loss are to be added.

        One that is no finite number makes all gradients such, in every process: so all leave out the same step.
        """
        return loss * torch.where(loss.detach().isfinite(), float(self.processes.count), torch.nan)

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
        self._wrap()
        reason = " ".join(str(error).split())[:160]
        self.observe(Said(f"torch.compile failed ({reason}); going on without it: same figures, at the usual speed"))


def _some(names: Iterable[str], most: int = 3) -> str:
    shown = list(names)
    return ", ".join(shown[:most]) + (" …" if len(shown) > most else "")


@contextmanager
def _tuned(tune: bool) -> Iterator[None]:
    """Lets cuDNN try its algorithms on each new shape, of which crops have few."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = tune
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


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


def count_pixels(logits: Tensor, masks: Tensor, ignore_index: int, lanes: int = 1) -> Tensor:
    """Counts pixels by true and predicted class.

    Args:
        logits: B×C×H×W.
        masks: B×H×W int64.
        ignore_index: the value of masks that is counted in the last place.
        lanes: histograms that neighbouring pixels are counted in, to be added up; changes the speed only.

    Returns:
        C² + 1 int64: true class × C + predicted class, then the ignored ones.
    """
    num_classes = logits.shape[1]
    cells = masks * num_classes + logits.argmax(dim=1)
    cells.masked_fill_(masks == ignore_index, num_classes**2)
    if lanes > 1:
        cells = cells * lanes + torch.arange(cells.shape[-1], device=cells.device) % lanes
    counts = cells.new_zeros((num_classes**2 + 1) * lanes)
    counts.scatter_add_(0, cells.flatten(), cells.new_ones(()).expand(cells.numel()))
    return counts.view(-1, lanes).sum(1)
