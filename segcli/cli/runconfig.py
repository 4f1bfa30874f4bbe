"""seg config: the resolved config, and its schema for editors."""

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli import render

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show configs and their schema.")


@app.callback()
def _group() -> None:
    """Show configs and their schema."""


@app.command("show")
def show(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value.")] = None,
) -> None:
    """Print a config with every default filled in."""
    from segcli.config import load_config

    render.out(load_config(config, overrides or []).to_yaml().rstrip())


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a config."""
    from segcli.config import config_schema

    render.out(config_schema())


@app.command("reference")
def reference() -> None:
    """Print every key of a config with its default, as Markdown."""
    from segcli.cli.config_reference import config_reference

    render.out(config_reference().rstrip())
