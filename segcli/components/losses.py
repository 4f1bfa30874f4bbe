"""The losses a config may choose. Each built loss maps logits (B×C×H×W) and masks (B×H×W int64) to a scalar.

Cross-entropy and focal are means over the valid pixels of a step, however it is split. The others are worked out one
micro-batch at a time, then averaged by images, so that they do depend on the split.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from segcli.components.class_weights import ClassFigures, class_weights
from segcli.components.section import Section, choice
from segcli.task import Task

if TYPE_CHECKING:
    from segcli.nn.losses import PartialLoss, WeightedSum

Weight = Annotated[float, Field(ge=0)]
ClassWeights = Literal["none", "log", "median_frequency", "effective_number"] | tuple[Weight, ...]


class Loss(Section):
    """What all losses share."""

    weight: float = Field(1.0, gt=0)
    """factor of this loss, alone or as a term of a sum"""

    @property
    def smallest_side(self) -> int:
        """Height and width that an image needs for this loss."""
        return 1

    def build(self, task: Task, figures: ClassFigures) -> "WeightedSum":
        """Builds the loss times its weight; `figures` are those of the masks that are trained on."""
        from segcli.nn.losses import WeightedSum

        return WeightedSum([self.build_plain(task, figures)], [self.weight])

    def build_plain(self, task: Task, figures: ClassFigures) -> "PartialLoss":
        """Builds the loss without its weight."""
        raise AssertionError("each loss builds itself")


class CrossEntropy(Loss):
    """Cross-entropy, averaged over the valid pixels of a step, or over the hardest ones of each micro-batch."""

    aliases: ClassVar = ("ce",)
    name: Literal["cross_entropy"] = "cross_entropy"
    class_weights: ClassWeights = "none"
    """a weight a class, given or made from the training masks: `log` is 1/ln(1.02 + share of the pixels) (ENet, Paszke
    et al. 2016), `median_frequency` is median(frequency)/frequency over the images that hold the class (Eigen & Fergus
    2015), `effective_number` is one over the effective number of such images with β = 0.9999 (Cui et al. 2019)"""
    class_weight_power: float = Field(1.0, gt=0)
    """power that the class weights are raised to: 0.5 brings them half way towards equal ones"""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """share of the target that is spread over all classes"""
    hardest: float = Field(1.0, gt=0, le=1)
    """share of the pixels, those with the largest loss, that count (online hard example mining); below 1 they are
    picked within each micro-batch"""

    def build_plain(self, task: Task, figures: ClassFigures) -> "PartialLoss":
        """Builds the loss; raises ConfigError where the class weights cannot be had."""
        from segcli.nn.losses import CrossEntropyLoss, HardestPixelsLoss, PerMicroBatch

        weights = class_weights(self.class_weights, figures, self.class_weight_power)
        if self.hardest == 1:
            return CrossEntropyLoss(weights, self.label_smoothing, task.ignore_index)
        return PerMicroBatch(HardestPixelsLoss(weights, self.label_smoothing, task.ignore_index, self.hardest))


class Dice(Loss):
    """Dice loss, averaged over all classes; one without true pixels counts 0 (Milletari et al. 2016).

    Worked out over each micro-batch.
    """

    name: Literal["dice"] = "dice"
    smooth: float = Field(0.0, ge=0)
    """added to numerator and denominator"""

    def build_plain(self, task: Task, figures: ClassFigures) -> "PartialLoss":
        """Builds the loss."""
        from segcli.nn.losses import OverlapLoss, PerMicroBatch

        return PerMicroBatch(OverlapLoss(0.5, 0.5, 1.0, self.smooth, task.ignore_index))


class Lovasz(Loss):
    """Lovász-Softmax, a convex surrogate of the IoU (Berman et al. 2018). Worked out over each micro-batch."""

    aliases: ClassVar = ("lovasz_softmax",)
    name: Literal["lovasz"] = "lovasz"
    per_image: bool = False
    """one loss an image, then their mean, instead of one over the micro-batch"""

    def build_plain(self, task: Task, figures: ClassFigures) -> "PartialLoss":
        """Builds the loss."""
        from segcli.nn.losses import PerMicroBatch
        from segcli.nn.lovasz import LovaszLoss

        return PerMicroBatch(LovaszLoss(self.per_image, task.ignore_index))


class Tversky(Loss):
    """Tversky loss: Dice with separate weights for false positives and negatives (Salehi et al. 2017).

    Worked out over each micro-batch.
    """

    name: Literal["tversky"] = "tversky"
    alpha: float = Field(0.3, ge=0)
    """weight of false positives"""
    beta: float = Field(0.7, ge=0)
    """weight of false negatives"""
    gamma: float = Field(1.0, ge=1)
    """power of the loss (focal Tversky, Abraham & Khan 2019)"""

    def build_plain(self, task: Task, figures: ClassFigures) -> "PartialLoss":
        """Builds the loss."""
        from segcli.nn.losses import OverlapLoss, PerMicroBatch

        return PerMicroBatch(OverlapLoss(self.alpha, self.beta, self.gamma, 0.0, task.ignore_index))


class Focal(Loss):
    """Focal loss: cross-entropy in which pixels that are right already count little (Lin et al. 2017).

    Averaged over the valid pixels of a step.
    """

    name: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=0)
    """how little; 0 is cross-entropy"""
    class_weights: ClassWeights = "none"
    """a weight a class, as of cross_entropy"""
    class_weight_power: float = Field(1.0, gt=0)
    """power that the class weights are raised to, as of cross_entropy"""

    def build_plain(self, task: Task, figures: ClassFigures) -> "PartialLoss":
        """Builds the loss; raises ConfigError where the class weights cannot be had."""
        from segcli.nn.losses import FocalLoss

        weights = class_weights(self.class_weights, figures, self.class_weight_power)
        return FocalLoss(self.gamma, weights, task.ignore_index)


class BceDice(Loss):
    """Binary cross-entropy plus Dice, each class against all others; of two classes only the second.

    Worked out over each micro-batch.
    """

    aliases: ClassVar = ("bce+dice", "dice_bce")
    name: Literal["bce_dice"] = "bce_dice"
    smooth: float = Field(1.0, ge=0)
    """added to Dice's numerator and denominator"""

    def build_plain(self, task: Task, figures: ClassFigures) -> "PartialLoss":
        """Builds the loss."""
        from segcli.nn.losses import BceDiceLoss, PerMicroBatch

        return PerMicroBatch(BceDiceLoss(self.smooth, task.ignore_index))


