"""What a training is made of, built from its config."""

import copy
from dataclasses import dataclass
from functools import partial
from math import ceil

import torch
from timm.layers import convert_sync_batchnorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segcli.components.models import build_network, build_network_with_report
from segcli.components.weights import restricts_use
from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.engine.device import keep_freed_memory, pick_device, pick_inference_precision, pick_threads
from segcli.engine.training.auto import Say, Trial, settled
from segcli.engine.training.batches import (
    Masses,
    TrainingBatches,
    TrainingCrops,
    padding_colour,
    pick_workers,
    training_crops,
)
from segcli.engine.training.distributed import Processes
from segcli.engine.training.ema import Average
from segcli.engine.training.precision import Precision
from segcli.engine.training.provenance import versions
from segcli.engine.training.seeding import repeat_exactly, seed_everything
from segcli.errors import UsageError
from segcli.io.card import Inference, ModelCard
from segcli.nn.depthwise import depthwise_in_single_precision
from segcli.nn.gradient_checkpointing import enable_gradient_checkpointing
from segcli.nn.losses import WeightedSum
from segcli.nn.network import Channels, SegmentationNetwork
from segcli.parallel import Progress, silent


@dataclass(frozen=True)
class Origin:
    """What the weights that a network was started from decide for good.

    Attributes:
        encoder: its name, as smp knows it.
        mean: normalisation inside the network, in units of pixel / 255.
        std: likewise.
        licence: of the weights; None where there were none.
    """

    encoder: str
    mean: Channels
    std: Channels
    licence: str | None


@dataclass(frozen=True)
class Begun:
    """What is known of a training that goes on before it is built again.

    Attributes:
        origin: what its network was started from; the trained weights are put in later.
        epochs: whole epochs done.
        steps: steps done in them.
    """

    origin: Origin
    epochs: int
    steps: int


@dataclass(frozen=True)
class Parts:
    """Everything that the loop needs.

    Attributes:
        config: with a value in place of each `auto` that can change figures.
        device: where it is computed.
        precision: in which number format.
        network: what is trained.
        origin: what it was started from.
        average: of its weights, or None.
        card: what its bundles carry, but for the figures.
        loss: what is minimised.
        optimizer: how.
        scheduler: the learning rate over the steps.
        batches: the training data.
        total_steps: of the whole training.
        total_epochs: likewise; the last is cut short where `max_steps` says so.
    """

    config: RunConfig
    device: torch.device
    precision: Precision
    network: SegmentationNetwork
    origin: Origin
    average: Average | None
    card: ModelCard
    loss: WeightedSum
    optimizer: Optimizer
    scheduler: LRScheduler
    batches: TrainingBatches
    total_steps: int
    total_epochs: int

    @property
    def shown_network(self) -> SegmentationNetwork:
        """The network that validation, bundles and pictures show: the average, where there is one."""
        return self.network if self.average is None else self.average.network


def build_parts(
    config: RunConfig,
    dataset: Dataset,
    processes: Processes,
    say: Say,
    progress: Progress = silent,
    begun: Begun | None = None,
) -> Parts:
    """Builds everything from a config; the same in every process.

    Args:
        config: what to train.
        dataset: what to train on.
        processes: those that train together.
        say: told of what was loaded and chosen.
        progress: told of each mask that is read.
        begun: of a training that goes on, whose first weights are not needed.

    Raises:
        UsageError: if the config asks for what is not there.
        DataError: if the dataset has no train split.
    """
    device = _own_device(config.device, processes)
    if device.type == "cpu":
        torch.set_num_threads(pick_threads(config.train.threads, processes.local_count))
        keep_freed_memory()
    seed_everything(config.seed)
    if device.type == "cuda":
        repeat_exactly(config.train.deterministic)
    network, origin = _started(config, dataset, say) if begun is None else _empty(config, dataset, begun.origin)
    network = network.to(device)
    if device.type == "cpu":
        depthwise_in_single_precision(network)
    # What a config can get wrong is found before anything is measured.
    crops = training_crops(config, dataset, dataset.split("train"), padding_colour(origin.mean), progress, processes)
    loss = config.loss.build(dataset.task, dataset.figures["train"])
    trial = partial(Trial, network=network, loss=loss, device=device)
    config = processes.lead(settled(config, device, trial, say) if processes.leads else config)
    network = _laid_out(network, config, device, processes)
    if config.train.gradient_checkpointing:
        enable_gradient_checkpointing(network)  # behind the conversion of norms, which it hooks into
    precision = Precision(config.precision, device)
    card = _card(config, dataset, origin, device)
    batches = _batches(config, crops, loss.masses, device, processes)
    total_steps, total_epochs = _length(config, len(batches), begun)
    optimizer = config.optimizer.build(network)
    scheduler = config.scheduler.build(optimizer, total_steps)
    average = None if config.ema is None else Average(network, config.ema.decay)
    return Parts(
        config, device, precision, network, origin, average, card, copy.deepcopy(loss).to(device), optimizer,
        scheduler, batches, total_steps, total_epochs,
    )  # fmt: skip


