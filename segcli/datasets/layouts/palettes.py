"""Masks painted in colours: palettes read from files, or found in the masks themselves."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from segcli.datasets.layouts.base import Pair
from segcli.datasets.masks import MaskFile, count_values
from segcli.errors import DataError, FileProblem
from segcli.parallel import each
from segcli.task import Colour

IGNORED_NAMES = {"void", "ignore", "ignored", "unlabeled", "unlabelled"}
"""Names in a palette whose colour is ignored."""

_MOST = 256
_INDEX = 64  # grey level below which a grey that no mask of colours has is taken for a class index
_NUMBERS = re.compile(r"(?<![\w.#])(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?![\w.])")
_FOUR = re.compile(r"(?<![\w.#])\d{1,3}([\s,;]+\d{1,3}){3}(?![\w.])")
_HEX = re.compile(r"#([0-9a-fA-F]{6})\b")


def read_palette(path: Path) -> dict[str, Colour]:
    """Reads colours by class name: a line a class, with `R G B` (0…255, or `#rrggbb`) and the name in any order.

    So CamVid's `label_colors.txt`, CVAT's `labelmap.txt`, a CSV of `name,r,g,b` and a list of `name: #rrggbb` all
    serve. Lines without a colour (a heading, a remark) are passed over.

    Raises:
        DataError: if the file is missing or lists no colours, a number beyond 255, or a name or colour twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a palette: {getattr(error, 'strerror', None) or error}") from None
    palette: dict[str, Colour] = {}
    for number, line in enumerate(lines, 1):
        try:
            parsed = None if line.lstrip().startswith("# ") else _parse(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {line.strip()!r}: {error}") from None
        if parsed is None:
            continue
        name, colour = parsed
        if max(colour) > 255:
            raise DataError(f"{path}:{number}: {colour} is no colour of 0…255")
        if not name or name in palette or colour in palette.values():
            problem = "has no name" if not name else "stands twice"
            raise DataError(
                f"{path}:{number}: {line.strip()!r}: its name or colour {problem}; give each class one line"
            )
        palette[name] = colour
    if len(palette) < 2:
        raise DataError(f"{path} lists {len(palette)} colours; write a line a class, such as `128 0 0 car`")
    return palette


def _parse(line: str) -> tuple[str, Colour] | None:
    if match := _HEX.search(line):
        red, green, blue = bytes.fromhex(match.group(1))
    elif _FOUR.search(line):
        raise ValueError("it holds four numbers; a colour has three")
    elif match := _NUMBERS.search(line):
        red, green, blue = (int(part) for part in match.groups())
    else:
        return None
    name = f"{line[: match.start()]} {line[match.end() :]}".strip(" \t,;:=-\"'")
    return name, (red, green, blue)


def class_names(palette: Mapping[str, Colour]) -> list[str]:
    """The names of a palette that are classes; one named void, ignore or unlabeled is none."""
    return [name for name in palette if name.strip("_").lower() not in IGNORED_NAMES]


def colour_map(palette: Mapping[str, Colour], ignore_index: int) -> dict[int, int]:
    """What the colours of a palette mean: by 0xRRGGBB the class index, or the ignore index."""
    index = {name: place for place, name in enumerate(class_names(palette))}
    return {packed(colour): index.get(name, ignore_index) for name, colour in palette.items()}


def packed(colour: Colour) -> int:
    """A colour as the number 0xRRGGBB."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def found_palette(pairs: Sequence[Pair]) -> dict[str, Colour]:
    """The colours that masks hold, sorted by red, green and blue (so black first), named by themselves (`#800000`).

    Those of masks of indices, the odd ones among masks of colours, do not count.

    Raises:
        DataError: if there are so many that they are no classes, or most masks hold indices.
    """
    masks = [pair.mask for pair in pairs if isinstance(pair.mask, MaskFile)]
    held = {
        mask.path: colours for mask, colours in zip(masks, each(_colours_of, masks, "finding colours"), strict=True)
    }
    coloured = {path: colours for path, colours in held.items() if not all(map(_is_grey, colours))}
    of_coloured = set().union(*coloured.values())
    odd = {
        path for path in held.keys() - coloured.keys() if any(0 < c & 255 < _INDEX for c in held[path] - of_coloured)
    }
    if coloured and len(odd) > len(coloured):
        few = f"{len(coloured)} hold colours (as {min(coloured)})"
        raise DataError(f"{len(odd)} of {len(held)} masks hold indices, and {few}; leave --palette out, and mend those")
    found = sorted(set().union(*(colours for path, colours in held.items() if not coloured or path not in odd)))
    if not 2 <= len(found) <= _MOST:
        raise DataError(
            f"the masks hold {len(found)} colours, which are no classes (2 … {_MOST}); masks saved as JPEG or scaled "
            f"smoothly look so. Give the true colours with --palette FILE, and masks without smoothing"
        )
    return {f"#{value:06x}": (value >> 16, value >> 8 & 255, value & 255) for value in found}


def _colours_of(mask: MaskFile) -> set[int]:
    try:
        return set(count_values(mask.values(0, 0)))
    except FileProblem:
        return set()  # the check names it


def _is_grey(colour: int) -> bool:
    return colour == (colour & 255) * 0x010101
