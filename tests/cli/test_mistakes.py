"""The first mistakes of a new user: each ends in one line with the right command, which then works when pasted."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import write_pairs
from typer.testing import Result

from segcli.cli.corrections import with_line
from segcli.config import RunConfig
from segcli.datasets.open import open_source
from segcli.datasets.prepared.write import prepare
from segcli.engine.training.loop import train
from segcli.errors import SegError

Seg = Callable[..., Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a config and a trained run."""
    folder = tmp_path_factory.mktemp("home")
    write_pairs(folder / "pictures", 6)
    for split, number in (("train", 4), ("val", 2)):
        write_pairs(folder / "parts" / split, number)
    parts = {f"{s}_{k}_dir": str(folder / "parts" / s / k) for s in ("train", "val") for k in ("images", "masks")}
    values = {
        "dataset": parts, "encoder": "resnet18", "encoder_weights": "none",
        "model": {"encoder_depth": 3, "decoder_channels": [8, 8, 8]},
        "train": {"epochs": 1, "batch_size": 2, "image_size": 32, "workers": 0},
        "tracking": {"tensorboard": False}, "device": "cpu",
    }  # fmt: skip
    (folder / "mine.yml").write_text(yaml.safe_dump(values))
    (folder / "typo.yml").write_text(yaml.safe_dump({**values, "encoder": "resnt18"}))
    (folder / "no_data.yml").write_text(yaml.safe_dump({**values, "dataset": {"root": "data/vco"}}))
    prepare(open_source(folder / "pictures"), folder / "data" / "voc")
    train(RunConfig.model_validate({**values, "output_dir": str(folder / "runs")}), "mine")
    return folder


MISTAKES = [
    ("order of words", "prepare dataset pictures", "dataset prepare pictures"),
    ("group left out", "check pictures", "dataset check pictures"),
    ("group behind its command", "show config mine.yml", "config show mine.yml"),
    ("target", "export onxn --fp16", "export onnx --fp16"),
    ("layout for folder", "dataset check voc", "dataset check data/voc"),
    ("missing -c", "train --dry-run", "train -c mine.yml"),
    ("option", "train mine.yml --dryrun", "train mine.yml --dry-run"),
    ("command", "trian -c mine.yml --dry-run", "train -c mine.yml --dry-run"),
    ("command of a group", "dataset chek pictures", "dataset check pictures"),
    ("key", "config show mine.yml --set trian.epochs=2", "config show mine.yml --set train.epochs=2"),
    ("key below another", "config show mine.yml --set epochs=2", "config show mine.yml --set train.epochs=2"),
    ("encoder in the file", "train typo.yml --dry-run", "train typo.yml --dry-run --set encoder=resnet18"),
    ("encoder", "train mine.yml --dry-run --set encoder=resnt18", "train mine.yml --dry-run --set encoder=resnet18"),
    ("file", "train -c mien.yml --dry-run", "train -c mine.yml --dry-run"),
    ("recipe that is not here", "train -c configs/quickstart.yml", "config recipe quickstart -o configs/quickstart.yml"),
    ("dataset", "dataset check picture", "dataset check pictures"),
    ("model", "eval -m mien --json", "eval -m mine --json"),
    ("split", "eval --split validation --json", "eval --split val --json"),
    ("value", "eval --precision float32", "eval --precision fp32"),
    ("value in a list", "tta --policies none,flipp", "tta --policies none,flip"),
    ("source", "predict picturs/images/", "predict pictures/images/"),
    ("file of a source", "predict pictures/images/00.png", "predict pictures/images/000.png"),
    ("data of a model", "eval -m mine -d data/vco --json", "eval -m mine -d data/voc --json"),
    ("data in the file", "train no_data.yml --dry-run", "train no_data.yml --dry-run --set dataset.root=data/voc"),
    ("data of a layout", "dataset prepare folder --from pctures --to data/new", "dataset prepare folder --from pictures --to data/new"),
    ("run", "train --resume mien --set train.epochs=2", "train --resume mine --set train.epochs=2"),
    ("kind", "list layout", "list layouts"),
    ("old shares", "dataset prepare pictures --split 2,1 --overwrite", "dataset prepare pictures --ratios 2,1 --overwrite"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "right"), [pair[1:] for pair in MISTAKES], ids=[pair[0] for pair in MISTAKES])
