"""seg config: the resolved config, the recipes, and what a config may hold."""

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli import complete, help, options, recipes, render
from segcli.errors import UsageError

app = help.Commands("Show and write configs, and say what they may hold.")


@app.command(
    "show",
    epilog=help.examples(
        "seg config show mine.yml  # with all defaults filled in",
        "seg config show mine.yml --set train.epochs=3",
    ),
)
def show(
    config: options.Config = None,
    named: options.NamedConfig = None,
    overrides: options.Overrides = None,
) -> None:
    """Print a config with every default filled in."""
    from segcli.config import load_config

    path = options.find_config(config, named, "seg config show")
    render.out(load_config(path, overrides or []).to_yaml().rstrip())


@app.command(
    "recipe",
    epilog=help.examples(
        "seg config recipe voc -o configs/voc.yml",
        "seg config recipe folder --data data/mine -o mine.yml  # for a dataset of your own",
        "seg config recipe quickstart  # printed",
    ),
)
def recipe(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            rich_help_panel=help.READS,
            autocompletion=complete.recipe_names,
            help="The recipe; `seg list recipes` shows them.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            metavar="DIR",
            rich_help_panel=help.READS,
            autocompletion=complete.datasets,
            help="The prepared dataset that it is for. [default: the recipe's own]",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", rich_help_panel=help.WRITES, help="Where to write. [default: printed]"
        ),
    ] = None,
) -> None:
    """Print or write a recipe: a config that is made for a dataset."""
    from segcli.io.files import write_text

    text = recipes.text(name, data)
    if output is None:
        render.out(text.rstrip())
        return
    if output.exists():
        raise UsageError(f"{output} is there already; name another file with -o")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, text)
    render.files([output])
    render.next_steps(f"seg train -c {render.command_path(output)}")


@app.command("schema", epilog=help.examples("seg config schema > seg.schema.json  # for an editor"))
def schema() -> None:
    """Print the JSON Schema of a config."""
    from segcli.config import config_schema

    render.out(config_schema())


@app.command("reference", epilog=help.examples("seg config reference > docs/config.md"))
def reference() -> None:
    """Print every key of a config with its default, as Markdown."""
    from segcli.cli.config_reference import config_reference

    render.out(config_reference().rstrip())


@app.command("commands", epilog=help.examples("seg config commands > docs/cli.md"))
def commands() -> None:
    """Print the help of every command, as Markdown."""
    from segcli.cli.command_reference import command_reference

    render.out(command_reference().rstrip())
