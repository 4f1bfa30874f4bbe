"""The README.md of a bundle: what the model is, how good it is and how it is loaded, filled from its card."""

from collections.abc import Iterator, Mapping
from math import isnan
from typing import Any

from segcli.io.card import Inference, ModelCard

README = "README.md"

# Hubs read this head. It states no licence: that is for those who trained the model to choose.
_HEAD = """\
---
library_name: segmentation-models-pytorch
pipeline_tag: image-segmentation
tags: [semantic-segmentation, segmentation-models-pytorch, segcli]
---
"""


def readme(card: ModelCard) -> str:
    """The text of a bundle's README.md."""
    return _HEAD + "\n".join([*_what(card), *_figures(card), *_data(card), *_loading(card), *_licence(card)]) + "\n"


def _what(card: ModelCard) -> Iterator[str]:
    yield f"# {card.architecture} on {card.encoder}, {card.task.num_classes} classes"
    yield f"""
Semantic segmentation: an image in, a class for each pixel out. Trained with `seg` \
{card.versions.get("segcli", "")}; everything below is taken from `segcli.json`, which travels with the weights.
"""


def _figures(card: ModelCard) -> Iterator[str]:
    yield "## Metrics"
    if not card.metrics:
        yield "\nNone were measured yet; `seg eval -m FOLDER` measures them.\n"
    for split, figures in card.metrics.items():
        titles = {"miou": "mean IoU", "mean_dice": "mean Dice", "mean_accuracy": "mean accuracy",
                  "pixel_accuracy": "pixel accuracy"}  # fmt: skip
        known = [f"{title} {_figure(figures[name])}" for name, title in titles.items() if name in figures]
        inside = f", computed in {figures['precision']}" if "precision" in figures else ""
        yield f"\nOn the {split} split, at the size of the masks{inside}: {', '.join(known)}.\n"
        yield from _table(figures.get("classes", {}))


def _table(classes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not classes:
        return
    yield "| class | IoU | Dice | accuracy |"
    yield "|---|---|---|---|"
    for name, figures in classes.items():
        yield (
            f"| {_cell(name)} | " + " | ".join(_figure(figures.get(key)) for key in ("iou", "dice", "accuracy")) + " |"
        )
    yield ""


def _figure(value: float | None) -> str:
    return "–" if value is None or isnan(value) else f"{value:.4f}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _data(card: ModelCard) -> Iterator[str]:
    yield "## Dataset\n"
    name, fingerprint = card.data.get("name"), card.data.get("fingerprint")
    marked = f" (fingerprint `{fingerprint}`)" if fingerprint else ""
    yield f"{_cell(str(name))}{marked}.\n" if name else "Not recorded.\n"
    yield "Classes, in the order of their indices: " + ", ".join(map(_cell, card.task.classes)) + ".\n"


def _loading(card: ModelCard) -> Iterator[str]:
    two = "  # one channel z: the logits are [0, z]" if card.task.num_classes == 2 else ""
    yield f"""\
## How to load it

```sh
seg predict -m FOLDER IMAGES
```

In Python, with normalisation and padding inside:

```python
from pathlib import Path
from segcli.io.bundle import load_bundle

network, card = load_bundle(Path("FOLDER"))
logits = network(images)  # images: uint8 RGB, B×3×H×W; logits: B×{card.task.num_classes}×H×W
```

With segmentation-models-pytorch alone:

```python
import segmentation_models_pytorch as smp
import torch

model = smp.from_pretrained("FOLDER").eval()
mean, std = torch.tensor({list(card.mean)}), torch.tensor({list(card.std)})
x = (images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)  # then pad right and below to the model's stride
logits = model(x){two}
```

Before the network, {_resize(card.inference)}.
"""


def _resize(inference: Inference) -> str:
    if isinstance(inference.size, int):
        return (
            f"images are resized so that the short side is {inference.size} pixels, and logits back to the image's size"
        )
    if inference.size is not None:
        height, width = inference.size
        return f"images are resized to fit into {width}×{height}, aspect kept, and logits back to the image's size"
    return "images are not resized"


def _licence(card: ModelCard) -> Iterator[str]:
    yield "## Licence\n"
    if card.encoder_weights is None:
        yield "Training started without weights of others."
    else:
        stated = card.encoder_weights_licence or "not stated where they come from; ask before you pass the model on"
        yield f"Training started from the encoder weights `{card.encoder_weights}`; their licence: {stated}."
    yield "The licence of this model itself is for those who trained it to choose; none is stated here."
