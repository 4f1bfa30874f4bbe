"""Counts, on any machine, what would make the host wait for an accelerator."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose result, or its shape, the host must know before it can go on.
_WAITING = {
    name: name
    for name in ("nonzero", "bincount", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive")
} | dict.fromkeys(("_local_scalar_dense", "item", "is_nonzero"), "item")  # of which the mode of autograd picks one
# What brings a tensor to the host.
_DOWNLOADS = {"cpu": "cpu", "numpy": "numpy", "__array__": "numpy", "tolist": "tolist"}
# What makes a tensor of Python's values on a device: a copy that waits.
_FROM_PYTHON = {"tensor", "as_tensor"}


class HostReads:
    """Counts the host's waits of a block, as they would be on an accelerator.

    `waits` names each kind and how often it came: operations that the host must read (`item`, which
    `float()` and `bool()` are as well; `nonzero`, `index` by a mask, `bincount` …), copies to the host (`cpu`, `numpy`,
    `tolist`; one for `.cpu().numpy()`), and copies to a device that wait (`to`, without non_blocking; `tensor`, of
    Python's values). Only this thread's work is seen.
    """

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self._modes = (_Operations(self.waits), _Calls(self.waits))

    def __enter__(self) -> "HostReads":
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(kind, error, traceback)


class _Operations(TorchDispatchMode):
    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        if name in _WAITING or _picks_by_mask(name, args):
            self.waits[_WAITING.get(name, name)] += 1
        return function(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits
        self.on_host: list[Tensor] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in _DOWNLOADS and not any(args[0] is tensor for tensor in self.on_host):
            self.waits[_DOWNLOADS[name]] += 1
        elif _uploads_and_waits(name, args, kwargs):
            self.waits[name] += 1
        result = function(*args, **kwargs)
        if name == "cpu":
            self.on_host.append(result)
        return result


def _picks_by_mask(name: str, args: Sequence[Any]) -> bool:
    """Whether an operation indexes by a boolean mask, whose number of pixels decides a shape."""
    if name not in {"index", "index_put", "index_put_"}:
        return False
    masked = any(index is not None and index.dtype in {torch.bool, torch.uint8} for index in args[1])
    return masked and (name == "index" or args[2].numel() != 1)  # one value for all is filled in without looking


def _uploads_and_waits(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if name in _FROM_PYTHON:
        return kwargs.get("device") is not None and not isinstance(args[0], Tensor)
    device = kwargs.get("device", args[1] if len(args) > 1 else None)
    return name == "to" and isinstance(device, torch.device | str | Tensor) and not kwargs.get("non_blocking")
