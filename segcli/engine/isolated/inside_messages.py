"""Messages over pipes, for both ends and by the standard library alone: a line of JSON, then the bytes it announces."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

Message = dict[str, Any]
Buffers = list[bytearray]
Tell = Callable[[str], None]
"""Told what is being done."""

Task = Callable[[Message, Buffers, Tell], "tuple[Message, Sequence[Any]]"]
"""Answers a message and its buffers by a message and buffers; what it raises goes back as an error's text."""


def send(stream: IO[bytes], message: Message, buffers: Sequence[Any] = ()) -> None:
    """Writes a message and what goes with it, such as arrays that lie in memory as one piece."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    line = json.dumps({**message, "sizes": [view.nbytes for view in views]})
    stream.write(line.encode() + b"\n")
    for view in views:
        stream.write(view)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Message, Buffers]:
    """Reads what `send` wrote.

    Raises:
        EOFError: if the other end is gone.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message: Message = json.loads(line)
    buffers = []
    for size in message.pop("sizes"):
        buffer = bytearray(size)
        if stream.readinto(buffer) != size:  # type: ignore[attr-defined]  # buffered streams read all of it
            raise EOFError
        buffers.append(buffer)
    return message, buffers


def answer(tasks: Mapping[str, Task]) -> None:
    """Answers questions from stdin on stdout until the other end closes; what libraries print goes to stderr."""
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)

        def tell(what: str) -> None:
            send(replies, {"telling": what})

        while True:
            try:
                question, buffers = receive(sys.stdin.buffer)
            except EOFError:
                return
            try:
                message, results = tasks[question["task"]](question, buffers, tell)
            except Exception as error:  # of any of the libraries: what it says is all that the other end can use
                reason = " ".join(str(error).split())[:300] or "no reason given"
                send(replies, {"error": f"{type(error).__name__}: {reason}"})
            else:
                send(replies, message, results)
