"""A network as a .tflite file, converted by LiteRT in the isolated environment."""

from pathlib import Path

from segcli.engine.export.program import at_size, handed_over
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import LITERT, WorkerError
from segcli.errors import ExportError
from segcli.io.card import ModelCard
from segcli.io.exported import append_card
from segcli.nn.network import SegmentationNetwork
from segcli.parallel import Progress, silent


def write_tflite(
    network: SegmentationNetwork,
    card: ModelCard,
    path: Path,
    size: tuple[int, int],
    layout: str = "nhwc",
    fp16: bool = False,
    progress: Progress = silent,
    offline: bool = False,
) -> None:
    """Writes a network as a .tflite file: one `image` (uint8) of a size in, its `logits` (float32) out.

    Args:
        network: stays as it is.
        card: goes into the file.
        path: the file.
        size: height and width.
        layout: nchw, or nhwc: 1×H×W×3 in, 1×H×W×C out.
        fp16: stores the weights in half precision: half the size; a runtime without fp16 computes in fp32.
        progress: told of each step.
        offline: make the isolated environment without a network.

    Raises:
        ExportError: if the network does not convert.
        SegError: if the isolated environment cannot be made.
    """
    worker = isolated_environment(progress, offline).worker(LITERT)
    progress("exporting by torch.export", 0, 1)
    with handed_over(network, size, layout, free_batch=False) as program:
        question = {"task": "convert", "program": str(program), "file": str(path), "fp16": fp16}
        try:
            worker.ask(question, tell=lambda what: progress(what, 0, 1))
        except WorkerError as error:
            raise ExportError(f"{network.model.name} does not export to TFLite: {error}") from None
        finally:
            worker.close()
    append_card(path, at_size(card, size, "fp16" if fp16 else "fp32"))
    progress("converted", 1, 1)
