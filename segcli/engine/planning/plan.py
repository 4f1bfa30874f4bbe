"""A plan: the choices for a dataset, from its figures, what can be had here and what a training takes here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.engine.planning import rules
from segcli.engine.planning.figures import Figures
from segcli.engine.planning.probe import Speed, measure_speed
from segcli.engine.planning.rules import Choice, Network
from segcli.errors import UsageError
from segcli.parallel import Progress, silent

_VALIDATIONS = 12  # of a training, about
_SHARE_OF_VALIDATION = 0.2  # of its time, at most
_RESERVE = 0.08  # of a budget: over minutes a machine was 5 to 19 % slower than over the seconds of a trial
_LEAST_STEPS = 20  # below which nothing is learnt
_FEW_EPOCHS = 10  # up to which the last one may be cut short, to use the time


@dataclass(frozen=True)
class Plan:
    """A config made for a dataset.

    Attributes:
        figures: of the dataset.
        choices: in the order of the file.
        doubts: what a reader should know.
        speed: what was measured.
        steps: of the training.
        epochs: likewise.
        seconds: what the training is to take here, from start to end.
        budget: seconds that it was given; None where it was given none.
    """

    figures: Figures
    choices: tuple[Choice, ...]
    doubts: tuple[str, ...]
    speed: Speed
    steps: int
    epochs: int
    seconds: float
    budget: float | None

    def values(self) -> dict[str, Any]:
        """The config's values, nested as in its file."""
        return rules.places(self.choices)

    def to_json(self) -> dict[str, Any]:
        """The figures and the choices as plain JSON values."""
        return {
            "figures": self.figures.to_json(),
            "choices": [{"key": choice.key, "value": choice.value, "why": choice.why} for choice in self.choices],
            "doubts": list(self.doubts),
            "seconds_a_step": self.speed.step,
            "seconds_a_val_image": self.speed.val_image,
            "steps": self.steps,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "budget": self.budget,
        }


@dataclass(frozen=True)
class Length:
    """How long is trained.

    Attributes:
        steps: of the training.
        epochs: that they take; the last may be cut short.
        steps_an_epoch: of a whole one.
        every: epochs from one validation to the next.
        validations: of the training.
    """

    steps: int
    epochs: int
    steps_an_epoch: int
    every: int
    validations: int

    @classmethod
    def of(cls, steps: int, steps_an_epoch: int, speed: Speed, val_images: int) -> "Length":
        """The length of a number of steps, validated often enough to see it, and seldom enough to pay for it."""
        epochs = ceil(steps / steps_an_epoch)
        validation = speed.validation + val_images * speed.val_image
        cheap = _SHARE_OF_VALIDATION * steps * speed.step / max(validation, 1e-9)
        every = max(ceil(epochs / max(min(cheap, _VALIDATIONS), 1)), 1)
        validations = len({1, epochs, *range(every, epochs + 1, every)})
        return cls(steps, epochs, steps_an_epoch, every, validations)


