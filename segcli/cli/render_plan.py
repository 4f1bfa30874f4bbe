"""Shows a plan: its choices with their reasons."""

from typing import TYPE_CHECKING, Any

from segcli.cli import render

if TYPE_CHECKING:
    from segcli.engine.planning.plan import Plan


def plan_table(plan: "Plan") -> None:
    """The choices, what speaks against trusting them, and how long the training is to take."""
    table = render.new_table(f"{plan.figures.name}: {plan.choices[0].why}")
    table.add_column("choice", no_wrap=True)
    table.add_column("value", overflow="fold", max_width=44)
    table.add_column("why")
    for choice in plan.choices[1:]:
        table.add_row(render.escape(choice.key), render.escape(_short(choice.value)), render.escape(choice.why))
    render.console_on(stderr=False).print(table)
    for doubt in plan.doubts:
        render.note(f"doubt: {doubt}")
    given = f" of the {render.duration(plan.budget)} given" if plan.budget is not None else ""
    render.note(
        f"the training is to take {render.duration(plan.seconds)}{given} here: {plan.steps:,} steps of "
        f"{plan.speed.step:.2f} s, and validations"
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
    return "native" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
