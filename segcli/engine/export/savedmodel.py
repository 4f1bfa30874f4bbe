"""A network as TensorFlow Serving wants it: NAME/1/ with a SavedModel, its card and a request to warm up with."""

import shlex
from pathlib import Path

from segcli.engine.export.elsewhere import convert_elsewhere
from segcli.engine.isolated.worker import TENSORFLOW
from segcli.io.card import Contract, ModelCard
from segcli.io.exported import write_savedmodel_card
from segcli.nn.network import SegmentationNetwork
from segcli.parallel import Progress, silent


def write_savedmodel(
    network: SegmentationNetwork,
    card: ModelCard,
    contract: Contract,
    folder: Path,
    progress: Progress = silent,
    offline: bool = False,
) -> None:
    """Writes a network as version 1 of a model, which takes any number of images of one size.

    Args:
        network: stays as it is.
        card: goes into the version's assets.extra/.
        contract: how the model is called; names a size.
        folder: the model's folder; 1/ comes into it.
        progress: told of each step.
        offline: make the isolated environment without a network.

    Raises:
        ExportError: if the network does not convert.
        SegError: if the isolated environment cannot be made.
    """
    version = folder.resolve() / "1"
    convert_elsewhere(TENSORFLOW, network, card, contract, {"folder": str(version)}, progress, offline)
    write_savedmodel_card(version, card)


def docker_command(folder: Path) -> str:
    """The command line that serves a model's folder by TensorFlow Serving: gRPC on port 8500, REST on 8501."""
    name = folder.name
    mount = shlex.quote(f"type=bind,source={folder.resolve()},target=/models/{name}")
    ports, model = "-p 8500:8500 -p 8501:8501", shlex.quote(f"MODEL_NAME={name}")
    return f"docker run --rm {ports} --mount {mount} -e {model} tensorflow/serving"