def make_plan(
    dataset: Dataset,
    figures: Figures,
    network: Network,
    device: str,
    domain: str = "generic",
    budget: float | None = None,
    location: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    measure: Callable[[RunConfig, Dataset, Progress], Speed] = measure_speed,
    named: bool = False,
) -> Plan:
    """Plans a training.

    Args:
        dataset: what is to be trained on.
        figures: of it.
        network: what is to be trained.
        device: cpu, cuda or mps.
        domain: of DOMAINS.
        budget: seconds that the training may take from start to end, its validations included; None is as long as
            the data wants.
        location: the config's `dataset` section.
        progress: told of the steps that are measured.
        measure: measures a config.
        named: whether the user asked for the device; the config names it then.

    Raises:
        UsageError: if the budget is too short for anything.
    """
    where = Choice("dataset", dict(location or {"embedded": "shapes"}), _what(figures))
    asked = (Choice("device", device, "--device; what follows was measured there"),) if named else ()
    fixed = (where, *asked, *rules.network(network), *rules.sizes(figures, device))
    fixed = (*fixed, *rules.balance(figures), *rules.loss(figures), *rules.kept(figures))
    # Neither the length of a training nor what depends on it changes what a step takes, but for the colours.
    trial = (
        *fixed,
        *rules.batch(figures, device),
        *rules.optimiser(1000, network.weights is not None),
        *rules.augmentation(figures, domain, 1000),
    )
    speed = measure(RunConfig.model_validate(rules.places(trial)), dataset, progress)
    fitting = speed.config.train.batch_size
    assert isinstance(fitting, int)
    batch = rules.batch(figures, device, fitting)
    accumulated = rules.places(batch)["train"].get("accumulate", 1)
    size, speed = accumulated * fitting, replace(speed, step=accumulated * speed.step)
    steps_an_epoch = max(figures.train_images // size, 1)
    steps, why = rules.wanted_steps(figures, size)
    if budget is not None:
        steps = affordable_steps(budget, steps_an_epoch, speed, figures.val_images)
        why = f"as many as fit into {budget:.0f} s, start and validations included, {_RESERVE:.0%} kept back"
    length = Length.of(steps, steps_an_epoch, speed, figures.val_images)
    passes = steps * size / figures.train_images
    choices = (*fixed, *batch, *_settled(speed), *_lasting(length, speed, why))
    choices = (
        *choices,
        *rules.optimiser(steps, network.weights is not None),
        *rules.augmentation(figures, domain, passes),
    )
    seconds = speed.seconds(length.steps, length.epochs, length.validations, figures.val_images)
    doubts = rules.doubts(figures, network.weights)
    if length.steps < length.steps_an_epoch:
        doubts = (*doubts, f"the time is too short to see each image once: {length.steps * size} crops are drawn")
    return Plan(figures, choices, doubts, speed, length.steps, length.epochs, seconds, budget)


def _what(figures: Figures) -> str:
    height, width = figures.size
    return (
        f"{figures.train_images} images to train on, {figures.val_images} to validate on, {width}×{height} in the "
        f"median, {len(figures.classes)} classes"
    )


def _settled(speed: Speed) -> tuple[Choice, ...]:
    """What the trial settled, so that the training need not measure it again."""
    layout = speed.config.train.channels_last
    return (Choice("train.channels_last", bool(layout), "the faster memory layout of two that were measured"),)


def _lasting(length: Length, speed: Speed, why: str) -> tuple[Choice, ...]:
    choices = [
        Choice(
            "train.epochs", length.epochs, f"steps an epoch: {length.steps_an_epoch}, {speed.step:.2f} s each; {why}"
        )
    ]
    if length.steps % length.steps_an_epoch:
        choices.append(Choice("train.max_steps", length.steps, "the last epoch is cut short, to use the time"))
    validation = speed.val_image
    every = f"an image of a validation takes {validation:.2f} s; {length.validations} validations in all"
    return (*choices, Choice("val.every_epochs", length.every, every))


def affordable_steps(budget: float, steps_an_epoch: int, speed: Speed, val_images: int) -> int:
    """The most steps within a budget less a reserve; whole epochs where they are many.

    Args:
        budget: seconds from a training's start to its end.
        steps_an_epoch: of the training.
        speed: what was measured.
        val_images: images of a validation.

    Raises:
        UsageError: if not even twenty fit.
    """

    def seconds(steps: int) -> float:
        length = Length.of(steps, steps_an_epoch, speed, val_images)
        return speed.seconds(steps, length.epochs, length.validations, val_images)

    usable = (1 - _RESERVE) * budget
    least = min(_LEAST_STEPS, steps_an_epoch * 2)
    if seconds(least) > usable:
        raise UsageError(
            f"--budget {budget:.0f}s is too short: a start, {least} steps and a validation take "
            f"{seconds(least) / (1 - _RESERVE):.0f} s here; give that at least, or fewer validation images"
        )
    low, high = least, max(int(usable / speed.step), least) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if seconds(middle) <= usable else (low, middle)
    epochs = low // steps_an_epoch
    return epochs * steps_an_epoch if epochs >= _FEW_EPOCHS else low
