"""Shows a plan: its choices with their reasons."""

from typing import TYPE_CHECKING, Any

from segcli.cli import render
from segcli.cli.render_table import show_table

if TYPE_CHECKING:
    from segcli.engine.planning.plan import Plan


_WIDE = 110
"""Columns of a terminal where a value has room beside its reason."""

_NOTHING = {"val.image_size": "native", "early_stopping": "never"}
"""What `null` means."""


def plan_table(plan: "Plan") -> None:
    """The choices, what speaks against trusting them, and how long the training is to take."""
    console = render.console_on(stderr=False)
    table = render.new_table(f"{plan.figures.name}: {plan.choices[0].why}")
    table.add_column("choice")
    if console.width >= _WIDE:
        table.add_column("value", overflow="fold")
    table.add_column("why", overflow="fold")
    for choice in plan.choices[1:]:
        value = _NOTHING.get(choice.key, "none") if choice.value is None else _short(choice.value)
        key, value, why = map(render.escape, (choice.key, value, choice.why))
        table.add_row(key, value, why) if console.width >= _WIDE else table.add_row(f"{key}\n  {value}", why)
    show_table(table, console)
    for doubt in plan.doubts:
        render.note(f"doubt: {doubt}")
    given = f" of the {render.duration(plan.budget)} given" if plan.budget is not None else ""
    render.note(
        f"the training is to take {render.duration(plan.seconds)}{given} here: {plan.steps:,} steps of "
        f"{plan.pace.step:.2f} s, and validations"
    )


def _short(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict):
        name = value.get("name", "")
        rest = {key: item for key, item in value.items() if key != "name"}
        terms = rest.pop("terms", None)
        if terms is not None:
            return " + ".join(_short(term) for term in terms)
        inner = ", ".join(f"{key} {_short(item)}" for key, item in rest.items())
        return f"{name} ({inner})" if name and inner else name or inner
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
