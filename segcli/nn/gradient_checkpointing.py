"""Gradient checkpointing: less memory for features of the encoder, which are computed again on the way back."""

from functools import partial
from typing import Any

import torch
from torch.nn.modules.batchnorm import _NormBase

from segcli.errors import ConfigError
from segcli.nn.network import SegmentationNetwork


def enable_gradient_checkpointing(network: SegmentationNetwork) -> None:
    """Lets the encoder of a network keep few features in training; values and gradients stay the same.

    timm checkpoints a stage or a block at a time. Batch norms would see each batch twice then, and move their
    running means twice; here they are kept from the second time.

    Raises:
        ConfigError: if the encoder has no such thing.
    """
    encoder = network.model.get_submodule("encoder")
    body = getattr(encoder, "model", encoder)
    # timm's wrapper of some transformers does not hand the switch through to the model inside
    switch = getattr(body, "set_grad_checkpointing", None) or getattr(
        getattr(body, "model", None), "set_grad_checkpointing", None
    )
    name = str(network.model.config["encoder_name"])  # type: ignore[index]
    if switch is None:
        raise ConfigError(f"train.gradient_checkpointing: encoder {name} has none; {_cure(name)}")
    try:
        switch(True)
    except AssertionError:  # timm's word for a model that refuses
        raise ConfigError(f"train.gradient_checkpointing: encoder {name} has none; choose another encoder") from None
    for module in encoder.modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            module.register_forward_pre_hook(partial(_move_once, module.momentum))


def _move_once(momentum: float | None, norm: _NormBase, inputs: Any) -> None:
    """Lets a norm move its running means in the forward pass only: what runs within a backward pass runs again."""
    again = torch._C._current_graph_task_id() != -1
    norm.momentum = 0.0 if again else momentum
    if again and norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked -= 1  # the norm itself adds it again


def _cure(encoder: str) -> str:
    import timm

    name = encoder.replace("-", "_")
    return f"set encoder to tu-{name}" if timm.is_model(name) else "choose one of timm's encoders"
