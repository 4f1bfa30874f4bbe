"""Help, its reference in docs/, and completion: what stands there, how soon, and that it is true."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from segcli.cli import choices, help, recipes
from segcli.cli.app import app
from segcli.cli.command_reference import command_reference

Seg = Callable[..., Result]
ROOT = Path(__file__).parents[2]
NEW = "write it anew: seg config commands > docs/cli.md"


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(group, "commands", {}).items():
        yield (*path, name), inner
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))
PLAIN = {path: command for path, command in COMMANDS.items() if not hasattr(command, "commands")}


def options_of(command: Any) -> list[Any]:
    return [item for item in command.params if item.name != "help"]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_page_shows_summary_options_and_examples(seg: Seg, path: tuple[str, ...]) -> None:
    """Each is a sentence that the page shows whole, in a group that says what the option is about."""
    command = COMMANDS[path]
    assert isinstance(command, help.SegCommand | help.SegSubgroup), "made by help.Commands, so that its page is ours"
    shown = " ".join(seg(*path, "--help").stdout.split())
    summary = " ".join(command.help.split())
    assert summary.endswith(".") and summary in shown
    if path in PLAIN:
        assert help.examples_of(command), "has examples: epilog=help.examples(…)"
    for item in options_of(command):
        assert item.rich_help_panel in help.GROUPS, f"{item.name}: rich_help_panel=help.READS, WRITES or COMPUTES"
        explained = help.EXPLAINED_BY.get(item.rich_help_panel)
        name = max(item.opts, key=len) if item.param_type_name == "option" else item.metavar.strip("[]…")
        assert name in shown
        words = " ".join(item.help.split())
        assert len(words) > 8
        assert words in shown or (explained is not None and explained != f"seg {' '.join(path)}"), item.name


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
@pytest.mark.parametrize("width", ["80", "200"])
def test_no_page_shows_types_of_python_or_is_cut(
    seg: Seg, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    result = seg(*path, "--help")
    assert result.exit_code == 0
    assert not re.search(r"<\w+|list\[|\[\[|\]\.\.\.|\}\.\.\.|x>=|\.\.\.$|\bNone\b", result.stdout, re.MULTILINE)
    typed = [line for line in result.stdout.splitlines() if not line.strip().startswith("seg ")]
    assert max(map(len, typed)) <= min(int(width), 120)


def words_of(example: str) -> list[str]:
    return re.split(r"\s[>#]|  #", example)[0].split()


@pytest.mark.parametrize("path", PLAIN, ids=" ".join)
def test_every_example_is_read_by_the_parser(path: tuple[str, ...]) -> None:
    for example in help.examples_of(PLAIN[path]):
        words = words_of(example)
        assert words[: len(path) + 1] == ["seg", *(("eval",) if path == ("val",) else path)]
        context = PLAIN[path].make_context(path[-1], words[len(path) + 1 :])
        assert not context.args, example


def test_the_reference_of_the_command_line_is_current() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert text == command_reference(), NEW
    assert all(f"## `seg {' '.join(path)}`" in text for path, command in COMMANDS.items() if not command.hidden)


def test_what_reads_a_plain_folder_is_explained_once() -> None:
    text = command_reference()
    assert text.count("Images whose names give the same match") == 1
    assert text.count("How a plain folder is read (see `seg dataset prepare --help`)") == 3  # check, stats and init


def test_the_names_on_offer_are_those_that_there_are() -> None:
    from segcli.components.catalogue import KINDS
    from segcli.datasets.dataset import SPLITS
    from segcli.datasets.layouts.known import LAYOUTS
    from segcli.engine.export.targets import TARGETS
    from segcli.engine.planning.rules import DOMAINS
    from segcli.engine.prediction.tta import POLICIES

    assert set(choices.LAYOUTS) == LAYOUTS.keys()
    assert choices.SPLITS == SPLITS
    assert choices.DOMAINS == DOMAINS
    assert list(choices.TARGETS) == [target.name for target in TARGETS]
    assert list(choices.POLICIES) == list(POLICIES)
    assert set(choices.VARIANTS) == {variant for layout in LAYOUTS.values() for variant in layout.variants}
    assert set(choices.KINDS) == {*KINDS, "layouts", "recipes", "targets", "runs"}
    assert recipes.names() == sorted(path.stem for path in (ROOT / "configs").glob("*.yml"))


def complete(shell: str, *words: str) -> list[str]:
    """What a shell offers for the last of some words."""
    line = " ".join(["seg", *words])
    variables = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words))},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = {"_SEG_COMPLETE": f"complete_{shell}", **variables}
    return re.findall(r"[^\s\"()']+", CliRunner().invoke(app, [], env=environment).stdout)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["da"], "dataset"),
        (["train", "--de"], "--devices"),
        (["dataset", "prepare", "cam"], "camvid"),
        (["dataset", "check", "x", "--layout", "vo"], "voc"),
        (["dataset", "stats", "data/t"], "data/tiny"),
        (["config", "recipe", "quick"], "quickstart"),
        (["export", "on"], "onnx"),
        (["eval", "-m", "ti"], "tiny"),
        (["eval", "-m", "runs/t"], "runs/tiny"),
        (["train", "--resume", "ti"], "tiny"),
        (["eval", "--split", "te"], "test"),
        (["train", "x.yml", "--set", "train.epo"], "train.epochs="),
        (
            ["train", "x.yml", "--set", "train.epochs"],
            "train.epochs=50",
        ),  # of two, which begin alike, shells stop at `=`
        (["train", "x.yml", "--set", "loss.na"], "loss.name="),
        (["list", "rec"], "recipes"),
        (["predict", "--precision", "bf"], "bf16"),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes(seg: Seg, tmp_path: Path, shell: str, words: list[str], offered: str) -> None:
    (tmp_path / "runs/tiny/best").mkdir(parents=True)
    (tmp_path / "runs/tiny/config.yml").touch()
    (tmp_path / "runs/tiny/best/segcli.json").touch()
    (tmp_path / "data/tiny").mkdir(parents=True)
    (tmp_path / "data/tiny/dataset.yml").touch()
    assert offered in complete(shell, *words)


HEAVY = ("torch", "timm", "albumentations", "cv2", "onnx", "onnxruntime", "numpy", "matplotlib", "rich.markdown")


@pytest.mark.parametrize(
    ("arguments", "completing"),
    [
        (["--help"], ""),
        (["train", "--help"], ""),
        (["train", "-c", "missing.yml"], ""),
        (["trian"], ""),
        (["config", "schema"], ""),
        (["config", "recipe", "voc"], ""),
        ([], "seg dataset prepare v"),
        ([], "seg train x --set t"),
    ],
)
def test_help_errors_and_completion_import_nothing_heavy(arguments: list[str], completing: str) -> None:
    code = (
        "import sys, contextlib, io\nfrom segcli.cli.app import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        f"    try: main({arguments!r})\n    except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    completion = {"_SEG_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": completing} if completing else {}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **completion}
    )
    assert done.stdout.strip() == "[]"


def test_lists_are_tables_or_json(seg: Seg, tmp_path: Path) -> None:
    assert "Cityscapes, 19 classes" in seg("list", "recipes").stdout
    assert {"name": "onnx"}.items() <= json.loads(seg("list", "targets", "onn", "--json").stdout)[0].items()
    assert [entry["name"] for entry in json.loads(seg("list", "layouts", "co*", "--json").stdout)] == [
        "coco",
        "coco_stuff",
    ]
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "config.yml").write_text(
        "dataset: {root: data/x}\nmodel_name: Unet\nencoder: resnet18\ntrain: {epochs: 5}\n"
    )
    (run / "results.csv").write_text("epoch,val_miou\n1,0.25\n2,\n3,0.5\n")
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.yml").write_text("[")
    expected = {"name": "a", "epochs": "3/5", "val mIoU": "0.5000", "network": "Unet, resnet18", "data": "data/x"}
    assert json.loads(seg("runs", "--json").stdout) == json.loads(seg("list", "runs", "--json").stdout) == [expected]
