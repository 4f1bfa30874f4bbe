"""How the commands' help is laid out: the groups of their options, and their examples."""

READS = "What it reads"
WRITES = "What it writes"
COMPUTES = "How it computes"


def examples(*lines: str) -> str:
    """A command's epilog: command lines as a user types them, `seg …  # why`, one a line.

    A blank line stands between them because Click folds the lines of a paragraph.
    """
    return "Examples:\n\n" + "\n\n".join(lines)
