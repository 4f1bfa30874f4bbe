"""segcli: semantic segmentation from one YAML file, from images and masks to a deployed model.

    import segcli

    model = segcli.load("runs/voc")
    prediction = model("street.jpg")
    prediction.labels, prediction.probabilities, prediction.classes

Importing it costs nothing; what computes is imported when one of these names is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segcli.engine.prediction.library import ImageLike, Prediction, Segmenter, load

__version__ = "0.1.0"
__all__ = ["ImageLike", "Prediction", "Segmenter", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from segcli.engine.prediction import library

        return getattr(library, name)
    raise AttributeError(f"module 'segcli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
