"""Starts the processes of a training on this machine, and sees to it that they end together."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segcli.cli.interruption import REPORT

_POLL = 0.05  # seconds between looks at the processes
_GRACE = 3.0  # seconds that the others have to end by themselves when one has failed
_SAVING = 120.0  # seconds that they have where it was asked to stop: the first of them may be writing the state
_KILL = 12.0  # seconds behind that after which they are killed


@dataclass(frozen=True)
class Ended:
    """How the processes of a command ended.

    Attributes:
        exit_code: of the one that failed first; 0 where none did.
        messages: what they had to say about it, each once, the cause first.
    """

    exit_code: int
    messages: Sequence[str]


def launch(number: int, arguments: Sequence[str]) -> Ended:
    """Runs a command of `seg` as several processes that train together, and waits for them.

    The first one (rank 0) shows what it does; an interruption of this process is passed on to all.

    Args:
        number: of processes.
        arguments: the words behind `seg`.
    """
    with tempfile.TemporaryDirectory(prefix="seg-") as folder:
        port = _free_port()
        started = [_start(arguments, rank, number, port, Path(folder)) for rank in range(number)]
        with _passing_on(started):
            first_failed = _wait(started)
        codes = [process.returncode for process in started]
        failed = codes[first_failed] if first_failed is not None else 0
        messages = list(dict.fromkeys(_messages(Path(folder), codes, first_failed)))
        return Ended(128 - failed if failed < 0 else failed, messages)


def _start(arguments: Sequence[str], rank: int, number: int, port: int, folder: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        REPORT: str(folder / f"error-{rank}"),
    }
    with (folder / f"stderr-{rank}").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "segcli", *arguments],
            env=environment,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=None if rank == 0 else log,
            # Ctrl-C reaches this process alone, which passes it on, to each of them once.
            start_new_session=True,
        )


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Waits until all have ended; gives the rank of the first that failed. The others are ended soon behind it."""
    first_failed, since, grace = None, 0.0, _GRACE
    while any(process.poll() is None for process in started):
        if first_failed is None:
            first_failed = next((rank for rank, process in enumerate(started) if process.poll()), None)
            since = time.monotonic()
            stopped = first_failed is not None and started[first_failed].returncode in (130, 143)
            grace = _SAVING if stopped else _GRACE
        elif time.monotonic() - since > grace + _KILL:
            _send(started, signal.SIGKILL)
        elif time.monotonic() - since > grace:
            _send(started, signal.SIGTERM)
        time.sleep(_POLL)
    if first_failed is None:
        first_failed = next((rank for rank, process in enumerate(started) if process.returncode), None)
    return first_failed


@contextmanager
def _passing_on(started: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Passes interruptions on to the processes, which know what to do with them."""
    before = {
        number: signal.signal(number, lambda number, frame: _send(started, number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(started: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in started:
        if process.poll() is None:
            process.send_signal(number)


def _messages(folder: Path, codes: Sequence[int], first_failed: int | None) -> Iterator[str]:
    """The processes' errors, those that tell of a cause before those that tell of its consequence."""
    told = []
    for rank, code in enumerate(codes):
        report = folder / f"error-{rank}"
        if report.is_file():
            kind, _, message = report.read_text(encoding="utf-8").partition("\n")
            told.append((kind == "PeerLost", rank != first_failed, message))
        elif code > 0 and code not in (130, 143) and rank > 0:
            text = (folder / f"stderr-{rank}").read_text(encoding="utf-8", errors="replace")
            told.append((False, rank != first_failed, f"process {rank} failed:\n{text.strip()}"))
        elif code < 0 and -code != signal.SIGTERM:
            told.append((False, rank != first_failed, f"process {rank} was killed by {signal.Signals(-code).name}"))
    causes = [entry for entry in sorted(told) if not entry[0]]
    yield from (message for _, _, message in causes or sorted(told))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
