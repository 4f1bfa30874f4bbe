"""What the parent of several processes sees to, tried on processes that end within milliseconds."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from segcli.cli.launch import launch

ROOT = Path(__file__).parents[2]
# What each process runs first: its rank, `wait_for` another, and a report of an error as `seg` leaves one.
START = """
import os, pathlib, signal, sys, time
rank = int(os.environ["RANK"])
def wait_for(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.005)
def fail(kind, message, code=1):
    pathlib.Path(os.environ["SEGCLI_REPORT"]).write_text(f"{kind}\\n{message}")
    sys.exit(code)
"""


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def command(program: str) -> list[str]:
    return [sys.executable, "-c", START + textwrap.dedent(program)]


def test_each_knows_its_place_and_the_first_alone_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    ended = launch(3, command(f"""
        pathlib.Path(f"{{rank}}").write_text(" ".join(os.environ[name] for name in {names}))
        print("out", rank)
        print("err", rank, file=sys.stderr)
    """))  # fmt: skip
    assert (ended.exit_code, ended.messages) == (0, ())
    places = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [place[:5] for place in places] == [[str(rank), str(rank), "3", "3", "127.0.0.1"] for rank in range(3)]
    assert len({place[5] for place in places}) == 1
    assert capfd.readouterr() == ("out 0\n", "err 0\n")


@pytest.mark.parametrize(
    ("program", "exit_code", "messages"),
    [
        # the consequence is there before its cause
        ("""
            if rank == 0:
                pathlib.Path("lost").touch(); fail("PeerLost", "another has ended")
            wait_for("lost"); time.sleep(0.3); fail("DataError", "b.png is damaged", 2)
        """, 2, ["b.png is damaged"]),
        ("fail('UsageError', 'no such device', 2)", 2, ["no such device"]),  # all alike: told once
        ("""
            if rank == 0:
                fail("PeerLost", "another has ended")
            os.kill(os.getpid(), signal.SIGKILL)
        """, 137, ["process 1 was killed by SIGKILL"]),
        ("""
            if rank == 0:
                fail("PeerLost", "another has ended")
            sys.exit("what Python says")
        """, 1, ["process 1 failed:\nwhat Python says"]),
        # the first one has shown all that it has to say
        ("fail('PeerLost', 'another has ended') if rank else sys.exit(1)", 1, []),
        ("fail('PeerLost', 'another has ended') if rank else sys.exit(130)", 130, []),
    ],
)  # fmt: skip
def test_the_cause_is_told_and_not_its_consequence(program: str, exit_code: int, messages: list[str]) -> None:
    ended = launch(2, command(program))
    assert (ended.exit_code, ended.messages) == (exit_code, messages)


def test_one_that_hangs_is_killed_soon_behind_one_that_fails() -> None:
    began = time.monotonic()
    ended = launch(2, command("os.kill(os.getpid(), signal.SIGSTOP if rank == 0 else signal.SIGKILL)"))
    assert (ended.exit_code, ended.messages) == (137, ["process 1 was killed by SIGKILL"])
    assert time.monotonic() - began < 14


# Ends as `seg train` does: the first signal lets the leading process save, for which the other does not wait.
SAVES = """
def stop(number, frame):
    if rank == 0:
        time.sleep(float(os.environ["SAVING"]))
        pathlib.Path("saved").touch()
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
pathlib.Path(f"{os.getpid()} runs").touch()
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("number", "to", "saving", "saved"),
    [
        (signal.SIGINT, "parent", 0.2, True),
        (signal.SIGTERM, "parent", 0.2, True),
        (signal.SIGHUP, "parent", 0.2, False),  # a closed terminal ends all at once, as it does one process
        (signal.SIGINT, "terminal", 4.0, True),  # longer than they have where one has failed
        (signal.SIGTERM, "each child", 0.2, True),
    ],
)
def test_a_signal_reaches_all_and_lets_the_leading_process_save(
    tmp_path: Path, number: int, to: str, saving: float, saved: bool
) -> None:
    heeding = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # even where nohup runs the tests
    program = f"from segcli.cli.launch import launch; raise SystemExit(launch(2, {command(SAVES)}).exit_code)"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"{heeding}; {program}"], start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SAVING": str(saving)},
    )  # fmt: skip
    while len(list(tmp_path.glob("* runs"))) < 2:
        assert parent.poll() is None
        time.sleep(0.01)
    children = [int(path.name.split()[0]) for path in tmp_path.glob("* runs")]
    if to == "terminal":
        os.killpg(parent.pid, number)
    else:
        for process in [parent.pid] if to == "parent" else children:
            os.kill(process, number)
    assert parent.wait(30) == 128 + number
    assert (tmp_path / "saved").exists() == saved
    for process in children:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
