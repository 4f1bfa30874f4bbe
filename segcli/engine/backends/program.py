"""torch.export: a .pt2 file, which needs torch, but none of the code that the network was built by."""

import warnings
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from segcli.engine.backends.exported import ExportedFile
from segcli.errors import ModelError
from segcli.io.card import CARD, ModelCard


def load_program(path: Path) -> ExportedFile:
    """Opens a file.

    Raises:
        ModelError: if it is missing, damaged, or was not written by `seg export torch`.
    """
    extra = {CARD: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without torch's guards: of some networks they refuse sizes that compute just as well as the traced one.
            module = torch.export.load(path, extra_files=extra).module(check_guards=False)
    except Exception as error:  # torch raises classes of many kinds, one for each kind of damage
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{path} cannot be opened as a program of torch.export ({reason}); export it again") from None
    if not extra[CARD]:
        raise ModelError(f"{path} carries no {CARD}; only files written by `seg export torch` can be used")

    def run(batch: Any) -> NDArray[Any]:
        with torch.inference_mode():
            output: NDArray[Any] = module(torch.from_numpy(batch)).numpy()
        return output

    return ExportedFile(run, ModelCard.from_json(extra[CARD], path))
