"""The isolated environment, made by a uv that only pretends to."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from segcli.engine.isolated.environment import REQUIREMENTS, find_uv, isolated_environment
from segcli.errors import SegError

UV = """#!/bin/sh
echo "$@" >> "$LOG"
if [ "$1" = venv ]; then
  for last; do :; done
  mkdir -p "$last/bin" && ln -sf "$PYTHON" "$last/bin/python"
elif [ -n "$UV_SAYS" ]; then
  printf "$UV_SAYS" >&2
  exit 1
else
  echo " Downloaded torch" >&2
fi
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Puts the pretender first on the path, and gives what it has been asked so far."""
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text(UV)
    uv.chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("PYTHON", sys.executable)
    return lambda: [line.split()[0] for line in log.read_text().splitlines()]


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text("# chosen\ntorch==1.0\njax==1.0\n")
    return path


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "environments").iterdir() if path.is_dir())


def test_it_is_made_once_and_tells_what_is_fetched(
    calls: Callable[[], list[str]], requirements: Path, own_cache: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    environment = isolated_environment(lambda *news: told.append(news), requirements=requirements)
    assert calls() == ["venv", "pip"]
    assert [news[1:] for news in told] == [(0, 2), (1, 2), (2, 2)]
    assert {news[0] for news in told} == {"making the TensorFlow environment (about 8 GB, once)"}
    assert subprocess.run([environment.python, "-c", "print(1)"], capture_output=True, text=True).stdout == "1\n"
    assert isolated_environment(requirements=requirements) == environment
    assert calls() == ["venv", "pip"]
    assert folders(own_cache) == ["tensorflow"]


@pytest.mark.parametrize("damage", ["half-made", "no Python", "another Python", "other versions", "a package is gone"])
def test_one_that_is_not_whole_is_made_anew(
    damage: str, calls: Callable[[], list[str]], requirements: Path, own_cache: Path
) -> None:
    environment = isolated_environment(requirements=requirements)
    (environment.folder / "old").touch()
    if damage == "half-made":
        environment.folder.rename(environment.folder.with_name(".tensorflow.killed"))
    elif damage == "other versions":
        requirements.write_text("torch==2.0\n")
    elif damage == "a package is gone":
        environment.discard()
    else:
        environment.python.unlink()
        if damage == "another Python":
            environment.python.write_text("#!/bin/sh\necho 3.9\n")
            environment.python.chmod(0o755)
    again = isolated_environment(requirements=requirements)
    assert calls() == ["venv", "pip"] * 2
    assert folders(own_cache) == ["tensorflow"]
    assert not (again.folder / "old").exists()


def test_a_failure_leaves_nothing_half_made_and_gives_the_reason(
    calls: Callable[[], list[str]], requirements: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_SAYS", "Downloading torch\nerror: Failed to fetch\n  cause: No space left on device\n")
    with pytest.raises(SegError, match=r"^uv could not make .*: Failed to fetch No space left on device$"):
        isolated_environment(requirements=requirements)
    assert folders(own_cache) == []
    monkeypatch.delenv("UV_SAYS")
    isolated_environment(requirements=requirements)
    assert folders(own_cache) == ["tensorflow"]


def test_without_a_network_it_says_what_is_missing_and_how_to_get_it(
    calls: Callable[[], list[str]], requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_SAYS", "error: No solution\n  cause: torch was not found in the cache\nhint: disabled\n")
    with pytest.raises(SegError, match=r"torch was not found in the cache.*Run the command once without --offline"):
        isolated_environment(offline=True, requirements=requirements)
    assert all("--offline" in line for line in (tmp_path / "log").read_text().splitlines())


def test_the_second_of_two_waits_and_takes_what_the_first_made(
    calls: Callable[[], list[str]], requirements: Path, own_cache: Path
) -> None:
    (own_cache / "environments").mkdir()
    told: list[str] = []
    waiting = threading.Event()

    def tell(what: str, done: int, total: int) -> None:
        told.append(what)
        waiting.set()

    second = threading.Thread(target=isolated_environment, args=(tell,), kwargs={"requirements": requirements})
    lock = FileLock(own_cache / "environments" / ".tensorflow.lock")
    with lock:
        second.start()
        assert waiting.wait(10)
        assert told == ["waiting for another seg that makes the TensorFlow environment"]
        assert calls() == []
    second.join(10)
    assert calls() == ["venv", "pip"]


def test_without_uv_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(SegError, match=r"uv, which makes it, is not to be found: pip install uv$"):
        find_uv()


def test_every_version_is_pinned() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert {"torch", "tensorflow", "litert-torch", "ai-edge-litert"} <= {line.partition("==")[0] for line in lines}
