"""What the optimiser wants to know of an encoder: the depth of each parameter, and which ones do not decay."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

# A name up to the end of its first components that are numbers: `layer1.0`, `model.blocks.0.1`, `features.3`.
_NUMBERED = re.compile(r"(.*?\.)?\d+(\.\d+)*(?=\.|$)")


def layers_by_name(dimensions: Mapping[str, int]) -> dict[str, int]:
    """The layer of each parameter of an encoder, counted from the input, from 0.

    A layer is what shares a name up to the end of its first components that are numbers. What stands before the
    first of them (a stem) is one layer together. What has no number further on, and norms, belong to the layer
    before them: a numbered part begins a layer only where it holds more than vectors.

    Args:
        dimensions: the number of dimensions of each parameter by its name, in the order of the encoder.
    """
    numbered = {name: match[0] for name in dimensions if (match := _NUMBERED.match(name))}
    weighty = {part for name, part in numbered.items() if dimensions[name] > 1}
    layers: dict[str, int] = {}
    begun: dict[str, int] = {}
    newest = 0
    for name in dimensions:
        part = numbered.get(name)
        if part in weighty and part not in begun:
            newest += bool(layers)
            begun[part] = newest
        layers[name] = begun.get(part or "", newest)
    return layers


def names_without_decay(module: "nn.Module") -> set[str]:
    """The position embeddings, tokens and the like that timm's models inside a module name as not to decay."""
    return {
        f"{prefix}.{name}" if prefix else str(name)
        for prefix, part in module.named_modules()
        if hasattr(part, "no_weight_decay")
        for name in part.no_weight_decay()
    }
