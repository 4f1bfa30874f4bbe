"""An isolated environment, made by uv in the user's cache folder: once, whole or not at all, and used again."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from segcli.engine.isolated.worker import Worker
from segcli.errors import SegError
from segcli.io.files import cache_folder, replacing_folder
from segcli.parallel import Progress, silent

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
"""Every package in it, to the version."""

MADE = "made.json"
"""What it was made of, written last: a folder without it is not whole."""

_NAME = "tensorflow"
_SIZE = "about 8 GB"
_MAKING = f"making the TensorFlow environment ({_SIZE}, once)"


@dataclass(frozen=True)
class Environment:
    """A folder with a Python and packages that segcli's own environment cannot hold.

    Attributes:
        folder: where it lies.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def worker(self, script: Path) -> Worker:
        """A process in it that runs a script."""
        return Worker(self.python, script, self.discard)

    def discard(self) -> None:
        """Says that it is damaged, so that the next to want it makes it anew."""
        (self.folder / MADE).unlink(missing_ok=True)


def isolated_environment(
    progress: Progress = silent, offline: bool = False, requirements: Path = REQUIREMENTS
) -> Environment:
    """The environment that holds what is required; it is made where it is not there, or not whole.

    Two processes do not make it at once: the second waits, and takes what the first has made.

    Args:
        progress: told what is fetched.
        offline: make it of what uv has kept of earlier downloads alone.
        requirements: the packages, each with its version.

    Raises:
        SegError: if there is no uv, or it cannot make it: offline, for instance, or since the disk is full.
    """
    environment = Environment(cache_folder() / "environments" / _NAME)
    if _is_whole(environment, requirements):
        return environment
    with _lock(environment.folder, progress):
        if not _is_whole(environment, requirements):  # nobody has made it meanwhile
            _make(environment, requirements, offline, progress)
    return environment


def _is_whole(environment: Environment, requirements: Path) -> bool:
    """Whether it was made of these requirements to its end, and its Python still is the one it was made for."""
    try:
        made = json.loads((environment.folder / MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(made == _made(environment, requirements))


def _made(environment: Environment, requirements: Path) -> dict[str, str | None]:
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return {"requirements": digest, "python": _python_version(environment.python)}


def _python_version(python: Path) -> str | None:
    """Which Python an interpreter is, in two numbers; None where it does not start."""
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    try:
        done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@contextmanager
def _lock(folder: Path, progress: Progress) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        progress("waiting for another seg that makes the TensorFlow environment", 0, 1)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(environment: Environment, requirements: Path, offline: bool, progress: Progress) -> None:
    uv = find_uv()
    folder = environment.folder
    for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed; nobody else makes one now
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
    with replacing_folder(folder) as staged:
        python = Environment(staged).python
        progress(_MAKING, 0, _count(requirements))
        flags = ["--offline"] if offline else []
        # In that folder, so that the settings of a project round the current one do not count.
        _run([uv, "venv", *flags, "--allow-existing", "--python", sys.executable, str(staged)], staged, offline)
        install = [uv, "pip", "install", *flags, "--python", str(python), "-r", str(requirements.resolve())]
        _run(install, staged, offline, progress, _count(requirements))
        made = _made(Environment(staged), requirements)
        (staged / MADE).write_text(json.dumps(made), encoding="utf-8")
    progress(_MAKING, _count(requirements), _count(requirements))


def find_uv() -> str:
    """The path of uv: the program, or the one in the package of that name.

    Raises:
        SegError: if there is neither.
    """
    found = shutil.which("uv")
    if found is not None:
        return found
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ModuleNotFoundError, FileNotFoundError):
        raise SegError(
            "TensorFlow and LiteRT run in an environment of their own, and uv, which makes it, is not to be found: "
            "pip install uv"
        ) from None


def _run(
    command: Sequence[str], folder: Path, offline: bool, progress: Progress = silent, num_packages: int = 1
) -> None:
    """Runs uv, which tells on stderr what it fetches.

    Raises:
        SegError: if it fails, with its reason.
    """
    lines: deque[str] = deque(maxlen=50)
    fetched = 0
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.strip())
            word = line.strip().partition(" ")[0]
            if word == "Downloaded":  # small packages are fetched without a word
                fetched += 1
                progress(_MAKING, min(fetched, num_packages), num_packages)
    if process.returncode:
        raise SegError(_failure(lines, offline))


def _failure(lines: Sequence[str], offline: bool) -> str:
    """What went wrong, in one line, of what uv said."""
    reasons = [line.partition(":")[2].strip() for line in lines if line.startswith(("cause:", "error:"))]
    reasons = reasons or [line for line in lines if line][-1:] or ["it said nothing"]
    said = " ".join(dict.fromkeys(reasons))[:400]
    if offline:
        return (
            f"the TensorFlow environment ({_SIZE}) is not there, and without a network it cannot be made, since uv "
            f"has not kept all of it ({said}). Run the command once without --offline."
        )
    return f"uv could not make the TensorFlow environment ({_SIZE}): {said}"


def _count(requirements: Path) -> int:
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return sum(bool(line) and not line.startswith("#") for line in lines)
