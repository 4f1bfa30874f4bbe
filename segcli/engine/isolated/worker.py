"""A process that answers one question at a time, in the isolated environment or beside our own packages."""

import os
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from segcli.engine.isolated.inside_messages import Buffers, Message, receive, send

TENSORFLOW = Path(__file__).with_name("inside_tensorflow.py")
LITERT = Path(__file__).with_name("inside_litert.py")
INT8 = Path(__file__).with_name("inside_int8.py")

Tell = Callable[[str], None]


class WorkerError(Exception):
    """A question could not be answered; the text is the reason, in one line."""


def unheard(what: str) -> None:
    """Nobody is told."""


class Worker:
    """A process that runs a script of an environment; it ends when it is closed or forgotten.

    Args:
        python: what runs it.
        script: answers questions by `inside_messages.answer`.
        discard: called where a package is missing, so that a new environment is made the next time.
    """

    def __init__(self, python: Path, script: Path, discard: Callable[[], None] | None = None) -> None:
        self._discard = discard
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # it is closed with the process
        # Neither the user's PYTHONPATH nor their site folder: nothing but the environment and the script's own folder.
        self._process = subprocess.Popen(
            [python, "-E", "-s", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        self.close = weakref.finalize(self, _end, self._process, self._errors)

    def ask(self, question: Message, buffers: Sequence[Any] = (), tell: Tell = unheard) -> tuple[Message, Buffers]:
        """Asks a question and waits for the answer.

        Args:
            question: names its `task`; JSON.
            buffers: arrays that go with it, each in one piece of memory.
            tell: told what is being done meanwhile.

        Raises:
            WorkerError: if the task fails, or the process has ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            send(self._process.stdin, question, buffers)
            while True:
                message, results = receive(self._process.stdout)
                if "error" in message:
                    raise WorkerError(self._judged(message["error"]))
                if "telling" not in message:
                    return message, results
                tell(message["telling"])
        except (EOFError, BrokenPipeError):
            raise WorkerError(self._last_words()) from None

    def _judged(self, reason: str) -> str:
        """The reason; a package that is missing says that the environment is damaged, and the next makes it anew."""
        if self._discard is None or not reason.startswith(("ModuleNotFoundError", "ImportError")):
            return reason
        self._discard()
        return f"the environment is damaged ({reason}); run the command again, which makes a new one"

    def _last_words(self) -> str:
        """Why the process has ended."""
        code = self._process.wait()
        if code == -9:
            return "the process was killed, most likely since memory ran out"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return self._judged(lines[-1].strip()[:300] if lines else f"the process ended with code {code}")


def _end(process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        try:
            stream.close()
        except BrokenPipeError:
            continue
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    errors.close()
