"""Test-time augmentation: a predictor that averages what another one makes of several views of an image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.predictor import Predictor, Wrapper
from segcli.engine.prediction.resizing import Resizing, resize_images
from segcli.engine.prediction.tiles import Tiled
from segcli.errors import UsageError, did_you_mean
from segcli.io.images import Pixels

_OF_LOGITS = ":logits"
_TURNS = {"r90": 1, "r180": 2, "r270": 3}
_LARGEST_SCALE = 8.0


class View(NamedTuple):
    """One way to show an image.

    Attributes:
        scale: factor of height and width.
        turns: quarter turns, anticlockwise, after the mirroring.
        mirrored: left to right.
    """

    scale: float = 1.0
    turns: int = 0
    mirrored: bool = False

    def __str__(self) -> str:
        turn = next((name for name, turns in _TURNS.items() if turns == self.turns), "")
        scale = f"{self.scale:g}" if self.scale != 1 or not (turn or self.mirrored) else ""
        return "-".join(part for part in (scale, turn, "flip" if self.mirrored else "") if part)

    @classmethod
    def parse(cls, text: str) -> "View":
        """Reads what `str` writes: `1`, `flip`, `r90`, `0.75-flip`, `1.25-r180-flip`.

        Raises:
            UsageError: if it is no view.
        """
        found = cls()
        for part in text.split("-"):
            if part == "flip" and not found.mirrored:
                found = found._replace(mirrored=True)
            elif part in _TURNS and not found.turns:
                found = found._replace(turns=_TURNS[part])
            elif part.replace(".", "", 1).isdecimal() and 0 < float(part) <= _LARGEST_SCALE and found == cls():
                found = found._replace(scale=float(part))
            else:
                raise UsageError(
                    f"{text!r} is no view; expected a scale up to {_LARGEST_SCALE:g}, a turn ({', '.join(_TURNS)}) and "
                    f"flip, in this order with - between them, such as 0.75-flip"
                )
        return found


@dataclass(frozen=True)
class Policy:
    """Which views are averaged.

    Attributes:
        name: as on the command line.
        views: each once.
        of_logits: average logits instead of probabilities.
    """

    name: str
    views: tuple[View, ...]
    of_logits: bool = False

    @classmethod
    def of(cls, views: Iterable[View], of_logits: bool = False) -> "Policy":
        """The policy of some views, by the name that their set has, else by the sum that they are."""
        views = tuple(views)
        known = (name for name, policy in POLICIES.items() if set(policy.views) == set(views))
        return cls(next(known, "+".join(map(str, views))) + (_OF_LOGITS if of_logits else ""), views, of_logits)

    @property
    def cost(self) -> float:
        """Pixels through the network for each pixel of the image."""
        return sum(view.scale**2 for view in self.views)


def _views(scales: Sequence[float] = (1.0,), turns: Sequence[int] = (0,), flip: bool = False) -> tuple[View, ...]:
    return tuple(
        View(scale, turn, mirrored) for scale in scales for turn in turns for mirrored in (False, True)[: 1 + flip]
    )


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("none", _views()),
        Policy("flip", _views(flip=True)),
        Policy("scales", _views((0.75, 1.0, 1.25))),
        Policy("scales-flip", _views((0.75, 1.0, 1.25), flip=True)),
        Policy("d4", _views(turns=(0, 1, 2, 3), flip=True)),
    )
}
DEFAULT = "flip"


def find_policy(name: str) -> Policy:
    """The policy of a name, or of a sum of views such as `1+flip+0.75`; `:logits` behind it averages logits.

    Raises:
        UsageError: if there is none.
    """
    plain, of_logits = name.removesuffix(_OF_LOGITS), name.endswith(_OF_LOGITS)
    if plain in POLICIES:
        return Policy(name, POLICIES[plain].views, of_logits)
    if "+" not in plain and not plain[:1].isdecimal():
        raise UsageError(
            f"unknown TTA policy {name!r}; {did_you_mean(name, POLICIES)} Or give a sum of views such as 1+flip+0.75"
        )
    views = [View.parse(text) for text in plain.split("+")]
    if len(set(views)) < len(views):
        raise UsageError(f"TTA policy {name!r} names a view twice")
    return Policy(name, tuple(views), of_logits)


@dataclass(frozen=True)
class Augmented(Wrapper):
    """A predictor that shows another one several views of each image and averages probabilities, or logits.

    Attributes:
        policy: the views.
    """

    policy: Policy

    def __call__(self, images: Pixels) -> Logits:
        """Computes the mean logits, or the logarithm of the mean probabilities, which are logits again."""
        views = self.policy.views
        if views == (View(),):
            return self.inner(images)
        total = summand(self.inner, images, views[0], self.policy.of_logits)
        for view in views[1:]:
            total = total + summand(self.inner, images, view, self.policy.of_logits)
        return mean(total, len(views), self.policy.of_logits)


def summand(predictor: Predictor, images: Pixels, view: View, of_logits: bool) -> Logits:
    """What one view adds to a policy: probabilities or logits (N×C×H×W), put back in the image's place."""
    height, width = images.shape[1:3]
    size = (max(round(height * view.scale), 1), max(round(width * view.scale), 1))
    seen = images if size == (height, width) else resize_images(images, size)
    seen = np.rot90(seen[:, :, ::-1] if view.mirrored else seen, view.turns, axes=(1, 2))
    logits = predictor(np.ascontiguousarray(seen))
    ops = operations(logits)
    logits = ops.turned_back(logits, view.turns, view.mirrored)
    logits = logits if size == (height, width) else ops.resize(logits, (height, width))
    return logits if of_logits else ops.softmax(logits)


def mean(total: Logits, number: int, of_logits: bool) -> Logits:
    """The logits of a policy, from the sum of what a number of views add."""
    return total / number if of_logits else operations(total).logarithm(total / number)


def with_policy(predictor: Predictor, policy: Policy) -> Predictor:
    """The predictor with views averaged inside its resizing, so that scales are relative to the network's size.

    Of a predictor that cuts images into tiles, they are views of each tile.
    """
    if isinstance(predictor, Resizing | Tiled):
        return replace(predictor, inner=with_policy(predictor.inner, policy))
    return Augmented(predictor, policy)
