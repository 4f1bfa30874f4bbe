from pathlib import Path

import pytest

from segcli.errors import ModelError
from segcli.io.card import ModelCard
from segcli.io.exported import (
    append_card,
    read_savedmodel_card,
    read_tflite_card,
    savedmodel_version,
    write_savedmodel_card,
)
from segcli.io.rundir import find_model
from segcli.task import Task

CARD = ModelCard(Task.of("ab"), "Unet", "resnet18", None, (0, 0, 0), (1, 1, 1))


def test_a_card_is_appended_to_the_model_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"the model" * 100)
    append_card(path, CARD)
    assert path.read_bytes().startswith(b"the model" * 100)
    assert read_tflite_card(path) == CARD
    assert find_model(path) == path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"m.tflite carries no segcli.json: it is cut off"):
        read_tflite_card(path)


def test_the_highest_version_of_a_savedmodel_is_taken(tmp_path: Path) -> None:
    for version in ("1", "10", "notes"):
        (tmp_path / "m" / version).mkdir(parents=True)
        (tmp_path / "m" / version / "saved_model.pb").touch()
    folder = savedmodel_version(tmp_path / "m")
    assert folder == tmp_path / "m" / "10"
    assert savedmodel_version(tmp_path) is None
    assert find_model(tmp_path / "m") == tmp_path / "m"
    with pytest.raises(ModelError, match=r"10 carries no segcli.json"):
        read_savedmodel_card(folder)
    write_savedmodel_card(folder, CARD)
    assert read_savedmodel_card(folder) == CARD
