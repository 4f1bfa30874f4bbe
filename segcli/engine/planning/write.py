"""Writes a plan as a config in which every choice stands beside the figure that led to it."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from segcli.engine.planning.plan import Plan
from segcli.engine.planning.rules import Choice
from segcli.io.files import replacing

_WIDTH = 100
_ORDER = (
    "dataset", "device", "model_name", "encoder", "encoder_weights", "train", "val", "augmentation", "loss",
    "optimizer", "scheduler", "ema", "early_stopping", "checkpoint",
)  # fmt: skip


def write_plan(plan: Plan, path: Path, command: str) -> None:
    """Writes a plan's config.

    Args:
        plan: what was chosen.
        path: the YAML file.
        command: that made it.
    """
    with replacing(path) as staged:
        staged.write_text(plan_text(plan, command), encoding="utf-8")


def plan_text(plan: Plan, command: str) -> str:
    """The config of a plan as YAML with comments."""
    lines = list(_comment(f"Made by `{command}`. Change what you know better; `seg config show` shows all there is."))
    lines += [line for doubt in plan.doubts for line in _comment(f"Doubt: {doubt}.")]
    sections = {name: list(group) for name, group in groupby(sorted(plan.choices, key=_place), key=_section)}
    for name, choices in sections.items():
        lines += ["", *_section_lines(name, choices)]
    return "\n".join(lines) + "\n"


def _section(choice: Choice) -> str:
    return choice.key.partition(".")[0]


def _place(choice: Choice) -> int:
    return _ORDER.index(_section(choice))


def _section_lines(name: str, choices: Sequence[Choice]) -> Iterator[str]:
    for choice in choices if choices[0].key == name else ():
        yield from _comment(choice.why)
        yield from _value(name, choice.value)
    if choices[0].key != name:
        yield f"{name}:"
        for choice in choices:
            yield from ("  " + line for line in _comment(choice.why))
            yield from ("  " + line for line in _value(choice.key.partition(".")[2], choice.value))


def _comment(text: str) -> Iterator[str]:
    return ("# " + line for line in textwrap.wrap(text, _WIDTH))


def _value(key: str, value: Any) -> Iterator[str]:
    """`key: value`, a mapping or a list in one line where it fits."""
    flow = yaml.safe_dump({key: value}, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    line = flow.strip()[1:-1]
    if len(line) <= _WIDTH:
        return iter([line])
    block = yaml.safe_dump({key: value}, default_flow_style=None, width=_WIDTH, sort_keys=False, allow_unicode=True)
    return iter(block.rstrip().splitlines())
