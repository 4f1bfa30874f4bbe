"""What every kind of picture is made of: what is seen on an image, drawn at a size, with a legend below."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from segcli.engine.drawing.legend import Entry, draw_legend, text_scale
from segcli.engine.drawing.masks import stack
from segcli.engine.drawing.sizes import Size, drawn_size
from segcli.io.images import Mask, Pixels
from segcli.task import Task

CONFIDENCE, TRUTH = "confidence", "truth"


@dataclass(frozen=True)
class Seen:
    """An image and what is known of it.

    Attributes:
        image: H×W×3 uint8 RGB.
        prediction: H×W class indices.
        task: names and colours.
        truth: H×W class indices; None where there is none.
        confidence: H×W uint8, the probability of the predicted class as 0…255; None where no picture needs it.
    """

    image: Pixels
    prediction: Mask
    task: Task
    truth: Mask | None = None
    confidence: Mask | None = None


class Drawing(NamedTuple):
    """A picture without its legend.

    Attributes:
        picture: H×W×3 uint8.
        entries: of the legend.
    """

    picture: Pixels
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Attributes:
        name: of the option that asks for it.
        folder: where such pictures go.
        draw: draws what is seen, the image in it at a size.
        needs: of `confidence` and `truth`, what it cannot be drawn without.
        columns: how many times as wide as the image it is.
    """

    name: str
    folder: str
    draw: Callable[[Seen, Size], Drawing]
    needs: frozenset[str] = frozenset()
    columns: int = 1

    def picture(self, seen: Seen) -> Pixels:
        """The whole picture: at the image's own size (a small one enlarged), with its legend."""
        picture, entries = self.draw(seen, drawn_size(seen.image.shape))
        return stack([picture, draw_legend(entries, picture.shape[1], text_scale(picture))], axis=0)
