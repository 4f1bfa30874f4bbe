"""The target tflite: one file, converted by LiteRT in the isolated environment."""

from collections.abc import Mapping
from typing import Any

from segcli.engine.export.elsewhere import convert_elsewhere
from segcli.engine.export.targets import Job
from segcli.engine.isolated.worker import LITERT
from segcli.io.exported import append_card


def write_tflite(job: Job) -> Mapping[str, Any]:
    """Writes the job's file, which takes one image of one size; tells what int8 came to.

    A precision of fp16 stores the weights in half: a runtime without fp16 widens them when it loads the file, and
    computes in fp32.

    Raises:
        ExportError: if the network does not convert, or int8 loses more than is allowed wherever it computes.
        SegError: if the isolated environment cannot be made.
    """
    question = {"file": str(job.path.resolve()), "fp16": job.card.precision == "fp16"}
    convert_elsewhere(LITERT, job.network, job.card, job.contract, question, job.progress, job.offline)
    facts = {}
    if job.calibration is not None:
        from segcli.engine.export.int8_tflite import quantise

        facts["int8"] = quantise(job.path.resolve(), job.card, job.calibration, job.progress)
    append_card(job.path, job.card)
    return facts
