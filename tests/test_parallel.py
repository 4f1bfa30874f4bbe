"""What several processes do together; this file imports little, since each of them imports it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segcli.errors import SegError
from segcli.parallel import each


def square(number: int) -> int:
    if number < 0:
        raise SegError("negative")
    return number * number


def test_several_processes_give_results_in_order() -> None:
    told: list[tuple[str, int, int]] = []
    found = list(each(square, range(300), "squaring", lambda *progress: told.append(progress), processes=2))
    assert found == [number**2 for number in range(300)]
    assert told[-1] == ("squaring", 300, 300)
    with pytest.raises(SegError, match="negative"):
        list(each(square, [*range(100), -1, *range(100)], "squaring", processes=2))


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(SegError, match="a process that reads files was killed"):
        list(each(die, range(100), "dying", processes=2))


@pytest.mark.parametrize("guard", ["if True:", 'if __name__ == "__main__":'])
def test_a_script_without_a_guard_is_told_what_to_do(tmp_path: Path, guard: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from segcli.errors import SegError\nfrom segcli.parallel import each\n"
        f"{guard}\n    try:\n        print(sum(each(abs, range(100), 'adding', processes=2)))\n"
        "    except SegError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert (done.stdout == "4950\n") == ("__main__" in guard)
    assert ('put the call under `if __name__ == "__main__":`' in done.stdout) == ("__main__" not in guard)
    assert done.stderr == ""
