"""The target onnx: one file with the model card inside."""

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import ModelProto

from segcli.engine.export.conversion import convert, to_fp16
from segcli.engine.export.program import deployed
from segcli.engine.export.targets import Job
from segcli.io.card import CARD


def write_onnx(job: Job) -> Mapping[str, str]:
    """Writes the job's file; tells by which of torch's exporters.

    Raises:
        ExportError: if the network cannot be converted.
    """
    model, route = convert(deployed(job.network, job.card, job.contract), job.contract)
    if job.card.precision == "fp16":
        model = to_fp16(model, job.contract)
    save(model, job)
    return {"exporter": route}


def save(model: ModelProto, job: Job, path: Path | None = None) -> None:
    """Writes a model with the job's card inside, to the job's path or another."""
    onnx.helper.set_model_props(model, {CARD: job.card.to_json()})
    onnx.save(model, path or job.path)
