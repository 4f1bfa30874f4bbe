"""A training that is asked to stop goes on to the end of its step, and saves itself first."""

from dataclasses import dataclass


@dataclass
class StopRequest:
    """Whether a training is to stop; whoever runs it may ask at any time, from a signal handler too.

    Attributes:
        asked: whether it is to stop behind the step that is under way.
    """

    asked: bool = False
