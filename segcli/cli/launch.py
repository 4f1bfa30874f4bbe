"""Starts the processes of a training on this machine, and sees to it that they end together.

Not by torch's elastic launcher: its import takes 3.5 s and 620 MB; when one process ends it signals the others in that
instant, so that the leading one says it saves though a peer is lost, and kills after 30 s (`SubprocessContext._poll`).
"""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segcli.cli.interruption import REPORT

_POLL = 0.05  # seconds between looks at the processes
_GRACE = 3.0  # seconds that the others have to end by themselves when one has failed
_SAVING = 120.0  # seconds that they have where it was asked to stop: the first of them may be writing the state
_REQUESTS = 5  # to end, a second apart, before they are killed; the first is for the end of a step, the next for now

Processes = Sequence[subprocess.Popen[bytes]]


@dataclass(frozen=True)
class Ended:
    """How the processes of a command ended.

    Attributes:
        exit_code: of the one that caused the end; 0 where none failed.
        messages: what they had to say about it, each once: the causes, or where there is none, the consequences.
    """

    exit_code: int
    messages: Sequence[str]


def launch(number: int, command: Sequence[str]) -> Ended:
    """Runs a command as several processes that train together, and waits for them.

    The first one (rank 0) shows what it does; an interruption of this process is passed on to all.

    Args:
        number: of processes.
        command: a program that finds the others as one does that torchrun has started, and its arguments.
    """
    with tempfile.TemporaryDirectory(prefix="seg-") as folder:
        port = _free_port()
        started: list[subprocess.Popen[bytes]] = []
        with _passing_on(started):
            for rank in range(number):
                started.append(_start(command, rank, number, port, Path(folder)))
            failed = _first_to_fail(started)
            overdue = () if failed is None else _end(started, failed)
        if failed is None:
            return Ended(0, ())
        codes = [process.returncode for process in started]
        cause, messages = _explain(Path(folder), codes, failed, overdue)
        return Ended(128 - codes[cause] if codes[cause] < 0 else codes[cause], messages)


def _start(command: Sequence[str], rank: int, number: int, port: int, folder: Path) -> subprocess.Popen[bytes]:
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
            command,
            env=environment,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=None if rank == 0 else log,
            # Ctrl-C reaches this process alone, which passes it on, to each of them once.
            start_new_session=True,
        )


@contextmanager
def _passing_on(started: Processes) -> Iterator[None]:
    """Passes interruptions on to the processes, which know what to do with them."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, frame: _send(started, number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(started: Processes, number: int) -> None:
    for process in started:
        if process.poll() is None:
            process.send_signal(number)


def _first_to_fail(started: Processes) -> int | None:
    """Waits for the first that fails, and gives its rank; None where all end well."""
    while True:
        codes = [process.poll() for process in started]
        failed = next((rank for rank, code in enumerate(codes) if code), None)
        if failed is not None or None not in codes:
            return failed
        time.sleep(_POLL)


def _end(started: Processes, failed: int) -> Collection[int]:
    """Sees to it that all end soon behind one that failed; gives the ranks of those that did not by themselves."""
    stopped = started[failed].returncode in (130, 143)
    if _end_within(started, _SAVING if stopped else _GRACE):
        return ()
    overdue = [rank for rank, process in enumerate(started) if process.poll() is None]
    for _ in range(_REQUESTS):
        _send(started, signal.SIGTERM)
        if _end_within(started, 1.0):
            return overdue
    _send(started, signal.SIGKILL)
    for process in started:
        process.wait()
    return overdue


def _end_within(started: Processes, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(process.poll() is None for process in started):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL)
    return True


def _explain(folder: Path, codes: Sequence[int], failed: int, overdue: Collection[int]) -> tuple[int, list[str]]:
    """The rank of the process that caused the end, and what there is to say, causes rather than consequences."""
    told = []
    for rank, code in enumerate(codes):
        report = folder / f"error-{rank}"
        if report.is_file():
            kind, _, message = report.read_text(encoding="utf-8").partition("\n")
            told.append((kind == "PeerLost", rank != failed, rank, message))
        elif code and rank not in overdue:
            told.append((False, rank != failed, rank, _unreported(folder, rank, code)))
    told.sort()
    causes = [entry for entry in told if not entry[0]] or told
    messages = dict.fromkeys(message for *_, message in causes if message)
    return causes[0][2] if causes else failed, list(messages)


def _unreported(folder: Path, rank: int, code: int) -> str:
    """What there is to say of a process that ended without a report; nothing where it was stopped."""
    if code in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        return ""
    if code < 0:
        return f"process {rank} was killed by {signal.Signals(-code).name}"
    if rank == 0:  # has shown all itself
        return ""
    text = (folder / f"stderr-{rank}").read_text(encoding="utf-8", errors="replace")
    return f"process {rank} failed:\n{text.strip()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
