"""The task: which classes there are, how they are painted, and which mask value is ignored."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

Colour = tuple[int, int, int]

IGNORED_COLOUR: Colour = (224, 224, 192)
"""How ignored pixels are painted; the colour of the void contours of PASCAL VOC."""

BACKGROUND_LABELS = frozenset({"background", "_background_", "__background__"})
"""Labels, in small letters, by which annotations name what is no object."""

_BLACK: Colour = (0, 0, 0)
_BACKGROUNDS = {"background", "bg", "unlabeled", "unlabelled", "void", "other", "others", "nothing", "none", "rest"}


@dataclass(frozen=True)
class Task:
    """What a model is to tell apart.

    Attributes:
        classes: names; the place of a name is its class index in masks and logits.
        palette: one RGB colour (0…255) a class.
        ignore_index: the mask value that counts in no loss and no metric.
    """

    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    ignore_index: int = 255

    @classmethod
    def of(
        cls, classes: Sequence[str], palette: Sequence[Sequence[int]] | None = None, ignore_index: int = 255
    ) -> Self:
        """Makes a task; without a palette, `default_palette` serves."""
        colours = palette or default_palette(classes)
        return cls(tuple(classes), tuple((r, g, b) for r, g, b in colours), ignore_index)

    @property
    def num_classes(self) -> int:
        """C: the number of classes, and of channels in the logits."""
        return len(self.classes)

    @property
    def num_head_channels(self) -> int:
        """Channels of the network's head: 1 where there are two classes, else C."""
        return 1 if self.num_classes == 2 else self.num_classes

    @property
    def has_background(self) -> bool:
        """Whether class 0 is a background painted black: pictures leave the image there as it is."""
        return self.palette[0] == _BLACK and begins_with_background(self.classes)

    def to_json(self) -> dict[str, Any]:
        """The task as plain JSON values."""
        return {
            "classes": list(self.classes),
            "palette": [list(colour) for colour in self.palette],
            "ignore_index": self.ignore_index,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The task that `to_json` wrote."""
        return cls.of(values["classes"], values["palette"], values["ignore_index"])


def check_classes(classes: Sequence[str]) -> None:
    """Raises ValueError where names make no classes: fewer than two, an empty one, or one that stands twice."""
    if len(classes) < 2:
        raise ValueError(f"classes: {len(classes)} given, at least 2 needed; background is a class too")
    if not all(classes):
        raise ValueError("classes: an empty name is given")
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise ValueError(f"classes: {twice!r} stands twice")


def default_ignore_index(num_classes: int) -> int:
    """255, the largest value of 8 bits; 65535 where the classes need more."""
    return 255 if num_classes <= 255 else 65535


def begins_with_background(classes: Sequence[str]) -> bool:
    """Whether class 0 is what is left over: it is called so, or is the first of two that have no names."""
    words = re.findall(r"[a-z0-9]+", classes[0].lower()) or [""]
    named = "".join(words) in _BACKGROUNDS or words[0] in {"no", "non", "not"}
    return named or list(classes) == ["class_0", "class_1"]


def default_palette(classes: Sequence[str]) -> list[Colour]:
    """Colours for classes without a palette: black for a background in front, else colours that are easy to tell apart.

    The first 20 are as far apart as could be found for normal and for colour-blind eyes: their least distance in OKLab
    (Ottosson 2020) over the colours as they are and as protanopes, deuteranopes and tritanopes see them (Machado et
    al. 2009, Brettel et al. 1997, Viénot et al. 1999). Each of the others is the farthest from all before it.
    """
    grounds = [_BLACK] if begins_with_background(classes) else []
    colours = [_colour(digits) for digits in _DISTINCT.split()]
    beyond = voc_palette(len(classes))[len(colours) :]
    return [*grounds, *colours, *beyond][: len(classes)]


def _colour(digits: str) -> Colour:
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


_DISTINCT = """
    e10f0f 0f00ff 87f0ff 690f69 e1c300 a578ff 2d87b4 a56978 b4b4ff 3c0fa5 00b487 ff1ed2 961ec3 4b783c ff87c3 870000
    b40078 1ee187 c3872d 4b4b4b d24ba5 a5b400 4b5a87 f07878 a54bff 2dc3d2 a5d2ff 4b3ca5 961e5a 9696f0 784ba5 c34b4b
    d296a5 005ae1 4ba54b 7878d2 a50f00 a54b69 ffa5b4 5a0087 783c2d d2b45a b487a5 96ff4b 0f8700 964bc3 3c0fe1 692d87
    697896 961eff 78003c b4d25a 3c96d2 5af078 78c387 e19669 b47869 4b00c3 694b69 e13c87 69b4e1 b4a53c a569b4 87d2d2
    870078 a500e1 ffb4f0 b41e96 78785a 9669f0 1e780f 2d4b0f e14bc3 780f5a 963c87 8700b4 1e5a96 f03c2d a54ba5 d296ff
    5a2d4b 3c8787 963c3c 692d69 c39600 78a5e1 e178b4 87f04b 2d965a a52d5a c32d4b 87b45a 5a1e96 c300d2 5ad269 96c32d
    3c5a3c 1e00d2 789696 6987e1 781ed2 c3a5f0 c3b4e1 4b0096 969669 d2784b 960f1e 872db4 873c78 b45a96 87782d 7887c3
    b496d2 00ff78 1e3cf0 f03ce1 ff6996 2d78a5 0f693c a5784b c387c3 ff96b4 874bb4 a58787 4b6969 00e1f0 e196d2 00d2a5
    78b4c3 c3c34b a587ff f01eb4 f0695a 96e13c 961e96 5aa5b4 b4004b c369e1 d24b78 695a96 3cd2f0 96872d 69c3b4 4b5ad2
    d20f1e c37878 0f96f0 a59678 6978c3 78d296 a5d278 a569ff 1e5a69 ff3c69 96a587 4b2da5 1e78d2 694bf0 2d3c78 e17869
    695a4b 69a596 c3a578 e1b4c3 7878a5 c32d78 3ca5f0 c35a87 4b3c2d f087e1 a596b4 f0a578 5a7887 a5b496 2d00b4 a5c3ff
    782d3c f069f0 2d00f0 693c87 ff875a 5a4bc3 c36978 00b4ff 4b691e 692d2d 00c3f0 4b4ba5 e1a5a5 3c785a 96b487 871e0f
    7869b4 96e1ff 965a2d f000f0 693c5a 96c3d2 78ff69 c35a3c 69d2c3 5a784b 5ab400 ffc33c 690f87 e1b469 5a5a2d f09600
    873cb4 2dd278 873c1e e11e5a 693c1e b49696 a55aff c3783c 4b3c87 d21e5a 690fc3 c3b487 ff5aa5 d28778 877869 967896
    4b2d69 96c396 a52de1 3cc300 a578c3 d20096 f01e1e 4b1ea5 78965a 3c69c3 c39687 5a3c3c 875a69 965ae1 96d2e1 b46969
    ffb478 690f5a 969600 3c872d 3ca578 f087a5 a50fd2 2d5a2d f05af0 a578e1 8796d2 780fe1 005aff 96b44b d2b4a5 a53c3c
"""


def voc_palette(num_colours: int) -> list[Colour]:
    """The PASCAL VOC colour map: the bits of the index, dealt in turn to R, G and B from the highest down.

    Source: VOCcode/VOClabelcolormap of the PASCAL VOC development kit.
    """

    def colour(index: int) -> Colour:
        channels = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                channels[channel] |= (index >> (3 * place + channel) & 1) << (7 - place)
        return channels[0], channels[1], channels[2]

    return [colour(index) for index in range(num_colours)]
