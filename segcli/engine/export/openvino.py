"""The target openvino: a folder with model.xml, model.bin and the card."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from segcli.engine.backends.openvino import MODEL
from segcli.engine.export.onnx import write_onnx
from segcli.engine.export.targets import Job
from segcli.errors import ExportError
from segcli.io.card import CARD


def write_openvino(job: Job) -> Mapping[str, str]:
    """Fills the job's folder, by way of ONNX; tells by which of torch's exporters.

    Raises:
        ExportError: if the network cannot be converted, or the files cannot be written.
    """
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.touch()
        facts = write_onnx(Job(job.network, job.card, job.contract, file, job.progress))
        try:
            model = openvino.convert_model(file)
        except RuntimeError as error:
            raise ExportError(f"OpenVINO cannot convert the network: {' '.join(str(error).split())[:160]}") from error
        try:
            # It would halve the weights unasked otherwise.
            openvino.save_model(model, job.path / MODEL, compress_to_fp16=False)
        except RuntimeError as error:  # of a stream that failed; it does not say why
            raise ExportError(f"OpenVINO cannot write its files to {job.path.parent}; is the disk full?") from error
    (job.path / CARD).write_text(job.card.to_json(), encoding="utf-8")
    return facts
