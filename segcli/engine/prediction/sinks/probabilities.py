"""probabilities: those of all classes, as float16, or as 8 bits of which 255 is certain."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.engine.prediction.sinks.base import FileEach, Floats, Plan, Prediction


def open_sink(plan: Plan) -> FileEach:
    """probabilities/NAME.npy: C×H×W float16."""
    return FileEach(plan, "probabilities", ".npy", _half, frozenset({"probabilities"}))


def open_eight_bits(plan: Plan) -> FileEach:
    """probabilities8/NAME.npy: C×H×W uint8, 255 for a probability of 1."""
    return FileEach(plan, "probabilities8", ".npy", _eight_bits, frozenset({"probabilities"}))


def _half(found: Prediction) -> bytes:
    return _npy(_given(found).astype(np.float16))


def _eight_bits(found: Prediction) -> bytes:
    return _npy(np.round(_given(found) * 255).astype(np.uint8))


def _given(found: Prediction) -> Floats:
    if found.probabilities is None:
        raise ValueError("the sink needs probabilities")
    return found.probabilities


def _npy(values: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()
