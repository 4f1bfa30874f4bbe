"""The `seg` command: its subcommands, and how errors and interruptions end it."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import segcli
from segcli.cli import dataset, evaluate, export, init, listing, predict, render, runconfig, train, tta, visualize
from segcli.cli.interruption import Terminated
from segcli.errors import SegError


class SegGroup(TyperGroup):
    """Turns the errors that a user can cause into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except SegError as error:
            if ctx.params.get("debug"):
                raise
            render.error(error)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if ctx.params.get("debug") or error.errno == errno.EPIPE:
                raise
            render.error(SegError(f"{error.filename or 'a file'}: {error.strerror or error}"))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            render.note("interrupted")
            raise typer.Exit(130) from None
        except Terminated:
            render.note("terminated")
            raise typer.Exit(143) from None


app = typer.Typer(
    name="seg",
    cls=SegGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Semantic segmentation from one YAML file: prepare, train, evaluate, predict, export.",
    epilog="Start here: seg train -c configs/quickstart.yml",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"segcli {segcli.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


app.add_typer(dataset.app, name="dataset")
app.command("init")(init.init)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("val", hidden=True)(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("visualize")(visualize.visualize)
app.add_typer(export.app, name="export")
app.command("tta")(tta.tta)
app.command("list")(listing.list_kind)
app.add_typer(runconfig.app, name="config")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process."""
    # Looking for plugins of pydantic, which we have none of, takes a tenth of the start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    signal.signal(signal.SIGTERM, _terminate)
    app(train.with_resume_value(sys.argv[1:] if arguments is None else list(arguments)))


def _terminate(number: int, frame: object) -> None:
    raise Terminated
