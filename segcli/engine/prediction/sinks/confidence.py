"""confidence: the probability of the likeliest class at every pixel, as a grey image."""

from segcli.engine.prediction.sinks.base import FileEach, Plan, Prediction
from segcli.io.images import encode_mask


def open_sink(plan: Plan) -> FileEach:
    """confidence/NAME.png: 8 bits, 255 for a probability of 1."""
    return FileEach(plan, "confidence", ".png", _encode, frozenset({"confidence"}))


def _encode(found: Prediction) -> bytes:
    if found.confidence is None:
        raise ValueError("the sink needs confidence")
    return encode_mask(found.confidence)
