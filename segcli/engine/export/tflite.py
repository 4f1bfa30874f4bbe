"""A network as a .tflite file, converted by LiteRT in the isolated environment."""

from pathlib import Path

from segcli.engine.export.elsewhere import convert_elsewhere
from segcli.engine.isolated.worker import LITERT
from segcli.io.card import Contract, ModelCard
from segcli.io.exported import append_card
from segcli.nn.network import SegmentationNetwork
from segcli.parallel import Progress, silent


def write_tflite(
    network: SegmentationNetwork,
    card: ModelCard,
    contract: Contract,
    path: Path,
    progress: Progress = silent,
    offline: bool = False,
) -> None:
    """Writes a network as a .tflite file, which takes one image of one size.

    Args:
        network: stays as it is.
        card: goes into the file; a precision of fp16 stores the weights in half: a runtime without fp16 widens them
            when it loads the file, and computes in fp32.
        contract: how the file is called; names a size and a batch of 1.
        path: the file.
        progress: told of each step.
        offline: make the isolated environment without a network.

    Raises:
        ExportError: if the network does not convert.
        SegError: if the isolated environment cannot be made.
    """
    question = {"file": str(path.resolve()), "fp16": card.precision == "fp16"}
    convert_elsewhere(LITERT, network, card, contract, question, progress, offline)
    append_card(path, card)
