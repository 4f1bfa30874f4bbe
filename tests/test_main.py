"""How the process of a command ends."""

import subprocess
import sys

import pytest

# A command that registers something to be told of the end, in a process that holds what Python would take apart then.
PROGRAM = """
import atexit, sys
from segcli.cli import app

class Held:
    def __del__(self): print("taken apart", file=sys.stderr)

def main(command=app.main):
    atexit.register(lambda: print("told"))
    command()

held, app.main = Held(), main
sys.argv = ["seg", *sys.argv[1:]]
from segcli.__main__ import run
run()
"""


@pytest.mark.parametrize(
    "words, code, said", [(["--version"], 0, "segcli"), (["predict", "no.jpg"], 2, ""), (["config", "schema"], 0, "{")]
)
def test_a_command_ends_with_its_code_and_at_once(words: list[str], code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.startswith(said)
    assert done.stdout.endswith("told\n")
    assert "taken apart" not in done.stderr


def test_a_traceback_ends_as_python_ends_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "predict", "no.jpg", "--debug"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "UsageError" in done.stderr
    assert done.stdout == "told\n"
