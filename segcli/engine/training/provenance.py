"""What a model was made with: versions, and the commit of the code around it."""

import platform
import subprocess
from importlib.metadata import version

import segcli


def versions() -> dict[str, str]:
    """What a model was made with."""
    names = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "numpy")
    return {
        "segcli": segcli.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def git_commit() -> str | None:
    """The commit of the working folder, with `-dirty` behind it where tracked files are changed.

    Returns:
        None outside a repository, without git, or where git takes longer than 5 seconds.
    """
    command = ["git", "--no-optional-locks", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
