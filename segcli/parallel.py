"""The same work on many files, by several processes, in order and with little in memory."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import forkserver
from pathlib import Path
from traceback import walk_stack
from typing import TypeVar

from segcli.errors import SegError

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many are done and how many there are."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEW = 48  # items that are done before other processes have started
_CHUNK = 8  # items that go to a process at a time
_UNGUARDED = ("__mp_main__", "<module>")  # where a script's own statements run in a process that imports it


def silent(what: str, done: int, total: int) -> None:
    """A progress that nobody watches."""


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of memory that this machine can still give, as Linux estimates them; elsewhere half of what it has."""
    with suppress(OSError, StopIteration), Path("/proc/meminfo").open(encoding="ascii") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 4 << 30


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    progress: Progress = silent,
    processes: int | None = None,
) -> Iterator[Result]:
    """The results of a function on each item, in the items' order.

    Args:
        work: what is done; it and the items travel to other processes, and so must be picklable.
        items: what it is done to.
        what: what to call it in the progress.
        progress: told of each item done.
        processes: how many do it; None is one a core, and none beside this one for a few items.

    Raises:
        SegError: what `work` raises, or that processes cannot start or were killed.
    """
    if processes is None:
        processes = available_cores() if len(items) >= _FEW else 1
    results = _by_processes(work, items, processes) if processes > 1 else map(work, items)
    for done, result in enumerate(results, 1):
        progress(what, done, len(items))
        yield result


def _by_processes(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    if any((frame.f_globals["__name__"], frame.f_code.co_name) == _UNGUARDED for frame, _ in walk_stack(None)):
        raise SystemExit(1)  # a process that was started, and should have imported the script only; its parent says why
    # A process forked from one with threads (of torch, of a progress bar) may hang: fork from a fresh one.
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_start)
    chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
    started: Future[int] = Future()
    waiting: deque[Future[list[Result]]] = deque()
    try:
        with _interrupts_held():
            if os.name == "posix":
                context.set_forkserver_preload([__name__, getattr(work, "__module__", __name__)])
                forkserver.ensure_running()
            started = pool.submit(os.getpid)
            wait([started])
            waiting.extend(pool.submit(_work_on, work, chunk) for chunk in islice(chunks, 4 * processes))
        while waiting:
            results = waiting.popleft().result()
            waiting.extend(pool.submit(_work_on, work, chunk) for chunk in islice(chunks, 1))
            yield from results
    except BrokenProcessPool:
        if started.exception():
            raise SegError(
                "the processes that share the work cannot start; where a script calls this, each of them runs the "
                'script up to here: put the call under `if __name__ == "__main__":`'
            ) from None
        raise SegError(
            "a process that reads files was killed, likely for want of memory; free some and go on"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Lets Ctrl-C wait until processes have started, which would die of it with a traceback; they never see it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    masked = hasattr(signal, "pthread_sigmask")
    if masked:  # what is started now inherits the mask
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if masked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


def _work_on(work: Callable[[Item], Result], chunk: Sequence[Item]) -> list[Result]:
    return [work(item) for item in chunk]


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the main process ends its workers
