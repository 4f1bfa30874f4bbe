"""Checkpoints: the state that a training goes on from, with a checksum, the newest valid one wins."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from segcli.errors import ModelError
from segcli.io.files import replacing_folder

STATE = "state.pt"
MANIFEST = "manifest.json"


def save_checkpoint(folder: Path, state: dict[str, Any], step: int, keep: int = 2) -> None:
    """Writes the state as FOLDER/step-N and removes all but the newest few.

    Args:
        folder: the run's state folder.
        state: nested dicts and lists of tensors and plain values.
        step: training steps done.
        keep: states to keep, this one included.
    """
    with replacing_folder(folder / f"step-{step:08d}", durable=True) as staged:
        torch.save(state, staged / STATE)
        (staged / MANIFEST).write_text(json.dumps({"sha256": _sha256(staged / STATE)}), encoding="utf-8")
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Reads the newest state that is whole.

    Raises:
        ModelError: if there is none.
    """
    for candidate in _newest_first(folder):
        state = _read(candidate)
        if state is not None:
            return state
    raise ModelError(f"{folder} holds no whole training state; the run cannot be resumed, start it again")


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["sha256"] != _sha256(folder / STATE):
            return None
        state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except (OSError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
