"""The formats that a model may be exported in: what a file is called, and what must be installed to use it."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from segcli.errors import UsageError


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        name: as on the command line.
        suffix: of the file, or of the folder.
        marker: the path inside by which a folder of this format is told; None where the format is one file.
        module: what must be importable to load it here; None where seg brings it, or runs it apart.
        extra: the extra of segcli that brings the module.
    """

    name: str
    suffix: str
    marker: str | None = None
    module: str | None = None
    extra: str | None = None

    def require(self) -> None:
        """Raises UsageError, with the command that installs it, where what the format needs is missing."""
        if self.module is not None and find_spec(self.module) is None:
            raise UsageError(
                f"{self.name} needs the package {self.module}; install it with pip install 'segcli[{self.extra}]'"
            )


FORMATS = (
    Format("onnx", ".onnx"),
    Format("openvino", "_openvino", marker="model.xml", module="openvino", extra="openvino"),
    Format("torch", ".pt2"),
    Format("tflite", ".tflite"),
    Format("savedmodel", "_savedmodel", marker="1/saved_model.pb"),
)
"""In the order in which they are listed."""


def format_of(path: Path) -> Format | None:
    """The format of an exported file or folder that is there; None for anything else."""
    for known in FORMATS:
        if known.marker is None and path.suffix.lower() == known.suffix and path.is_file():
            return known
        if known.marker is not None and (path / known.marker).is_file():
            return known
    return None


def by_name(name: str) -> Format:
    """The format of a name that is known."""
    return next(known for known in FORMATS if known.name == name)
