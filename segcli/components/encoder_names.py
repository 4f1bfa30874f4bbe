"""The names of encoders, read out of the libraries' sources: importing the libraries takes seconds."""

import re
from importlib.util import find_spec
from pathlib import Path

_OWN = re.compile(r'^    "([\w.+-]+)": \{', re.MULTILINE)
_TIMMS = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)


def own_encoders() -> set[str]:
    """The encoders of smp itself."""
    return {name for name in _found("segmentation_models_pytorch", "encoders", _OWN) if not name.startswith("timm-")}


def timm_models() -> set[str]:
    """All models of timm, with and without features."""
    return _found("timm", "models", _TIMMS)


def is_plainly_known(name: str) -> bool:
    """Whether a name stands in the sources as it is; other spellings are for `resolve_encoder` to judge."""
    return name in own_encoders() or name.removeprefix("tu-").partition(".")[0] in timm_models()


def _found(package: str, folder: str, pattern: re.Pattern[str]) -> set[str]:
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    files = [file for place in places or () for file in (Path(place) / folder).glob("*.py")]
    return {name for file in files for name in pattern.findall(file.read_text(encoding="utf-8"))}
