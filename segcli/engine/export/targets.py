"""The targets of `seg export`: what each offers, how its file is written and how it is opened again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.engine.backends.exported import ExportedFile
from segcli.engine.prediction.load import LOADERS
from segcli.errors import UsageError, did_you_mean
from segcli.io.card import Contract, ModelCard
from segcli.io.formats import Format, by_name
from segcli.parallel import Progress, silent

if TYPE_CHECKING:
    from segcli.engine.export.int8 import Calibration
    from segcli.nn.network import SegmentationNetwork


@dataclass(frozen=True)
class Job:
    """What is to be written.

    Attributes:
        network: stays as it is.
        card: with the precision and the contract of the file.
        contract: how the file is to be called.
        path: where it is to be written: a file that is there and empty, or an empty folder.
        progress: told of each step.
        offline: make the environment that a target runs in, if it has one, without a network.
        calibration: what int8 is measured on; None for other precisions.
    """

    network: "SegmentationNetwork"
    card: ModelCard
    contract: Contract
    path: Path
    progress: Progress = silent
    offline: bool = False
    calibration: "Calibration | None" = None


@dataclass(frozen=True)
class Target:
    """A target of `seg export`.

    Attributes:
        format: its name and suffix, and what must be installed.
        summary: what it writes, for help.
        precisions: what it can compute in; the first is the default.
        layout: the default place of the channels.
        any_size: whether a file can take images of every size.
        batch: the only number of images that a file takes at a time; None where it takes any.
        write: writes a job, and gives facts worth telling.
        load: opens a file so that it computes in the precision that it says.
    """

    format: Format
    summary: str
    precisions: tuple[str, ...]
    layout: str
    any_size: bool
    batch: int | None
    write: Callable[[Job], Mapping[str, Any]]
    load: Callable[[Path], ExportedFile]

    @property
    def name(self) -> str:
        """As on the command line."""
        return self.format.name


def _write_onnx(job: Job) -> Mapping[str, Any]:
    from segcli.engine.export.onnx import write_onnx

    return write_onnx(job)


def _write_openvino(job: Job) -> Mapping[str, Any]:
    from segcli.engine.export.openvino import write_openvino

    return write_openvino(job)


def _load_openvino(path: Path) -> ExportedFile:
    from segcli.engine.backends.openvino import load_openvino

    return load_openvino(path, exact=True)


def _write_program(job: Job) -> Mapping[str, Any]:
    from segcli.engine.export.program import write_program

    write_program(job.path, job.network, job.card, job.contract)
    return {}


def _write_tflite(job: Job) -> Mapping[str, Any]:
    from segcli.engine.export.tflite import write_tflite

    return write_tflite(job)


def _write_savedmodel(job: Job) -> Mapping[str, Any]:
    from segcli.engine.export.savedmodel import write_savedmodel

    write_savedmodel(job.network, job.card, job.contract, job.path, job.progress, job.offline)
    return {}


TARGETS = (
    Target(
        by_name("onnx"), "one .onnx file for ONNX Runtime, TensorRT and many more",
        ("fp32", "fp16", "int8"), "nchw", True, None, _write_onnx, LOADERS["onnx"],
    ),
    Target(
        by_name("openvino"), "a folder with model.xml and model.bin for OpenVINO",
        ("fp32",), "nchw", True, None, _write_openvino, _load_openvino,
    ),
    Target(
        by_name("torch"), "one .pt2 file of torch.export for torch, AOTInductor and ExecuTorch",
        ("fp32",), "nchw", True, None, _write_program, LOADERS["torch"],
    ),
    Target(
        by_name("tflite"), "one .tflite file for LiteRT (TensorFlow Lite) on phones and small boards",
        ("fp32", "fp16", "int8"), "nhwc", False, 1, _write_tflite, LOADERS["tflite"],
    ),
    Target(
        by_name("savedmodel"), "a folder for TensorFlow Serving, with 1/ in it",
        ("fp32",), "nhwc", False, None, _write_savedmodel, LOADERS["savedmodel"],
    ),
)  # fmt: skip


def find_target(name: str) -> Target:
    """The target of a name.

    Raises:
        UsageError: if there is none.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    raise UsageError(f"unknown target {name!r}; {did_you_mean(name, [target.name for target in TARGETS])}")
