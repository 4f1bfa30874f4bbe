"""OpenVINO: a folder with model.xml, model.bin and the card."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segcli.engine.backends.exported import ExportedFile
from segcli.errors import ModelError
from segcli.io.bundle import read_card
from segcli.io.formats import by_name

MODEL = "model.xml"


def load_openvino(folder: Path, exact: bool = False) -> ExportedFile:
    """Opens a folder of `seg export openvino`.

    Args:
        folder: with model.xml.
        exact: compute in float32 whatever is faster; else OpenVINO chooses, and takes bf16 on CPUs that have it.

    Raises:
        UsageError: if OpenVINO is not installed.
        ModelError: if a file is missing or damaged.
    """
    by_name("openvino").require()
    import openvino

    card = read_card(folder)
    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}
    try:
        model = core.compile_model(core.read_model(folder / MODEL), "CPU", hints)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-160:]
        raise ModelError(f"{folder} cannot be opened by OpenVINO ({reason}); it is damaged, export it again") from None

    def run(batch: Any) -> NDArray[Any]:
        output: NDArray[Any] = model(batch)[0]
        return output

    return ExportedFile(run, card)