def _started(config: RunConfig, dataset: Dataset, say: Say) -> tuple[SegmentationNetwork, Origin]:
    """A network that starts from the weights that the config names."""
    network, report = build_network_with_report(
        config.model_name, config.encoder, config.encoder_weights, config.model, dataset.task
    )
    if report is not None:
        say(str(report))
        if restricts_use(report.licence):
            say(f"these weights come under {report.licence}, which limits what the trained model may be used for")
    encoder = str(network.model.config["encoder_name"])  # type: ignore[index]
    return network, Origin(encoder, network.mean, network.std, None if report is None else report.licence)


def _empty(config: RunConfig, dataset: Dataset, origin: Origin) -> tuple[SegmentationNetwork, Origin]:
    """The network of an origin, without its weights."""
    options = config.model.model_copy(update={"mean": origin.mean, "std": origin.std})
    return build_network(config.model_name, origin.encoder, None, options, dataset.task), origin


def _length(config: RunConfig, steps_an_epoch: int, begun: Begun | None) -> tuple[int, int]:
    """Steps and epochs of the whole training.

    A step of as many crops may come in other batches when a training goes on, and an epoch then have a step more or
    less (the last short one). So its epochs are counted from where it stands.
    """
    epochs, steps = (begun.epochs, begun.steps) if begun is not None else (0, 0)
    by_epochs = steps + (config.train.epochs - epochs) * steps_an_epoch
    total = min(by_epochs, config.train.max_steps or by_epochs)
    return total, epochs + ceil((total - steps) / steps_an_epoch)


def _own_device(name: str, processes: Processes) -> torch.device:
    device = pick_device(name)
    if device.type == "cuda" and processes.count > 1:
        device = torch.device("cuda", processes.local_rank)
        torch.cuda.set_device(device)
    return device


def _laid_out(
    network: SegmentationNetwork, config: RunConfig, device: torch.device, processes: Processes
) -> SegmentationNetwork:
    """The network in the memory layout of the config, with batch norms over all processes where it says so."""
    memory_format = torch.channels_last if config.train.channels_last else torch.contiguous_format
    network = network.to(memory_format=memory_format)
    synced = config.train.sync_batch_norm
    if synced is True and (processes.count == 1 or device.type == "cpu"):
        where = "one process" if processes.count == 1 else "CPUs"
        raise UsageError(f"train.sync_batch_norm is for several processes on GPUs, not for {where}; set it to auto")
    if synced and processes.count > 1 and device.type != "cpu":
        return with_synced_norms(network)
    return network


def with_synced_norms(network: SegmentationNetwork) -> SegmentationNetwork:
    """The network with batch norms that count over all processes; its tensors keep their names."""
    # torch's own conversion loses the activation that many of timm's norms hold
    converted = convert_sync_batchnorm(network)
    assert isinstance(converted, SegmentationNetwork)
    return converted


def _batches(
    config: RunConfig, crops: TrainingCrops, masses: Masses, device: torch.device, processes: Processes
) -> TrainingBatches:
    assert config.train.batch_size != "auto"
    workers = pick_workers(config.train.workers, device, processes.local_count)
    return TrainingBatches(
        crops, config.train.batch_size, workers, masses, config.train.accumulate, processes.rank, processes.count,
        pinned=device.type == "cuda",
    )  # fmt: skip


def _card(config: RunConfig, dataset: Dataset, origin: Origin, device: torch.device) -> ModelCard:
    return ModelCard(
        task=dataset.task,
        architecture=config.model_name,
        encoder=config.encoder,
        encoder_weights=config.encoder_weights,
        mean=origin.mean,
        std=origin.std,
        inference=Inference.of(config.val.image_size),
        data={
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "dataset": config.dataset.model_dump(mode="json", exclude_unset=True),
        },
        versions=versions(),
        encoder_weights_licence=origin.licence,
        precision=pick_inference_precision("auto", config.precision, device),
    )
