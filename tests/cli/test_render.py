"""What is shown besides results: signs of life, in time and on terminals only, in colours for every background."""

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import yaml
from conftest import write_pairs

from segcli.cli import render, render_data, render_training
from segcli.datasets.check.report import check
from segcli.datasets.layouts.base import Options
from segcli.datasets.open import open_source
from segcli.datasets.prepared.write import prepare
from segcli.engine.training.events import EpochEnded, Said, Started
from segcli.errors import SegError
from segcli.io.card import Inference, ModelCard
from segcli.parallel import silent
from segcli.task import Task

COMMANDS = [
    "train typo.yml", "train typo.yml --dry-run", "train mine.yml", "train mine.yml --dry-run", "train --resume mine",
    "eval", "predict images/000.png", "tta", "visualize", "visualize images/000.png", "visualize --augmented",
    "export onnx", "init data/mine -o new.yml", "list encoders resnet",
]  # fmt: skip

WATCHED = """
import io, sys

class Terminal(io.StringIO):
    def isatty(self): return True

class Heavy(BaseException): pass

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "timm", "albumentations", "segmentation_models_pytorch"): raise Heavy

from segcli.cli.app import main
sys.meta_path.insert(0, Watch())
for line in %r:
    sys.stdout, sys.stderr = Terminal(), Terminal()
    try: main(line.split())
    except (Heavy, SystemExit) as reason: end, shown = repr(reason), sys.stderr.getvalue()
    print(line, "|", end, "|", ascii(shown), file=sys.__stdout__)
"""


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Lets a test write to a terminal; no fixture, since pytest's own capture begins behind those."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def test_something_is_shown_before_what_takes_seconds_is_imported(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3)
    prepare(open_source(tmp_path), tmp_path / "data" / "mine")
    for name, encoder in (("mine", "resnet18"), ("typo", "resnt18"), ("runs/mine/config", "resnet18")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump({"dataset": {"root": "data/mine"}, "encoder": encoder}))
    (tmp_path / "runs/mine/best").mkdir()
    card = ModelCard(Task.of("abc"), "Unet", "resnet18", (0, 0, 0), (1, 1, 1), Inference("native", None))
    (tmp_path / "runs/mine/best/segcli.json").write_text(card.to_json())
    done = subprocess.run(
        [sys.executable, "-c", WATCHED % COMMANDS], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    for line in done.stdout.splitlines():
        command, end, shown = line.split(" | ")
        assert end == "Heavy()", line
        assert re.search(r"(starting|working) \\u2026", shown), command
    assert len(done.stdout.splitlines()) == len(COMMANDS)


def test_signs_of_life_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)

    def work() -> None:
        with render.starting(), render.progress() as progress:
            progress("reading", 1, 2)

    work()
    assert all(words in terminal.getvalue() for words in ("starting …", "reading", "1/2"))
    piped = StringIO()
    monkeypatch.setattr(sys, "stderr", piped)
    work()
    assert piped.getvalue() == ""
    of_another_process = on_terminal(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    with render.starting():
        assert of_another_process.getvalue() == ""


def test_colours_can_be_read_on_light_and_dark_backgrounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No yellow, white or pale colours, which vanish on white, no black, and nothing dim."""
    terminal = on_terminal(monkeypatch)
    write_pairs(tmp_path, 4)
    (tmp_path / "masks" / "000.png").unlink()
    render.note("remark")
    render.next_steps("seg eval")
    render.error(SegError("wrong"))
    with render.progress() as progress:
        progress("reading", 1, 2)
    with render_training.training() as view:
        view(Started(tmp_path, Task.of("ab"), {"data": "d"}, 1, 1, 2))
        view(Said("remark"))
        view(EpochEnded({"epoch": 1, "step": 1}, True, None))
    render_data.check_report(check(open_source(tmp_path, None, Options()), Options(), silent))
    set_by = re.findall(r"\x1b\[([\d;]+)m", terminal.getvalue())
    codes = {int(code) for part in set_by if "8;5;" not in part for code in part.split(";")}
    assert {1, 31, 32, 35} <= codes
    assert not codes & {2, 30, 33, 37, *range(90, 98)}
    assert "remark" in terminal.getvalue()


def test_errors_wrap_between_words_and_commands_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "40")
    command = "seg dataset check data/a-long-name/of-a-folder --layout folder"
    message = f"data/a-long-name/of-a-foldr: no such folder, nor anything else of that name; try: {command}"
    render.error(SegError(message))
    render.error(SegError(f"data/x is not there\nMake it:\n{command}"))
    render.next_steps(command)
    lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    assert lines[:3] == ["error: data/a-long-name/of-a-foldr: no", "such folder, nor anything else of that", "name;"]
    assert lines[3:] == [f"try: {command}", "error: data/x is not there", "Make it:", command, "next:", f"  {command}"]
    piped = StringIO()
    monkeypatch.setattr(sys, "stderr", piped)
    render.error(SegError(message))
    assert piped.getvalue() == f"error: {message}\n"


def test_no_color_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    render.note("remark")
    render.error(SegError("wrong"))
    with render.progress() as progress:
        progress("reading", 1, 2)
    assert not re.search(r"\x1b\[[\d;]*3[0-8][\d;]*m", terminal.getvalue())
