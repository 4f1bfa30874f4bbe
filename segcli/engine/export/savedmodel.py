"""A network as TensorFlow Serving wants it: NAME/1/ with a SavedModel, its card and a request to warm up with."""

import shlex
from pathlib import Path

from segcli.engine.export.program import at_size, handed_over
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import TENSORFLOW, WorkerError
from segcli.errors import ExportError
from segcli.io.card import ModelCard
from segcli.io.exported import write_savedmodel_card
from segcli.nn.network import SegmentationNetwork
from segcli.parallel import Progress, silent


def write_savedmodel(
    network: SegmentationNetwork,
    card: ModelCard,
    folder: Path,
    name: str,
    size: tuple[int, int],
    layout: str = "nhwc",
    progress: Progress = silent,
    offline: bool = False,
) -> None:
    """Writes a network as version 1 of a model: any number of `image` (uint8) of a size in, their `logits` out.

    Args:
        network: stays as it is.
        card: goes into the version's assets.extra/.
        folder: the model's folder; 1/ comes into it.
        name: by which the requests of clients call the model.
        size: height and width.
        layout: nchw, or nhwc: B×H×W×3 in, B×H×W×C out.
        progress: told of each step.
        offline: make the isolated environment without a network.

    Raises:
        ExportError: if the network does not convert.
        SegError: if the isolated environment cannot be made.
    """
    worker = isolated_environment(progress, offline).worker(TENSORFLOW)
    version = folder / "1"
    progress("exporting by torch.export", 0, 1)
    with handed_over(network, size, layout, free_batch=True) as program:
        question = {
            "task": "convert", "program": str(program), "folder": str(version), "name": name, "output": "logits",
        }  # fmt: skip
        try:
            worker.ask(question, tell=lambda what: progress(what, 0, 1))
        except WorkerError as error:
            raise ExportError(f"{network.model.name} does not export to a SavedModel: {error}") from None
        finally:
            worker.close()
    write_savedmodel_card(version, at_size(card, size, "fp32"))
    progress("converted", 1, 1)


def docker_command(folder: Path) -> str:
    """The command line that serves a model's folder by TensorFlow Serving, on its usual ports."""
    name = folder.name
    mount = shlex.quote(f"type=bind,source={folder.resolve()},target=/models/{name}")
    return f"docker run --rm -p 8500:8500 -p 8501:8501 --mount {mount} -e MODEL_NAME={shlex.quote(name)} tensorflow/serving"
