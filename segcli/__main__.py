"""The program `seg`, also `python -m segcli`: runs the command line, and ends when that has ended."""

import atexit
import os
import sys
from contextlib import suppress


class _Ending:
    """Ends the process once everything that wants to be told of its end has been told.

    Python would look through all that was ever imported for garbage first: of torch and what it brings more than a
    second, for memory that the system takes back anyway.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)  # first, and so called last

    def _end(self) -> None:
        if self.code is None:  # a traceback, or a signal: Python ends it, and knows how
            return
        with suppress(OSError):
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # since it was closed
                    stream.flush()
            os._exit(self.code)


def run() -> None:
    """Runs the command line and ends the process."""
    ending = _Ending()
    from segcli.cli.app import main

    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            ending.code = end.code or 0
        raise


if __name__ == "__main__":
    run()
