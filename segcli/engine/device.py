"""Where and how it is computed: device, number format, threads, seeds, versions."""

import ctypes
import hashlib
import platform
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np
import torch

import segcli
from segcli.errors import SegError, UsageError
from segcli.parallel import available_cores

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # as malloc.h numbers them

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device that a name means; `auto` is an accelerator if there is one.

    Raises:
        UsageError: if this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not available[name]:
        raise UsageError(f"device {name} is not available on this machine; use --device cpu, or auto")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """The number format that a name means; `auto` is bf16 where the device has it natively, else fp32.

    Raises:
        UsageError: if the device cannot train in it.
    """
    if name == "auto":
        return "bf16" if _has_native_bf16(device) else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise UsageError(f"precision fp16 trains on cuda only, and the device is {device.type}; use bf16 or fp32")
    return name


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return False


class Precision:
    """The forward and backward pass in a number format, with a loss scaler where it is fp16.

    Args:
        name: fp32, bf16 or fp16.
        device: where it is computed.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Runs the block in the number format."""
        with torch.autocast(self.device.type, _DTYPES.get(self.name), enabled=self.name in _DTYPES):
            yield

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of a loss (a scalar) to those that are there."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor, largest_norm: float | None = None) -> bool:
        """Takes one step along the gradients, unless one of them or the loss is no finite number.

        Args:
            optimizer: holds the parameters.
            loss: a scalar.
            largest_norm: gradients of a larger norm, over all parameters, are scaled down to it.

        Returns:
            Whether the step was taken.
        """
        self.scaler.unscale_(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, largest_norm) if largest_norm else _norm(parameters)
        finite = bool(torch.isfinite(norm) & torch.isfinite(loss))
        if finite:
            self.scaler.step(optimizer)
        self.scaler.update()
        return finite


def _norm(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    return torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error tells that memory is used up; on CPUs and MPS it is told by its words alone."""
    words = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


@contextmanager
def memory_errors(cure: str) -> Iterator[None]:
    """Turns an out-of-memory error into one line with what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SegError(f"out of memory; {cure}") from error


def seed_everything(seed: int) -> None:
    """Seeds the generators that libraries draw from, for the initial weights."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def seed_of(*numbers: int) -> int:
    """A seed of 32 bits that is a function of some numbers."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest())


def versions() -> dict[str, str]:
    """What a model was made with."""
    names = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "numpy")
    return {
        "segcli": segcli.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def pick_workers(number: int | None, processes: int = 1) -> int:
    """How many processes read images for each training process on this machine.

    The given number, else one fewer than this process's share of the cores, at least 1 and 8 at most.
    """
    return min(max(available_cores() // processes - 1, 1), 8) if number is None else number


def pick_threads(number: int | None, processes: int = 1) -> int:
    """How many threads torch computes with on a CPU: the given number, else its own choice.

    The choice is bounded by this process's share of the cores: more would make everything several times slower.
    """
    return min(torch.get_num_threads(), max(available_cores() // processes, 1)) if number is None else number


def keep_freed_memory() -> None:
    """Lets glibc keep the memory that tensors give back, for those of the next step; does nothing elsewhere.

    It hands large pieces back to the system otherwise and gets them again page by page, emptied, which takes a tenth of
    a training step on a CPU (`benchmarks/README.md`, training speed).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


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
