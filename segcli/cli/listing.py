"""seg list: what a config may choose from."""

from typing import Annotated

import typer

from segcli.cli import options, render


def list_kind(
    kind: Annotated[
        str,
        typer.Argument(help="architectures, encoders, weights, losses, optimizers, schedulers or augmentations."),
    ],
    pattern: Annotated[
        str, typer.Argument(help="Part of the name, or a pattern with *; for weights the encoder.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """List what a config may choose from."""
    from segcli.components.catalogue import FEW, entries

    found = entries(kind, pattern)
    if as_json:
        render.as_json([{"name": entry.name, **entry.facts} for entry in found])
        return
    render.entries_table(found)
    if kind == "encoders" and len(found) > FEW:
        render.note(f"{len(found)} encoders; with a pattern that leaves {FEW}, parameters and strides are shown")
