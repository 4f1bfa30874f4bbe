"""Explicit lists of Albumentations' transforms: names and parameters are checked, and each is tried out once."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError

from segcli.errors import ConfigError, did_you_mean
from segcli.task import Colour

GROUPS = ("OneOf", "OneOrOther", "RandomOrder", "Sequential", "SomeOf")
"""The entries that hold a list of entries."""

_TRIALS = 4
"""Times that a transform is tried out; a turn that swaps the sides of a crop shows in most of them."""


def _as_entry(value: Any) -> Any:
    entry = {"name": value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError(f"expected a transform, such as {{name: HorizontalFlip, p: 0.5}}, not {value!r}")
    return entry


Entry = Annotated[dict[str, Any], BeforeValidator(_as_entry)]
"""A transform: its name and its parameters."""


def albumentations_library() -> Any:
    """The library, imported so that it asks no package index for its newest version."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def build_transforms(
    entries: Sequence[Mapping[str, Any]], fill: Colour, ignore_index: int, size: tuple[int, int]
) -> list[Any]:
    """Builds the transforms of a list.

    Args:
        entries: a name with parameters each. Where one that moves pixels leaves out `fill` or `fill_mask`, what it
            brings in from outside has the given colour and is ignored.
        fill: that colour.
        ignore_index: mask value of what is ignored.
        size: height and width of the crops.

    Raises:
        ConfigError: naming the entry that is unknown, has a wrong parameter, or does not suit crops and their masks.
    """
    builder = _Builder(fill, ignore_index, size)
    return [builder.build(entry, f"augmentation.transforms[{place}]") for place, entry in enumerate(entries)]


class _Builder:
    """Builds entries and tries them out."""

    def __init__(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> None:
        self.fill, self.ignore_index, self.size = fill, ignore_index, size
        self.library = albumentations_library()
        self.known = {name: getattr(self.library, name) for name in (*_leaves(self.library), *GROUPS)}

    def build(self, entry: Mapping[str, Any], place: str) -> Any:
        name = entry["name"]
        where = f"{place} ({name})"
        if name not in self.known:
            raise ConfigError(f"{place}: unknown transform {name!r}; {did_you_mean(name, self.known)}")
        given = {key: value for key, value in entry.items() if key != "name"}
        defaults = {key: item.default for key, item in signature(self.known[name].__init__).parameters.items()}
        parameters = defaults.keys() - {"self", "strict", "first", "second"}
        for key in sorted(map(str, given.keys() - parameters)):
            raise ConfigError(f"{where}: unknown parameter {key!r}; {did_you_mean(key, parameters)}")
        if name in GROUPS:
            return self._group(name, given, place)
        if defaults.get("fill_mask") is not None:  # None leaves the mask as it is
            colour = {} if name == "MaskDropout" else {"fill": self.fill}  # which fills with one number only
            given = {**colour, "fill_mask": self.ignore_index, **given}
        transform = _made(self.known[name], given, where)
        filled = given.get("fill_mask")
        self._try(transform, where, {self.ignore_index, *(filled if isinstance(filled, list) else [filled])})
        return transform

    def _group(self, name: str, given: dict[str, Any], place: str) -> Any:
        where, inner = f"{place} ({name})", given.get("transforms")
        if not isinstance(inner, list | tuple) or not inner:
            raise ConfigError(f"{where}: transforms: expected a list of transforms")
        built = []
        for number, value in enumerate(inner):
            try:
                entry = _as_entry(value)
            except ValueError as error:
                raise ConfigError(f"{place}.transforms[{number}]: {error}") from None
            built.append(self.build(entry, f"{place}.transforms[{number}]"))
        p = given.get("p", 1)
        if not isinstance(p, int | float) or not 0 <= p <= 1:
            raise ConfigError(f"{where}: p: expected a probability from 0 to 1, not {p!r}")
        n = given.get("n", 1)
        if type(n) is not int or n < 1 or (n > len(built) and not given.get("replace")):
            raise ConfigError(f"{where}: n: expected a number from 1 to {len(built)}, not {n!r}")
        return _made(self.known[name], {**given, "transforms": built}, where)

    def _try(self, transform: Any, where: str, fills: set[Any]) -> None:
        """Raises ConfigError where a transform fails on a crop, changes its form, or mixes the values of its mask."""
        import numpy as np

        height, width = self.size
        rows, columns = np.mgrid[:height, :width]
        mask = ((rows // 8 + columns // 8) % 2 * 100).astype(np.uint8 if self.ignore_index <= 255 else np.float32)
        image = np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)
        for seed in range(_TRIALS):
            transform.set_random_seed(seed)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    tried = transform(image=image.copy(), mask=mask.copy(), force_apply=True)
            except KeyError as error:
                raise ConfigError(f"{where}: it needs {error}, which a crop does not have") from None
            except Exception as error:  # whatever the library raises
                raise ConfigError(f"{where}: {_line(error)}") from None
            for kind, before in (("image", image), ("mask", mask)):
                after = tried[kind]
                if str(after.dtype) != str(before.dtype):
                    raise ConfigError(
                        f"{where}: it makes {after.dtype} of the {kind}'s {before.dtype}; leave it out, the network "
                        f"takes crops as they are and normalises inside"
                    )
                if after.shape != before.shape:
                    raise ConfigError(f"{where}: it changes the size of a crop ({_sides(before)} to {_sides(after)})")
            strange = set(np.unique(tried["mask"]).tolist()) - {0, 100} - fills
            if strange:
                raise ConfigError(
                    f"{where}: it mixes the values of the mask, which are class indices; leave out mask_interpolation"
                )


def _leaves(library: Any) -> Iterator[str]:
    """The names of the transforms of single images."""
    abstract = {library.BasicTransform, library.DualTransform, library.ImageOnlyTransform}
    for name in dir(library):
        kind = getattr(library, name)
        if (
            isinstance(kind, type)
            and issubclass(kind, library.BasicTransform)
            and not issubclass(kind, library.Transform3D)
            and kind not in abstract
        ):
            yield name


def _made(kind: Any, parameters: Mapping[str, Any], where: str) -> Any:
    """Makes a transform; the library's reasons against its parameters become one line."""
    owner = next(base for base in kind.__mro__ if "__init__" in vars(base))
    if "InitSchema" in vars(owner):  # else the library would take its defaults for parameters that it cannot check
        parameters = {**parameters, "strict": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind(**parameters)
    except Exception as error:  # whatever the library raises
        raise ConfigError(f"{where}: {_line(error)}") from None


def _line(error: Exception) -> str:
    """What an error says, on one line; of an error of pydantic its reasons by parameter."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return " ".join(str(error).split()) or type(error).__name__
    reasons: dict[str, list[str]] = {}
    for problem in cause.errors():
        text = problem["msg"].removeprefix("Value error, ")
        parameter = str(problem["loc"][0]) if problem["loc"] else ""
        reasons.setdefault(parameter, []).append(re.sub(r"^[A-Z](?=[a-z])", lambda first: first[0].lower(), text))
    return "; ".join(
        f"{parameter}: {' or '.join(dict.fromkeys(texts))}" if parameter else texts[0]
        for parameter, texts in reasons.items()
    )


def _sides(pixels: Any) -> str:
    return "×".join(str(side) for side in pixels.shape[:2])
