"""What a training tells while it runs, and the one thing that it can be asked: to stop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcli.engine.evaluation.scores import Scores
from segcli.task import Task


@dataclass(frozen=True)
class Started:
    """The run stands; the first epoch follows; epochs and steps are those of the whole training."""

    folder: Path
    task: Task
    facts: Mapping[str, str]
    first_epoch: int
    epochs: int
    steps: int


@dataclass(frozen=True)
class LengthSettled:
    """The whole training has other epochs and steps than was told at its start."""

    epochs: int
    steps: int


@dataclass(frozen=True)
class Stepped:
    """One training step is done: the `step`-th of an epoch of `steps`, and the `done`-th of all."""

    epoch: int
    step: int
    steps: int
    done: int
    loss: float
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class Progressed:
    """Something countable besides training steps goes on."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is trained, validated where it was its turn, and saved."""

    row: Mapping[str, Any]
    best: bool
    scores: Scores | None


@dataclass(frozen=True)
class Said:
    """Something the user should know."""

    text: str


Event = Started | LengthSettled | Stepped | Progressed | EpochEnded | Said
Observer = Callable[[Event], None]


@dataclass
class StopRequest:
    """Whether a training is to stop; whoever runs it may ask at any time, from a signal handler too.

    Attributes:
        asked: whether it is to stop behind the step that is under way.
    """

    asked: bool = False
