"""seg list and seg runs: what a config may choose from, and what is here."""

from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import choices, complete, help, options, recipes, render
from segcli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from segcli.components.catalogue import Entry

EXAMPLES = help.examples(
    "seg list encoders resnet",
    "seg list weights resnet50  # what an encoder may start from",
    "seg list layouts",
)
RUNS_EXAMPLES = help.examples("seg runs", "seg runs --json")


def list_kind(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            rich_help_panel=help.READS,
            autocompletion=complete.kinds,
            help=f"{', '.join(choices.KINDS[:-1])} or {choices.KINDS[-1]}.",
        ),
    ],
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN",
            rich_help_panel=help.READS,
            help="Part of the name, or a pattern with *; for weights the encoder.",
        ),
    ] = "",
    as_json: options.Json = False,
) -> None:
    """List what a command or a config may choose from."""
    with render.starting():
        found = _entries(kind, pattern)
    if as_json:
        render.as_json([{"name": entry.name, **entry.facts} for entry in found])
        return
    render.entries_table(found)
    from segcli.components.catalogue import FEW

    if kind == "encoders" and len(found) > FEW:
        render.note(f"{len(found)} encoders; with a pattern that leaves {FEW}, parameters and strides are shown")


def runs(as_json: options.Json = False) -> None:
    """List the runs in runs/, the newest first: how far each came, and how well."""
    found = _runs()
    if as_json:
        render.as_json([{"name": entry.name, **entry.facts} for entry in found])
        return
    if not found:
        raise UsageError("runs holds no run; start one with `seg train -c CONFIG`")
    render.entries_table(found)


def _entries(kind: str, pattern: str) -> "list[Entry]":
    if kind not in choices.KINDS:
        raise UsageError(f"unknown kind {kind!r}; {did_you_mean(kind, choices.KINDS)}")
    from segcli.components.catalogue import entries, matches

    here = {"layouts": _layouts, "recipes": _recipes, "targets": _targets, "runs": _runs}
    if kind not in here:
        return entries(kind, pattern)
    found = [entry for entry in here[kind]() if matches(entry.name, pattern)]
    if not found:
        raise UsageError(
            f"no {kind} match {pattern!r}; `seg list {kind}` shows what there is" if pattern else f"no {kind}"
        )
    return found


def _layouts() -> "list[Entry]":
    from segcli.components.catalogue import Entry
    from segcli.datasets.download.catalogue import can_be_fetched
    from segcli.datasets.layouts.known import LAYOUTS

    return [
        Entry(
            name,
            {
                "classes and splits": "yours" if layout.open else "its own",
                "downloaded": "yes" if can_be_fetched(name) or not layout.needs_folder else "no",
                "variants": ", ".join(layout.variants),
            },
        )
        for name, layout in sorted(LAYOUTS.items())
    ]


def _recipes() -> "list[Entry]":
    from segcli.components.catalogue import Entry

    return [Entry(name, {"what for": recipes.summary(name)}) for name in recipes.names()]


def _targets() -> "list[Entry]":
    from segcli.components.catalogue import Entry
    from segcli.engine.export.targets import TARGETS

    return [Entry(target.name, {"what it is": target.summary}) for target in TARGETS]


def _runs() -> "list[Entry]":
    from segcli.components.catalogue import Entry
    from segcli.io.rundir import list_runs

    return [
        Entry(
            run.path.name,
            {
                "epochs": f"{run.epochs_done}/{run.epochs or '–'}",
                "val mIoU": "–" if run.best is None else f"{run.best:.4f}",
                "network": run.network,
                "data": run.data,
            },
        )
        for run in list_runs()
    ]