class Rmi(Loss):
    """Region mutual information of prediction and truth, with binary cross-entropy (Zhao et al. 2019).

    Worked out over each micro-batch. Images of a validation with a side of radius × pooling or less are left out of
    it, and count in the other terms of a sum.
    """

    name: Literal["rmi"] = "rmi"
    radius: int = Field(3, ge=1, le=10)
    """side of the patches whose variance is compared"""
    pooling: int = Field(4, ge=1)
    """factor by which the maps are averaged down first"""
    balance: float = Field(0.8, ge=0, le=1)
    """share of the binary cross-entropy, which alone tells a mask from its negative: with the paper's 0.5, networks
    that start from nothing may settle on the negative"""

    @property
    def smallest_side(self) -> int:
        """Height and width that an image needs: patches vary where they have more than one place in each direction."""
        return self.radius * self.pooling + 1

    def build_plain(self, task: Task, figures: ClassFigures) -> "PartialLoss":
        """Builds the loss."""
        from segcli.nn.losses import PerMicroBatch
        from segcli.nn.rmi import RmiLoss

        loss = RmiLoss(self.radius, self.pooling, self.balance, task.ignore_index)
        return PerMicroBatch(loss, self.smallest_side)


class Sum(Loss):
    """A weighted sum of losses."""

    name: Literal["sum"] = "sum"
    terms: tuple[choice("loss", CrossEntropy, Dice, Lovasz, Tversky, Focal, BceDice, Rmi), ...] = Field(min_length=1)  # type: ignore[valid-type]
    """the losses to add, each with its own `weight`"""

    def build(self, task: Task, figures: ClassFigures) -> "WeightedSum":
        """Builds the sum times its weight."""
        from segcli.nn.losses import WeightedSum

        losses = [term.build_plain(task, figures) for term in self.terms]
        return WeightedSum(losses, [self.weight * term.weight for term in self.terms])


LossConfig = choice("loss", CrossEntropy, Dice, Lovasz, Tversky, Focal, BceDice, Rmi, Sum)
