"""A network as a .tflite file, converted by LiteRT in the isolated environment."""

import tempfile
from pathlib import Path

from segcli.engine.export.program import write_program
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.worker import LITERT, WorkerError
from segcli.errors import ExportError
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
    environment = isolated_environment(progress, offline)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "network.pt2"
        progress("capturing the network", 0, 1)
        write_program(program, network, card, contract)
        question = {
            "task": "convert", "program": str(program), "file": str(path.resolve()), "output": contract.output,
            "fp16": card.precision == "fp16",
        }  # fmt: skip
        worker = environment.worker(LITERT)
        try:
            worker.ask(question, tell=lambda what: progress(what, 0, 1))
        except WorkerError as error:
            raise ExportError(f"{network.model.name} does not export to TFLite: {error}") from None
        finally:
            worker.close()
    append_card(path, card)
