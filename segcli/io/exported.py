"""Exported files of TensorFlow's kinds: which they are, and the card that they carry."""

import zipfile
from pathlib import Path

from segcli.errors import ModelError
from segcli.io.card import CARD, ModelCard

LABELS = "labels.txt"

_GRAPH = "saved_model.pb"
_EXTRA = "assets.extra"


def append_card(path: Path, card: ModelCard) -> None:
    """Appends a card and a list of the classes to a .tflite file.

    They go into a zip archive behind the model, where TFLite keeps the files of a model: runtimes pass over it, and
    any unzip program shows it.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CARD, card.to_json())
        archive.writestr(LABELS, "".join(f"{name}\n" for name in card.task.classes))


def read_tflite_card(path: Path) -> ModelCard:
    """The card inside a .tflite file.

    Raises:
        ModelError: if there is none, or the file is missing or not whole.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(CARD).decode(errors="replace")
    except (zipfile.BadZipFile, KeyError):
        raise ModelError(
            f"{path} carries no {CARD}: it is cut off, or was not written by `seg export tflite`. Export it again."
        ) from None
    return ModelCard.from_json(text, path)


def savedmodel_version(path: Path) -> Path | None:
    """The version of the highest number in a model's folder, which is the one that TensorFlow Serving chooses."""
    versions = [folder for folder in path.glob("*") if folder.name.isdecimal() and (folder / _GRAPH).is_file()]
    return max(versions, key=lambda folder: int(folder.name), default=None)


def write_savedmodel_card(version: Path, card: ModelCard) -> None:
    """Puts a card beside what else a version of a SavedModel carries."""
    extra = version / _EXTRA
    extra.mkdir(exist_ok=True)
    (extra / CARD).write_text(card.to_json(), encoding="utf-8")


def read_savedmodel_card(version: Path) -> ModelCard:
    """The card of a version of a SavedModel.

    Raises:
        ModelError: if there is none.
    """
    path = version / _EXTRA / CARD
    if not path.is_file():
        raise ModelError(f"{version} carries no {CARD}; only what `seg export savedmodel` wrote can be used")
    return ModelCard.from_json(path.read_text(encoding="utf-8", errors="replace"), path)
