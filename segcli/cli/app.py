"""The `seg` command: its subcommands, and how errors and interruptions end it."""

import errno
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

import segcli
from segcli.cli import (
    bench,
    dataset,
    evaluate,
    export,
    help,
    init,
    listing,
    predict,
    render,
    runconfig,
    train,
    tta,
    visualize,
)
from segcli.cli.interruption import Terminated
from segcli.errors import SegError

_DEBUG = "--debug"


class SegGroup(help.SegSubgroup):
    """Turns the errors that a user can cause into one line and an exit code."""

    def main(self, args: Iterable[str] | None = None, **settings: Any) -> Any:  # type: ignore[override]
        """Runs a command line and ends the process."""
        given = train.with_resume_value(sys.argv[1:] if args is None else list(args))
        arguments = [word for word in given if word != _DEBUG]  # which may stand anywhere
        settings = {**settings, "prog_name": "seg", "standalone_mode": False, "obj": arguments}
        try:
            code = super().main(args=arguments, **settings)
        except typer.TyperException as error:
            if _DEBUG in given:
                raise
            from segcli.cli import corrections

            problem = corrections.of_parser(error, arguments)
            render.error(problem)
            sys.exit(problem.exit_code)
        except SegError as error:
            if _DEBUG in given:
                raise
            from segcli.cli import corrections

            render.error(corrections.with_line(error, arguments))
            sys.exit(error.exit_code)
        except OSError as error:
            if _DEBUG in given or error.errno == errno.EPIPE:
                raise
            render.error(SegError(f"{error.filename or 'a file'}: {error.strerror or error}"))
            sys.exit(1)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if _DEBUG in given or package in {"", "segcli"}:
                raise
            what = "what is here can use exported files only. Everything else: pip install segcli"
            render.error(SegError(f"{package} is not installed; {what}"))
            sys.exit(1)
        except Terminated:
            render.note("terminated")
            sys.exit(143)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            render.note("interrupted")
            raise typer.Exit(130) from None


app = help.Commands(
    "Semantic segmentation from one YAML file: prepare, train, evaluate, predict, export.",
    cls=SegGroup,
    name="seg",
    epilog=help.examples(
        "seg train -c configs/quickstart.yml  # a trained model in a minute, without data or GPU",
        "seg dataset prepare my_data  # your own images and masks",
        "seg predict --tta images/  # with the newest model",
    ),
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"segcli {segcli.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error; may stand anywhere.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


app.add_typer(dataset.app, name="dataset", rich_help_panel=help.DATA)
app.command("init", rich_help_panel=help.DATA, epilog=init.EXAMPLES)(init.init)
app.command("train", rich_help_panel=help.MODELS, epilog=train.EXAMPLES)(train.train)
app.command("eval", rich_help_panel=help.MODELS, epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("val", hidden=True, epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("tta", rich_help_panel=help.MODELS, epilog=tta.EXAMPLES)(tta.tta)
app.command("predict", rich_help_panel=help.USE, epilog=predict.EXAMPLES)(predict.predict)
app.command("visualize", rich_help_panel=help.USE, epilog=visualize.EXAMPLES)(visualize.visualize)
app.command("export", rich_help_panel=help.USE, epilog=export.EXAMPLES)(export.export)
app.command("bench", rich_help_panel=help.USE, epilog=bench.EXAMPLES)(bench.bench)
app.command("list", rich_help_panel=help.ABOUT, epilog=listing.EXAMPLES)(listing.list_kind)
app.command("runs", rich_help_panel=help.ABOUT, epilog=listing.RUNS_EXAMPLES)(listing.runs)
app.add_typer(runconfig.app, name="config", rich_help_panel=help.ABOUT)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process."""
    # Looking for plugins of pydantic, which we have none of, takes a tenth of the start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    signal.signal(signal.SIGTERM, _terminate)
    app(arguments)


def _terminate(number: int, frame: object) -> None:
    raise Terminated
