"""How a person or a scheduler ends a command early."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""
