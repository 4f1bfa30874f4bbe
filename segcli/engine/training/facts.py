"""What is trained on what, in words."""

import torch

from segcli.datasets.dataset import Dataset
from segcli.engine.training.build import Parts
from segcli.engine.training.distributed import Processes


def facts_of(parts: Parts, dataset: Dataset, processes: Processes) -> dict[str, str]:
    """Data, network, compute and steps of a training, a line each."""
    config = parts.config
    parameters = sum(parameter.numel() for parameter in parts.network.parameters())
    splits = ", ".join(f"{len(samples)} {split}" for split, samples in dataset.splits.items())
    count = torch.get_num_threads()
    threads = f", {count} thread{'' if count == 1 else 's'}" if parts.device.type == "cpu" else ""
    several = f", {processes.count} processes" if processes.count > 1 else ""
    budget = "" if config.train.budget is None else f", to be settled by a budget of {config.train.budget:.0f} s"
    factors = [config.train.batch_size, *(n for n in (config.train.accumulate, processes.count) if n > 1)]
    return {
        "data": f"{dataset.name}: {splits}, {dataset.task.num_classes} classes",
        "network": f"{config.model_name} on {config.encoder} "
        f"({config.encoder_weights or 'no'} weights), {parameters / 1e6:.1f} M parameters",
        "compute": f"{parts.device.type}, {parts.precision.name}{threads}{several}",
        "steps": f"{parts.total_steps} of batch {' × '.join(map(str, factors))}, {parts.total_epochs} epochs{budget}",
    }
