"""Test-time augmentation: a predictor that averages another one's probabilities over views of the image."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.predictor import Predictor, Wrapper
from segcli.engine.prediction.resizing import Resizing, resize_images
from segcli.errors import UsageError, did_you_mean
from segcli.io.images import Pixels


@dataclass(frozen=True)
class Policy:
    """Which views are averaged.

    Attributes:
        name: as on the command line.
        scales: factors of height and width.
        turns: quarter turns, anticlockwise.
        flip: each view mirrored as well.
    """

    name: str
    scales: tuple[float, ...] = (1.0,)
    turns: tuple[int, ...] = (0,)
    flip: bool = False

    @property
    def cost(self) -> float:
        """Pixels through the network for each pixel of the image."""
        return sum(scale**2 for scale in self.scales) * len(self.turns) * (1 + self.flip)

    def views(self) -> Iterator[tuple[float, int, bool]]:
        """Scale, quarter turns and mirroring of each view."""
        for scale in self.scales:
            for turns in self.turns:
                for mirrored in (False, True) if self.flip else (False,):
                    yield scale, turns, mirrored


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("none"),
        Policy("flip", flip=True),
        Policy("scales", scales=(0.75, 1.0, 1.25)),
        Policy("scales-flip", scales=(0.75, 1.0, 1.25), flip=True),
        Policy("d4", turns=(0, 1, 2, 3), flip=True),
    )
}
DEFAULT = "flip"


def find_policy(name: str) -> Policy:
    """The policy of a name.

    Raises:
        UsageError: if there is none.
    """
    if name not in POLICIES:
        raise UsageError(f"unknown TTA policy {name!r}; {did_you_mean(name, POLICIES)}")
    return POLICIES[name]


@dataclass(frozen=True)
class Augmented(Wrapper):
    """A predictor that shows another one several views of each image and averages the probabilities.

    Attributes:
        policy: the views.
    """

    policy: Policy

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logarithm of the mean probabilities, which are logits again."""
        views = list(self.policy.views())
        if len(views) == 1 and views[0] == (1.0, 0, False):
            return self.inner(images)
        total = self._probabilities(images, *views[0])
        for view in views[1:]:
            total += self._probabilities(images, *view)
        total /= len(views)
        return operations(total).logarithm(total)

    def _probabilities(self, images: Pixels, scale: float, turns: int, mirrored: bool) -> Logits:
        logits = self._view(images, scale, turns, mirrored)
        return operations(logits).softmax(logits)

    def _view(self, images: Pixels, scale: float, turns: int, mirrored: bool) -> Logits:
        """The logits of one view, put back in the image's place."""
        height, width = images.shape[1:3]
        size = (max(round(height * scale), 1), max(round(width * scale), 1))
        seen = images if size == (height, width) else resize_images(images, size)
        seen = np.rot90(seen[:, :, ::-1] if mirrored else seen, turns, axes=(1, 2))
        logits = self.inner(np.ascontiguousarray(seen))
        ops = operations(logits)
        logits = ops.turned_back(logits, turns, mirrored)
        return logits if size == (height, width) else ops.resize(logits, (height, width))


def with_policy(predictor: Predictor, policy: Policy) -> Predictor:
    """The predictor with views averaged inside its resizing, so that scales are relative to the network's size."""
    if isinstance(predictor, Resizing):
        return Resizing(Augmented(predictor.inner, policy), predictor.inference)
    return Augmented(predictor, policy)
