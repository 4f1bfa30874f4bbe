"""Conversions that run in the isolated environment: the network goes there as a .pt2 file, and a file comes back."""

import errno
import os
import tempfile
from pathlib import Path

from segcli.engine.export.program import write_program
from segcli.engine.isolated.environment import isolated_environment
from segcli.engine.isolated.inside_messages import Message, Tell
from segcli.engine.isolated.worker import WorkerError
from segcli.errors import ExportError
from segcli.io.card import Contract, ModelCard
from segcli.nn.network import SegmentationNetwork
from segcli.parallel import Progress


def convert_elsewhere(
    script: Path,
    network: SegmentationNetwork,
    card: ModelCard,
    contract: Contract,
    question: Message,
    progress: Progress,
    offline: bool,
) -> None:
    """Lets a script of the isolated environment convert a network.

    Args:
        script: answers `convert`.
        network: stays as it is.
        card: the model's.
        contract: how the file is called.
        question: what else the script is told: where the file goes, for instance.
        progress: told of each step.
        offline: make the environment without a network.

    Raises:
        ExportError: if the network does not convert.
        OSError: if the disk is full there, whatever the converter makes of it.
        SegError: if the environment cannot be made.
    """
    environment = isolated_environment(progress, offline)
    tell = _one_after_another(progress)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "network.pt2"
        tell("capturing the network")
        write_program(program, network, card, contract)
        tell("starting the converter")
        worker = environment.worker(script)
        question = {"task": "convert", "program": str(program), "output": contract.output, **question}
        try:
            worker.ask(question, tell=tell)
        except WorkerError as error:
            full = os.strerror(errno.ENOSPC)
            if full in str(error):
                raise OSError(errno.ENOSPC, full) from None
            raise ExportError(f"{network.model.name} cannot be converted: {error}") from None
        finally:
            worker.close()


def _one_after_another(progress: Progress) -> Tell:
    """Tells of steps, each of which ends when the next begins."""
    current: list[str] = []

    def tell(what: str) -> None:
        if current:
            progress(current.pop(), 1, 1)
        progress(what, 0, 1)
        current.append(what)

    return tell
