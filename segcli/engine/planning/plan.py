"""A plan: the choices for a dataset, from its figures, what can be had here and what a training takes here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.engine.planning import rules
from segcli.engine.planning.figures import Figures
from segcli.engine.planning.pace import Length, Pace
from segcli.engine.planning.probe import Speed, measure_speed
from segcli.engine.planning.rules import Choice, Network
from segcli.parallel import Progress, silent

_MUCH_VALIDATION = 0.3  # of the time, from which a reader is told
_TRIED_STEPS = 1000  # whose optimiser is tried first


@dataclass(frozen=True)
class Plan:
    """A config made for a dataset.

    Attributes:
        figures: of the dataset.
        choices: in the order of the file.
        doubts: what a reader should know.
        pace: what was measured.
        steps: of the training.
        epochs: likewise.
        seconds: what the training is to take here, from start to end.
        budget: seconds that it was given; None where it was given none.
    """

    figures: Figures
    choices: tuple[Choice, ...]
    doubts: tuple[str, ...]
    pace: Pace
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
            "seconds_a_step": self.pace.step,
            "seconds_a_val_image": self.pace.speed.val_image,
            "steps": self.steps,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "budget": self.budget,
        }


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
        SegError: if a trial fails.
    """
    where = Choice("dataset", dict(location or {"embedded": "shapes"}), _what(figures))
    asked = (Choice("device", device, "--device; what follows was measured there"),) if named else ()
    fixed = (where, *asked, *rules.network(network), *rules.sizes(figures, device))
    fixed = (*fixed, *rules.balance(figures), *rules.loss(figures), *rules.kept(figures))
    has_weights = network.weights is not None

    def tried(steps: int) -> tuple[Pace, int, str]:
        """The pace of a training of so many steps, how many it then is, and why."""
        # Of what depends on the number of steps, the optimiser alone changes what one takes.
        trial = (*fixed, *rules.batch(figures, device), *rules.optimiser(steps, has_weights))
        trial = (*trial, *rules.augmentation(figures, domain, passes=1000))
        speed = measure(RunConfig.model_validate(rules.places(trial)), dataset, progress)
        pace = Pace.of(speed, figures.train_images, figures.val_images)
        return (pace, *_length(figures, pace, budget))

    pace, steps, why = tried(_TRIED_STEPS)
    if rules.optimiser_name(steps) != rules.optimiser_name(_TRIED_STEPS):
        pace, steps, why = tried(steps)
    length = pace.length(steps)
    passes = steps * pace.crops / figures.train_images
    choices = (
        *fixed,
        *rules.batch(figures, device, pace.batch_size),
        *_settled(pace.speed, device),
        *_lasting(length, pace, budget, why),
        *rules.optimiser(steps, has_weights),
        *rules.augmentation(figures, domain, passes),
    )
    doubts = (*rules.doubts(figures, network.weights, device), *_doubts(length, pace, figures))
    return Plan(figures, choices, doubts, pace, length.steps, length.epochs, pace.seconds(length), budget)


def _what(figures: Figures) -> str:
    height, width = figures.size
    return (
        f"{figures.train_images} images to train on, {figures.val_images} to validate on, {width}×{height} in the "
        f"median, {len(figures.classes)} classes"
    )


def _length(figures: Figures, pace: Pace, budget: float | None) -> tuple[int, str]:
    """The steps of the training, and why so many."""
    if budget is None:
        return rules.wanted_steps(figures, pace.crops)
    why = f"as many as fit into {budget:.0f} s, start and validations included"
    return pace.affordable_steps(budget), why


def _settled(speed: Speed, device: str) -> tuple[Choice, ...]:
    """What the trial settled, so that the training need not measure it again."""
    why = "tensor cores want it" if device == "cuda" else "the faster memory layout of two that were measured"
    return (Choice("train.channels_last", bool(speed.config.train.channels_last), why),)


def _lasting(length: Length, pace: Pace, budget: float | None, why: str) -> tuple[Choice, ...]:
    each = f"steps an epoch: {pace.steps_an_epoch}, {pace.step:.2f} s each; {why}"
    choices = [Choice("train.epochs", length.epochs, each)]
    if length.steps % pace.steps_an_epoch:
        choices.append(Choice("train.max_steps", length.steps, "the last epoch is cut short"))
    if budget is not None:
        why = "--budget; epochs and steps are what the training begins with, and are settled anew as it goes"
        choices.append(Choice("train.budget", f"{budget:.0f}s", why))
    every = f"an image of a validation takes {pace.speed.val_image:.2f} s; {length.validations} validations in all"
    kept = "a state to go on from behind each validation: more often would take time"
    return (
        *choices,
        Choice("val.every_epochs", length.every, every),
        Choice("checkpoint.every_epochs", length.every, kept),
    )


def _doubts(length: Length, pace: Pace, figures: Figures) -> tuple[str, ...]:
    """What speaks against a length."""
    found = []
    if length.epochs == 1 and length.steps < pace.steps_an_epoch:
        crops = f"{length.steps * pace.crops:,.0f} crops of {figures.train_images:,} images"
        found.append(f"not every image is seen: {crops} are drawn")
    share = length.validations * pace.validation / pace.seconds(length)
    if share > _MUCH_VALIDATION:
        found.append(f"validations take {share:.0%} of the time; a smaller val split would leave more to train")
    return tuple(found)
