"""Where and in which number format it is computed: device, precision, threads, memory."""

import ctypes
import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from segcli.errors import SegError, UsageError
from segcli.nn.bf16 import has_native_bf16
from segcli.parallel import available_cores

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # as malloc.h numbers them

_BYTES_AN_IMAGE = 4 << 30  # what a large image may take on its way through a network
_LARGEST_BATCH = 8

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
        return "bf16" if has_native_bf16(device) else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise UsageError(f"precision fp16 trains on cuda only, and the device is {device.type}; use bf16 or fp32")
    return name


def pick_inference_precision(name: str, own: str, device: torch.device) -> str:
    """The number format in which a model computes without learning.

    Args:
        name: what was asked for; `auto` is the model's own where the device has it natively, else fp32.
        own: the model's own.
        device: where it is computed.

    Raises:
        UsageError: if the device cannot compute in it.
    """
    if name == "auto":
        native = {"fp32": True, "bf16": has_native_bf16(device), "fp16": device.type == "cuda"}
        return own if native[own] else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise UsageError(f"precision fp16 is for cuda only, and the device is {device.type}; use bf16 or fp32")
    return name


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Runs a block in a number format: fp32, bf16 or fp16."""
    return torch.autocast(device.type, _DTYPES.get(precision), enabled=precision in _DTYPES)


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Runs a block in a number format, without gradients; fp32 means all of its bits, and so no TF32."""
    with torch.inference_mode(), autocast(precision, device):
        if device.type != "cuda" or precision != "fp32":
            yield
            return
        cudnn: Any = torch.backends.cudnn
        backends: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
        before = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, value in zip(backends, before, strict=True):
                backend.fp32_precision = value


def pick_batch_size(device: torch.device) -> int:
    """How many images are well computed at a time without gradients: one on a CPU, as many as fit easily elsewhere."""
    if device.type != "cuda":
        return 1
    memory = torch.cuda.get_device_properties(device).total_memory
    return min(max(memory // _BYTES_AN_IMAGE, 1), _LARGEST_BATCH)


def pick_concurrency(device: torch.device) -> int:
    """How many forward passes without gradients are well computed side by side.

    On a CPU one a thread: threads that share one pass wait for each other at each of its layers, which takes a third
    of their time (`benchmarks/README.md`, evaluation). As few as fit into memory easily, large images or small.
    """
    if device.type != "cpu":
        return 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else _BYTES_AN_IMAGE
    return max(min(torch.get_num_threads(), memory // _BYTES_AN_IMAGE, _LARGEST_BATCH), 1)


@contextmanager
def threads_side_by_side(number: int) -> Iterator[ThreadPoolExecutor]:
    """Gives threads that share torch's own among them, as long as the block runs.

    The calling thread is held to such a share too.
    """
    before = torch.get_num_threads()
    share = max(before // number, 1)
    pool = ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(share,))
    try:
        torch.set_num_threads(share)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


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
