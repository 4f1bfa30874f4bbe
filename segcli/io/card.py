"""The model card: what a model carries with it, as `segcli.json` in a bundle or inside an exported file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from segcli.components.own_weights import CARD
from segcli.errors import ModelError
from segcli.task import Task

__all__ = ["CARD", "FORMAT", "Contract", "Inference", "ModelCard"]

FORMAT = 1


@dataclass(frozen=True)
class Inference:
    """The resize before the network, which is the only preprocessing outside it.

    Attributes:
        mode: `native` (none), `short_side` (aspect kept) or `fit` (largest size inside, aspect kept).
        size: None, the short side, or (height, width).
    """

    mode: str = "native"
    size: int | tuple[int, int] | None = None

    @classmethod
    def of(cls, size: int | tuple[int, int] | None) -> Self:
        """The inference that `val.image_size` means."""
        mode = "native" if size is None else "short_side" if isinstance(size, int) else "fit"
        return cls(mode, size)

    def factor(self, height: int, width: int) -> float:
        """The factor by which the network sees an image of a height and width enlarged, or shrunk where below 1."""
        if self.size is None:
            return 1.0
        if isinstance(self.size, int):
            return self.size / min(height, width)
        return min(self.size[0] / height, self.size[1] / width)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which the network sees an image of a height and width."""
        factor = self.factor(height, width)
        return max(round(height * factor), 1), max(round(width * factor), 1)


@dataclass(frozen=True)
class Contract:
    """How an exported file is called: one input `image`, and one output.

    Attributes:
        layout: where the channels of `image`, and of an output that has channels, stand: `nchw` or `nhwc`.
        output: `logits` or `probabilities` (float32, C channels), or `labels` (uint8, no channels; int32 beyond 256).
        size: the only height and width that it takes; None takes any.
        batch: the only number of images that it takes at a time; None takes any.
        resizes: whether the resize that the model wants is inside.
        raw_pixels: whether `image` is uint8, and normalised and padded inside. All files of seg's are so; others want
            float32, normalised.
    """

    layout: str = "nchw"
    output: str = "logits"
    size: tuple[int, int] | None = None
    batch: int | None = None
    resizes: bool = False
    raw_pixels: bool = True


@dataclass(frozen=True)
class ModelCard:
    """What a model carries.

    Attributes:
        task: classes, palette, ignore index.
        architecture: smp's class name.
        encoder: the encoder's name.
        encoder_weights: what it was started from.
        mean: normalisation inside the network, in units of pixel / 255.
        std: likewise.
        inference: the resize before the network.
        tta: the test-time augmentation that `--tta` means; None is a horizontal flip.
        metrics: figures by split, as they were when it was written, and the number format that they were made in.
        data: the dataset's name, its section of the config and its fingerprint.
        versions: of segcli and the libraries that made it.
        encoder_weights_licence: of the weights it was started from; None where nothing states it.
        precision: the number format that it computes in where the device has it: fp32, bf16 or fp16.
        contract: how it is called, if it is an exported file.
    """

    task: Task
    architecture: str
    encoder: str
    encoder_weights: str | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    inference: Inference = Inference()
    tta: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    encoder_weights_licence: str | None = None
    precision: str = "fp32"
    contract: Contract | None = None

    def to_json(self) -> str:
        """The card as JSON text."""
        values = asdict(self)
        values["task"] = self.task.to_json()
        return json.dumps({"format": FORMAT, **values}, indent=2)

    @classmethod
    def from_json(cls, text: str, source: Path) -> Self:
        """The card that `to_json` wrote.

        Raises:
            ModelError: naming the source, if the text is no card.
        """
        try:
            values = json.loads(text)
            if values.pop("format") > FORMAT:
                raise ModelError(f"{source} was made by a newer seg; update with `pip install -U segcli`")
            values["task"] = Task.from_json(values["task"])
            size = values["inference"]["size"]
            values["inference"]["size"] = tuple(size) if isinstance(size, list) else size
            values["inference"].pop("interpolation", None)  # older cards say what was never a choice
            values["inference"] = Inference(**values["inference"])
            if values.get("contract"):
                side = values["contract"]["size"]
                values["contract"] = Contract(**{**values["contract"], "size": side and tuple(side)})
            values["mean"], values["std"] = tuple(values["mean"]), tuple(values["std"])
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{source} holds no valid model card ({error!r}); it was damaged or edited") from None
