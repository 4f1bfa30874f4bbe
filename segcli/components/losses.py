"""The losses a config may choose. Each built loss maps logits (B×C×H×W) and masks (B×H×W int64) to a scalar."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from segcli.components.section import Section, choice
from segcli.task import Task

if TYPE_CHECKING:
    from torch import nn

Weight = Annotated[float, Field(ge=0)]


class Loss(Section):
    """What all losses share."""

    weight: float = Field(1.0, gt=0)
    """factor of this loss, alone or as a term of a sum"""

    def build(self, task: Task, class_share: Sequence[float]) -> "nn.Module":
        """Builds the loss times its weight; `class_share` is each class's share of the training pixels."""
        from segcli.nn.losses import WeightedSum

        return WeightedSum([self.build_plain(task, class_share)], [self.weight])

    def build_plain(self, task: Task, class_share: Sequence[float]) -> "nn.Module":
        """Builds the loss without its weight."""
        raise AssertionError("each loss builds itself")


class CrossEntropy(Loss):
    """Cross-entropy, averaged over the pixels that are not ignored."""

    aliases: ClassVar = ("ce",)
    name: Literal["cross_entropy"] = "cross_entropy"
    class_weights: Literal["none", "log", "median_frequency"] | tuple[Weight, ...] = "none"
    """a weight a class, given or made from the classes' shares of the training pixels: `log` is
    1/ln(1.02 + share) (ENet, Paszke et al. 2016), `median_frequency` is median(share)/share
    (Eigen & Fergus 2015)"""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """share of the target that is spread over all classes"""

    def build_plain(self, task: Task, class_share: Sequence[float]) -> "nn.Module":
        """Builds the loss; raises ConfigError where the number of given weights is not that of the classes."""
        from segcli.nn.losses import CrossEntropyLoss, class_weights

        weights = class_weights(self.class_weights, class_share)
        return CrossEntropyLoss(weights, self.label_smoothing, task.ignore_index)


class Dice(Loss):
    """Dice loss over the batch, averaged over all classes; one without true pixels counts 0 (Milletari et al. 2016)."""

    name: Literal["dice"] = "dice"
    smooth: float = Field(0.0, ge=0)
    """added to numerator and denominator"""

    def build_plain(self, task: Task, class_share: Sequence[float]) -> "nn.Module":
        """Builds the loss."""
        from segmentation_models_pytorch.losses import DiceLoss

        return DiceLoss("multiclass", smooth=self.smooth, ignore_index=task.ignore_index)  # type: ignore[no-any-return]


class Lovasz(Loss):
    """Lovász-Softmax, a convex surrogate of the IoU (Berman et al. 2018)."""

    aliases: ClassVar = ("lovasz_softmax",)
    name: Literal["lovasz"] = "lovasz"
    per_image: bool = False
    """one loss an image, then their mean, instead of one over the batch"""

    def build_plain(self, task: Task, class_share: Sequence[float]) -> "nn.Module":
        """Builds the loss."""
        from segmentation_models_pytorch.losses import LovaszLoss

        return LovaszLoss("multiclass", per_image=self.per_image, ignore_index=task.ignore_index)  # type: ignore[no-any-return]


class Sum(Loss):
    """A weighted sum of losses."""

    name: Literal["sum"] = "sum"
    terms: tuple[choice("loss", CrossEntropy, Dice, Lovasz), ...] = Field(min_length=1)  # type: ignore[valid-type]
    """the losses to add, each with its own `weight`"""

    def build_plain(self, task: Task, class_share: Sequence[float]) -> "nn.Module":
        """Builds the loss."""
        from segcli.nn.losses import WeightedSum

        losses = [term.build_plain(task, class_share) for term in self.terms]
        return WeightedSum(losses, [term.weight for term in self.terms])


LossConfig = choice("loss", CrossEntropy, Dice, Lovasz, Sum)
