"""The reference of the command line, made from the commands' own help."""

from collections.abc import Iterator
from typing import Any

import typer

from segcli.cli import help

_HEAD = """\
# The command line

What was asked for goes to stdout; progress, remarks and the next steps go to stderr. `--json` prints one object and
nothing else. Exit codes: 0 done, 1 failed, 2 wrong usage or config, 130 interrupted, 143 terminated. An error is one
line with what was wrong and, where that can be known, the right command behind `try:`; `--debug`, anywhere in the
line, shows its traceback.

**MODEL** (`-m`) is a run (`runs/camvid`), a bundle (`runs/camvid/best`) or an exported file (`model.onnx`). Where it
is left out, the best bundle of the newest run serves, and the command says which.

**DATASET** (`-d`) is a prepared folder, or a folder with `images/` and `masks/`. Where it is left out, the dataset
that the model was trained on serves.

`seg --install-completion` lets the shell complete commands, options, layouts, recipes, targets, runs, splits and the
keys of `--set`; start a new shell behind it.
"""
_WIDTH = 100


def command_reference() -> str:
    """Markdown with the page of help of each command."""
    from segcli.cli.app import app

    root = typer.main.get_command(app)
    return "\n".join([_HEAD, *_sections(root, root.make_context("seg", [], resilient_parsing=True))])


def _sections(command: Any, ctx: Any) -> Iterator[str]:
    yield f"## `{ctx.command_path}`\n\n```text\n{help.page(command, ctx, _WIDTH)}```\n"
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _sections(inner, inner.make_context(name, [], parent=ctx, resilient_parsing=True))
