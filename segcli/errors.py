"""The errors that a user can cause; each message says what, where and what to do.

SegError            exit 1: the work failed
├── DataError       an image, a mask or a dataset is wrong
│   └── FileProblem     one file cannot be used as it is; it knows by which kind of finding
├── ModelError      a bundle, an exported file or a weight file is wrong
├── ExportError     a model cannot be written in a format, or the written file disagrees with it
├── PeerLost        another process of the same training has ended
├── Stopped         a training was asked to stop, and has saved its state
└── UsageError      exit 2: the command line is wrong
    └── ConfigError     the YAML file, or an override of it, is wrong
"""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches


class SegError(Exception):
    """An error whose message is meant for the user: one line with what, where and what to do."""

    exit_code = 1


class DataError(SegError):
    """An image, a mask or a dataset is not what it should be."""


class FileProblem(DataError):
    """A file cannot be used as it is.

    Attributes:
        kind: the kind of finding that `seg dataset check` files it under.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message, kind)
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[0])


class ModelError(SegError):
    """A bundle, an exported file or a weight file is missing, damaged or does not fit."""


class ExportError(SegError):
    """A model cannot be exported, or the exported file disagrees with the model."""


class PeerLost(SegError):
    """Another process of the same training has ended."""


class Stopped(SegError):
    """A training was asked to stop; its state is saved, and it can be gone on with."""


class UsageError(SegError):
    """The command line asks for something that does not exist or does not go together."""

    exit_code = 2


class ConfigError(UsageError):
    """The config is wrong; every problem found stands on a line of its own."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that an unknown one was likely meant to be; None where none is close."""
    lowered = {name.lower(): name for name in sorted(known, reverse=True)}
    close = get_close_matches(word.lower(), lowered, n=8, cutoff=0.6)
    # Of equally close words the one with the longer common part is the likelier.
    return lowered[max(close, key=lambda name: _likeness(word.lower(), name))] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ends a message about an unknown word: a close known word, else the first few known words."""
    known = sorted(known)
    if (meant := nearest(word, known)) is not None:
        return f"did you mean {meant}?"
    shown = ", ".join(known[:12])
    return f"known: {shown}{', …' if len(known) > 12 else ''}"


def _likeness(word: str, name: str) -> tuple[float, int]:
    matcher = SequenceMatcher(None, word, name)
    return matcher.ratio(), matcher.find_longest_match().size
