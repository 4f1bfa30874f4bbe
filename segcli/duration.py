"""Times as people write them."""

import re

_UNITS = {"h": 3600, "m": 60, "s": 1}


def parse_duration(text: str) -> float:
    """The seconds in `30m`, `2h` or `1h30m`.

    Raises:
        ValueError: if it is no time.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(map("".join, parts)) != text.replace(" ", ""):
        raise ValueError("expected a time such as 30m, 2h or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
