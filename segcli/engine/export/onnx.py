"""The target onnx: one file with the model card inside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from segcli.engine.export.conversion import convert, to_fp16
from segcli.engine.export.program import deployed
from segcli.engine.export.targets import Job
from segcli.io.card import CARD


def write_onnx(job: Job) -> Mapping[str, Any]:
    """Writes the job's file; tells by which of torch's exporters, and what int8 came to.

    Raises:
        ExportError: if the network cannot be converted, or int8 loses more than is allowed wherever it computes.
    """
    model, route = convert(deployed(job.network, job.card, job.contract), job.contract)
    if job.card.precision == "fp16":
        model = to_fp16(model, job.contract)
    if job.calibration is not None:
        from segcli.engine.export.int8_onnx import quantise

        quantised, found = quantise(model, job.card, job.calibration, job.progress)
        save(quantised, job)
        return {"exporter": route, "int8": found}
    save(model, job)
    return {"exporter": route}


def save(model: ModelProto, job: Job, path: Path | None = None) -> None:
    """Writes a model with the job's card inside, to the job's path or another."""
    onnx.helper.set_model_props(model, {CARD: job.card.to_json()})
    onnx.save(model, path or job.path)
