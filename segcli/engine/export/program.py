"""A network as a `.pt2` file: a program of torch.export with the contract and the model card inside."""

import io
import warnings
from dataclasses import replace
from pathlib import Path

import torch
import torch.fx.experimental._config as symbolic_shapes
from torch.export import Dim, ExportedProgram

from segcli.errors import ExportError
from segcli.io.card import CARD, Contract, ModelCard
from segcli.nn.deployed import Deployed
from segcli.nn.network import SegmentationNetwork, only_size

TRACED_BATCH = 2
TRACED_SIZE = (75, 110)
"""No multiples of any stride, and not alike."""


def deployed(network: SegmentationNetwork, card: ModelCard, contract: Contract) -> Deployed:
    """The network as a contract describes it."""
    return Deployed(network, contract.layout, contract.output, card.inference.size if contract.resizes else None)


def example(contract: Contract) -> torch.Tensor:
    """An image batch of noise as a contract describes it."""
    batch = contract.batch or TRACED_BATCH
    height, width = contract.size or TRACED_SIZE
    shape = (batch, height, width, 3) if contract.layout == "nhwc" else (batch, 3, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def free_axes(contract: Contract) -> dict[int, str]:
    """The axes of `image` that a contract leaves free, with their names."""
    height = 1 if contract.layout == "nhwc" else 2
    axes = {} if contract.batch else {0: "batch"}
    return axes if contract.size else {**axes, height: "height", height + 1: "width"}


def to_program(network: Deployed, contract: Contract) -> ExportedProgram:
    """Captures a network by torch.export, with batch, height and width free where the contract leaves them so.

    Raises:
        ExportError: if torch cannot capture it.
    """
    dynamic = dict.fromkeys(free_axes(contract), Dim.DYNAMIC)
    try:
        # Sizes are taken as unknown, so that no layer is told "not a multiple of 32" of the traced one.
        oblivious = symbolic_shapes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]  # torch sets it late
        with oblivious, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(network, (example(contract),), dynamic_shapes=(dynamic,))
    except Exception as error:  # torch.export raises types of its own, over a dozen in all
        raise ExportError(
            f"{network.network.model.name} cannot be captured by torch.export: {first_line(error)}"
        ) from error


def write_program(path: Path, network: SegmentationNetwork, card: ModelCard, contract: Contract) -> None:
    """Writes a `.pt2` file of a network that keeps a contract, with the card inside as the extra file `segcli.json`.

    Args:
        path: the file.
        network: stays as it is.
        card: the model's.
        contract: how the file is to be called: layout, output, size, batch.

    Raises:
        ExportError: if torch cannot capture the network.
    """
    try:
        program = to_program(deployed(network, card, contract), contract)
    except ExportError as error:
        raise ExportError(f"{error}; {cure(network, contract)}") from error
    content = io.BytesIO()  # where the disk fills, torch's own writer of files ends the whole process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, content, extra_files={CARD: replace(card, contract=contract).to_json()})
    path.write_bytes(content.getbuffer())


def cure(network: SegmentationNetwork, contract: Contract) -> str:
    """What to do where a network cannot be exported as a contract wants it."""
    size = only_size(network.model)
    if size is None or size == contract.size:
        return "choose another encoder"
    return f"its encoder takes images of one size: --size {size[0]}x{size[1]}"


def first_line(error: Exception) -> str:
    """What an error of a library says first."""
    return str(error).strip().partition("\n")[0][:150]