def test_a_first_mistake_is_answered_with_a_command_that_works(
    home: Path, seg: Seg, monkeypatch: pytest.MonkeyPatch, wrong: str, right: str
) -> None:
    monkeypatch.chdir(home)
    answer = seg(*wrong.split())
    assert answer.exit_code in {1, 2}
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.partition(" try: ")[2] == f"seg {right}"
    pasted = seg(*shlex.split(right))
    assert pasted.exit_code == 0, pasted.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "-m", "a", "-m", "b"], "--model is given 2 times; give it once"),
        (["train", "a.yml", "-c", "b.yml"], "two configs; give one"),
        (["train", "a.yml", "--resume"], "--resume goes on with a run by its own config"),
        (["train", "a.yml", "--dry-run", "--devices", "2"], "--dry-run tries one process; leave --devices out"),
        (["dataset", "prepare", "shapes", "--from", "."], "shapes needs no folder; leave it out"),
        (["dataset", "prepare", "pictures", "--from", "."], "both say where the data lies; give one of them"),
        (["dataset", "check", "parts", "--seed", "3"], "lie in train and val already; leave them out"),
        (["dataset", "check", "pictures", "--split-file", "train=a", "--seed", "3"], "--ratios, --group-by and --seed"),
        (["dataset", "check", "pictures", "--layout", "coco", "--map", "1=1"], "--map is for files of masks"),
        (["dataset", "prepare", "parts/train/images"], "looks like no layout that seg knows; name its folders with"),
        (["dataset", "check", "pictures", "--names", "val=a"], "--names is called --split-file now"),
        (["config", "recipe", "folder", "-o", "mine.yml"], "mine.yml is there already"),
        (["config", "recipe", "quickstart", "-d", "data/x"], "recipe quickstart is for no prepared dataset"),
    ],
)
def test_what_does_nothing_or_cannot_be_is_refused(
    home: Path, seg: Seg, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(home)
    result = seg(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr, result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_file_that_nobody_typed_is_not_taken_for_the_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "001.png").touch()
    message = f"{tmp_path}/002.png: no such file"
    assert str(with_line(SegError(message), ["dataset", "check", "data/x"])) == message
    typed = str(with_line(SegError(message), ["predict", f"{tmp_path}/002.png"]))
    assert typed == f"{message}; did you mean {tmp_path}/001.png? try: seg predict {tmp_path}/001.png"


def test_debug_may_stand_anywhere(seg: Seg) -> None:
    for arguments in (("--debug", "eval", "-m", "nothing"), ("eval", "-m", "nothing", "--debug")):
        assert type(seg(*arguments).exception).__name__ == "ModelError"


def test_own_data_is_prepared_beside_others_and_trained_as_the_hints_say(seg: Seg, tmp_path: Path) -> None:
    write_pairs(tmp_path / "mine", 6)
    write_pairs(tmp_path / "other" / "mine", 6)
    result = seg("dataset", "prepare", "mine")
    assert (result.exit_code, result.stdout.splitlines()[-1], "replac" in result.stderr) == (0, "data/mine", False)
    again = seg("dataset", "prepare", "mine")
    assert (again.exit_code, "replaced the dataset in data/mine" in again.stderr) == (0, True)
    refused = seg("dataset", "prepare", "other/mine")
    assert (refused.exit_code, "--overwrite" in refused.stderr, "replaced" in refused.stderr) == (2, True, False)
    assert seg("dataset", "prepare", "other/mine", "--overwrite").exit_code == 0
    small = ["--set", "encoder_weights=none", "--set", "encoder=resnet18", "--set", "train.image_size=32", "--dry-run"]
    hints = [line.split() for line in again.stderr.partition("next:")[2].splitlines() if line.strip()]
    assert [words[:3] for words in hints] == [["seg", "config", "recipe"], ["seg", "train", "-c"]]
    assert seg(*hints[0][1:]).exit_code == 0
    pasted = seg(*hints[1][1:], *small)
    assert pasted.exit_code == 0, pasted.stderr


def test_figures_alone_write_no_page(seg: Seg, tmp_path: Path) -> None:
    write_pairs(tmp_path / "mine", 4)
    assert seg("dataset", "stats", "mine", "--json").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert '"page": "x.html"' in seg("dataset", "stats", "mine", "--json", "--html", "x.html").stdout
    assert (tmp_path / "x.html").is_file()
