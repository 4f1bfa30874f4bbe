"""How a person, a scheduler or another process ends a command early."""

REPORT = "SEGCLI_REPORT"
"""The variable that names the file to which one of several processes writes its error, instead of showing it."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""
