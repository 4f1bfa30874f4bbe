"""Nobody waits for an accelerator in a training step: seen on a CPU by counting, on a GPU by torch's own debug mode."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from engine.host_reads import HostReads

from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.training.loop import Trainer
from segcli.engine.training.progress import TrainedEpoch

EVERYTHING = {
    "ema": {"decay": 0.9}, "train": {"accumulate": 2, "batch_size": 1, "clip_grad_norm": 1.0},
    "model": {"auxiliary": 0.4},
}  # fmt: skip

OTHERS = [{"optimizer": name} for name in ("sgd", "lion", "muon")]
IDS = ["plain", "everything", "sgd", "lion", "muon"]


def trainer_of(config: RunConfig) -> Trainer:
    trainer = Trainer(config, open_dataset(config.dataset))
    trainer.parts.precision.may_wait = False  # as on a GPU, where torch's own optimisers are fused ones
    for group in trainer.parts.optimizer.param_groups if config.optimizer.name in {"adamw", "adam", "sgd"} else ():
        group["fused"] = True
    trainer.stepper.begin_epoch(0)
    return trainer


def take_steps(trainer: Trainer, watch: AbstractContextManager[object]) -> TrainedEpoch:
    """Takes three steps and watches the last: the first makes the optimiser's state and the undo's copies."""
    trained = TrainedEpoch(3, trainer.parts.device)
    for number, batches in enumerate(trainer.parts.batches.epoch(0)):
        masses = torch.stack([batch.masses for batch in batches]).sum(0)
        with watch if number == 2 else nullcontext():
            trained.add(trainer.stepper.step(batches, masses, number), 2)
    return trained


@pytest.mark.parametrize("options", [{}, EVERYTHING, *OTHERS], ids=IDS)
def test_a_step_makes_no_host_wait(tiny: Callable[..., RunConfig], options: dict[str, object]) -> None:
    reads, optimizer_reads = HostReads(), HostReads()
    trainer = trainer_of(tiny(precision="bf16", **options))
    take_steps(trainer, reads)
    with optimizer_reads:  # some count their steps in tensors on the host and read these
        trainer.parts.optimizer.step()
    # On a CPU a move within the device, as torch makes many, looks like one to it; the test on a GPU tells them apart.
    assert set(reads.waits - optimizer_reads.waits) <= {"to"}


def test_a_report_makes_one(tiny: Callable[..., RunConfig]) -> None:
    trainer = trainer_of(tiny())
    trained = take_steps(trainer, nullcontext())
    with HostReads() as reads:
        seen = trained.look_back(trainer.processes)
    assert len(seen) == 3
    assert (reads.waits["cpu"], reads.waits["item"]) == (1, 0)


@contextmanager
def no_synchronisation() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's sync debug mode needs CUDA")
@pytest.mark.parametrize("options", [{}, EVERYTHING, *OTHERS], ids=IDS)
def test_a_step_on_a_gpu_never_synchronises(tiny: Callable[..., RunConfig], options: dict[str, object]) -> None:
    take_steps(trainer_of(tiny(device="cuda", precision="fp16", **options)), no_synchronisation())
