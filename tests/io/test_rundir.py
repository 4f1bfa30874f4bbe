import os
from pathlib import Path

import pytest
from conftest import read_rows

from segcli.errors import ModelError, UsageError
from segcli.io.rundir import create_run, find_model, find_run, output_folder, write_rows


def bundle(folder: Path, age: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "segcli.json").touch()
    os.utime(folder / "segcli.json", (1000 - age, 1000 - age))
    (folder.parent / "config.yml").touch()
    return folder


def test_runs_are_numbered_and_the_last_is_noted(tmp_path: Path) -> None:
    assert [create_run(tmp_path, "a").path.name for _ in range(3)] == ["a", "a-2", "a-3"]
    (tmp_path / "a-3" / "config.yml").touch()
    assert find_run(None, tmp_path).path.name == "a-3"
    with pytest.raises(UsageError, match="b: no such run"):
        find_run("b", tmp_path)


def test_a_model_is_a_run_a_bundle_a_file_or_the_newest_best(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no trained model"):
        find_model(None, tmp_path)
    old, new = bundle(tmp_path / "old" / "best", 10), bundle(tmp_path / "new" / "best", 0)
    (tmp_path / "newest-without-a-model").mkdir()
    (tmp_path / "last").write_text("old\n")
    (tmp_path / "m.onnx").touch()
    assert find_model(None, tmp_path) == new
    assert find_model(Path("old"), tmp_path) == old
    assert find_model(tmp_path / "old" / "best", tmp_path) == old
    assert find_model(tmp_path / "last", tmp_path) == old
    assert find_model(tmp_path / "m.onnx", tmp_path) == tmp_path / "m.onnx"
    for wrong, message in (("nothing", "no such file or folder"), ("newest-without-a-model", "is no model")):
        with pytest.raises(ModelError, match=message):
            find_model(tmp_path / wrong, tmp_path)


def test_products_go_into_the_run(tmp_path: Path) -> None:
    best = bundle(tmp_path / "run" / "best", 0)
    assert output_folder(best, "export") == tmp_path / "run" / "export"
    assert output_folder(tmp_path / "run" / "export" / "m.onnx", "predictions") == tmp_path / "run" / "predictions"
    assert output_folder(tmp_path / "alone" / "m.onnx", "predictions") == tmp_path / "alone" / "predictions"


def test_rows_round_trip(tmp_path: Path) -> None:
    write_rows(tmp_path / "r.csv", [{"epoch": 1, "loss": 0.123456789}, {"epoch": 2, "loss": float("nan")}])
    assert (tmp_path / "r.csv").read_text() == "epoch,loss\n1,0.123457\n2,nan\n"
    assert read_rows(tmp_path / "r.csv")[1] == {"epoch": "2", "loss": "nan"}


def test_names_with_commas_and_quotes_round_trip(tmp_path: Path) -> None:
    row = {"epoch": 1, "val_iou/chest, bureau": 0.25, 'val_iou/13" "screen"': 0.5, "note": "a,\nb"}
    write_rows(tmp_path / "r.csv", [row])
    assert read_rows(tmp_path / "r.csv") == [{name: str(value) for name, value in row.items()}]


@pytest.mark.parametrize("name", ["a/b", "last", "..", ""])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a run"):
        create_run(tmp_path, name)
    assert list(tmp_path.iterdir()) == []
