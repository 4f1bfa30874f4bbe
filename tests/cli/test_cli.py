import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import draw_pair, read_rows, write_pairs
from PIL import Image
from typer.testing import Result

from segcli.config import RunConfig, load_config
from segcli.engine.training.batches import open_data, training_crops
from segcli.engine.training.loop import train
from segcli.io.images import read_mask

Seg = Callable[..., Result]
HEAVY = (
    "torch",
    "segmentation_models_pytorch",
    "timm",
    "albumentations",
    "cv2",
    "onnx",
    "onnxruntime",
    "numpy",
    "matplotlib",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run and its data."""
    home = tmp_path_factory.mktemp("home")
    for split, number, start in (("train", 6, 0), ("val", 3, 100)):
        write_pairs(home / "data" / split, number, start=start)
    folders = {f"{s}_{k}_dir": str(home / "data" / s / k) for s in ("train", "val") for k in ("images", "masks")}
    config = RunConfig.model_validate(
        {
            "dataset": {**folders, "classes": ["ground", "red", "blue"]},
            "encoder": "resnet18",
            "encoder_weights": None,
            "model": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
            "train": {"epochs": 12, "batch_size": 2, "image_size": 32, "workers": 0},
            "optimizer": {"lr": 1e-2},
            "tracking": {"tensorboard": False},
            "output_dir": str(home / "runs"),
            "device": "cpu",
        }
    )
    train(config, "tiny")
    return home


@pytest.fixture
def here(trained: Path, seg: Seg, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def assert_next_steps_work(result: Result, seg: Seg, number: int) -> None:
    """Pastes the lines below `next:`, and those that they lead to."""
    lines = result.stderr.partition("next:\n")[2].splitlines()
    assert len(lines) == number
    for line in lines:
        pasted = seg(*shlex.split(line)[1:])
        assert pasted.exit_code == 0, f"{line}: {pasted.stderr}"
        if "next:" in pasted.stderr:
            assert_next_steps_work(pasted, seg, 2)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_config_error_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("dataset: {embedded: shapes}\nepochs: 3\n")
    arguments = ["train", "-c", str(tmp_path / "a.yml")]
    code = (
        "import sys\nfrom segcli.cli.app import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as end: print(end.code)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run(code).split("\n")[:2] == ["2", "[]"]


def test_eval_prints_a_row_a_class(here: Path, seg: Seg) -> None:
    result = seg("eval")
    assert result.exit_code == 0
    assert all(word in result.stdout for word in ("ground", "red", "blue", "mIoU", "pixel accuracy"))
    assert "model: runs/tiny/best" in result.stderr
    values = json.loads(seg("eval", "-m", "runs/tiny", "--json").stdout)
    assert 0.8 < values["miou"] < 1
    assert seg("val", "--json", "--tta").exit_code == 0


def test_eval_takes_a_folder_and_refuses_other_classes(here: Path, seg: Seg) -> None:
    values = json.loads(seg("eval", "-d", "data/val", "--json").stdout)
    assert values == {**json.loads(seg("eval", "--json").stdout), "data": "val"}
    write_pairs(here / "more", 2, values=(0, 1, 7))
    result = seg("eval", "-d", "more")
    assert result.exit_code == 1
    assert "holds 7, but classes run 0…2" in result.stderr


def test_predict_writes_masks_and_overlays(here: Path, seg: Seg, tmp_path: Path) -> None:
    result = seg("predict", "--tta", "data/val/images", "-o", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.split() == [str(tmp_path / "masks"), str(tmp_path / "overlays")]
    for index in range(100, 103):
        _, truth = draw_pair(index)
        assert (read_mask(tmp_path / "masks" / f"{index}.png") == truth).mean() > 0.9
        assert (tmp_path / "overlays" / f"{index}.jpg").is_file()


def test_predict_goes_on_where_it_was_stopped(here: Path, seg: Seg, tmp_path: Path) -> None:
    line = ("predict", "data/val/images", "--resume", "--save", "masks", "--tiles", "64", "-o", tmp_path)
    assert seg(*line).exit_code == 0
    assert "3 images were done before" in seg(*line).stderr
    (tmp_path / "masks" / "101.png").unlink()
    assert "101.png" in seg(*line).stderr
    assert (read_mask(tmp_path / "masks" / "101.png") == draw_pair(101)[1]).mean() > 0.9
    refused = seg(*line, "--overlap", "0.5")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"--resume: {tmp_path} was made with --overlap 0.25, not 0.5" in " ".join(refused.stderr.split())
    assert "tiles big: expected auto" in seg("predict", "data/val/images", "--tiles", "big").stderr


def test_predict_names_a_damaged_image_and_does_the_others(here: Path, seg: Seg, tmp_path: Path) -> None:
    Image.fromarray(draw_pair(1)[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nonsense")
    result = seg("predict", tmp_path, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert f"error: {tmp_path / 'bad.png'} is not an image" in result.stderr
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    ("option", "kind"),
    [("--overlay", "overlays"), ("--panel", "panels"), ("--contours", "contours"), ("--confidence", "confidence")],
)
def test_visualize_draws_the_val_split_or_files(here: Path, seg: Seg, tmp_path: Path, option: str, kind: str) -> None:
    result = seg("visualize", option, "--limit", "2")
    assert result.exit_code == 0
    assert [Path(line).name for line in result.stdout.split()] == ["100.png", "101.png", f"{kind}.jpg"]
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nonsense")
    result = seg("visualize", option, "data/val/images/100.png", tmp_path / "bad.png", "-o", tmp_path)
    assert result.stdout.split() == [str(tmp_path / kind / "100.png")]
    assert (result.exit_code, "bad.png is not an image" in result.stderr) == (1, True)
    with Image.open(tmp_path / kind / "100.png") as picture:
        assert np.asarray(picture).std() > 10


def test_visualize_draws_errors_of_the_worst_images(here: Path, seg: Seg, tmp_path: Path) -> None:
    worst = seg("visualize", "--errors", "--worst", "--limit", "1", "-o", tmp_path).stdout.split()
    assert [Path(line).parent for line in worst] == [tmp_path / "errors"]


def test_visualize_draws_the_crops_that_the_run_was_trained_on(here: Path, seg: Seg) -> None:
    result = seg("visualize", "--augmented")
    assert result.stdout.split() == ["runs/tiny/visualize/augmented.png"]
    config = load_config(here / "runs/tiny/config.yml", [])
    with open_data(config, lambda event: None) as dataset:
        crops = training_crops(config, dataset, dataset.split("train"), (124, 116, 104))
        image, _ = crops[crops.order.turns(0)[0]]
    with Image.open(here / "runs/tiny/visualize/augmented.png") as picture:
        shown = np.asarray(picture)[:192:6, :192:6]
    assert np.array_equal(shown, image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--errors", "data/val/images"], "--errors compares with masks, and SOURCE has none"),
        (["--limit", "16", "data/val/images"], "--limit chooses from a dataset"),
        (["--split", "val", "data/val/images"], "--split chooses from a dataset"),
        (["--worst", "data/val/images"], "--worst chooses from a dataset"),
        (["-d", "data/val", "data/val/images"], "--data chooses from a dataset"),
        (["--augmented", "--size", "64"], "--size has no meaning for --augmented"),
        (["--augmented", "data/val/images"], "SOURCE has no meaning for --augmented"),
    ],
)
def test_visualize_refuses_what_would_do_nothing(here: Path, seg: Seg, arguments: list[str], message: str) -> None:
    result = seg("visualize", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("option", [[], ["--fp16"]])
def test_an_exported_file_is_a_model_like_any_other(here: Path, seg: Seg, option: list[str]) -> None:
    result = seg("export", "onnx", *option)
    assert result.exit_code == 0, result.stderr
    file = result.stdout.split()[-1]
    assert file == ("runs/tiny/export/model-fp16.onnx" if option else "runs/tiny/export/model.onnx")
    exported = json.loads(seg("eval", "-m", file, "--json").stdout)
    assert exported["miou"] == pytest.approx(json.loads(seg("eval", "--json").stdout)["miou"], abs=0.01)


@pytest.mark.parametrize("command", [["predict", "data/val/images", "-o", "out"], ["eval", "--split", "val"]])
def test_an_exported_file_serves_without_importing_torch(
    here: Path, seg: Seg, tmp_path: Path, command: list[str]
) -> None:
    assert seg("export", "onnx", "-o", tmp_path / "m.onnx").exit_code == 0
    arguments = [*command, "-m", str(tmp_path / "m.onnx"), "--tta"]
    code = (
        "import sys\nfrom segcli.cli.app import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as end: print(end.code)\n"
        "print('torch' in sys.modules)"
    )
    assert run(code).split("\n")[-3:-1] == ["0", "False"]


def test_the_number_format_is_part_of_a_figure(here: Path, seg: Seg, tmp_path: Path) -> None:
    card_file = here / "runs" / "tiny" / "best" / "segcli.json"
    card = json.loads(card_file.read_text())
    assert card["metrics"]["val"]["precision"] == card["precision"]
    own = json.loads(seg("eval", "--json").stdout)
    assert (own["precision"], own["miou"]) == (card["precision"], pytest.approx(card["metrics"]["val"]["miou"]))
    for precision in ("fp32", "bf16"):
        assert json.loads(seg("eval", "--json", "--precision", precision).stdout)["precision"] == precision
        assert f"in {precision} on" in seg("eval", "--precision", precision).stdout
        for command in (
            ["predict", "data/val/images/100.png"],
            ["tta", "--views", "none", "--policies", "none"],
            ["visualize"],
        ):
            result = seg(*command, "--precision", precision)
            assert result.exit_code == 0, result.stderr
    assert "unknown number format 'fp8'; " in seg("eval", "--precision", "fp8").stderr
    assert seg("export", "onnx", "-o", "m.onnx").exit_code == 0
    refused = seg("eval", "-m", "m.onnx", "--precision", "bf16")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--precision is for bundles; m.onnx was exported in fp32" in refused.stderr


def test_tta_searches_policies_and_keeps_the_best(here: Path, seg: Seg) -> None:
    result = seg("tta", "--policies", "none,flip,scales", "--views", "r180,0.5")
    assert all(name in result.stdout for name in ("none", "flip", "scales", "95 % interval", "gain per cost"))
    folder = here / "runs" / "tiny" / "tta"
    assert read_rows(folder / "tta.csv")[0]["policy"] == "none"
    assert (folder / "tta.png").stat().st_size > 1000
    assert_next_steps_work(result, seg, 1)
    values = json.loads(seg("tta", "--policies", "flip", "--views", "none", "--json", "--save").stdout)
    assert values == json.loads((folder / "tta.json").read_text(encoding="utf-8"))
    assert [row["policy"] for row in values["policies"]] == ["none", "flip"]
    card = json.loads((here / "runs" / "tiny" / "best" / "segcli.json").read_text())
    assert card["tta"] == values["best"]


def test_train_resumes_the_last_run_and_its_next_steps_work(seg: Seg, tmp_path: Path) -> None:
    write_pairs(tmp_path / "d", 6)
    dataset = {f"{s}_{k}_dir": f"d/{k}" for s in ("train", "val") for k in ("images", "masks")}
    (tmp_path / "c.yml").write_text(
        yaml.safe_dump(
            {
                "dataset": dataset,
                "encoder": "resnet18",
                "encoder_weights": "none",
                "model": {"encoder_depth": 3, "decoder_channels": [8, 8, 8]},
                "train": {"epochs": 2, "batch_size": 2, "image_size": 32, "workers": 0},
                "tracking": {"tensorboard": False},
            }
        )
    )  # fmt: skip
    result = seg("train", "-c", "c.yml", "--set", "optimizer.lr=1e-3", "--name", "n")
    assert result.exit_code == 0, result.stderr
    assert "runs/n/best" in result.stdout
    assert_next_steps_work(result, seg, 4)
    shutil.rmtree(tmp_path / "runs" / "n" / "state" / "step-00000006")
    resumed = seg("train", "--resume")
    assert (resumed.exit_code, "going on with runs/n behind epoch 1" in resumed.stderr) == (0, True)
    assert len((tmp_path / "runs" / "n" / "results.csv").read_text().splitlines()) == 3
    finished = seg("train", "--resume", "n")
    assert (finished.exit_code, "is finished" in finished.stderr) == (2, True)


def test_prepare_then_train_as_the_readme_says(seg: Seg, tmp_path: Path) -> None:
    write_pairs(tmp_path / "mine", 8, values=(0, 255, 255))
    refused = seg("dataset", "prepare", "folder", "--from", "mine", "--to", "data/mine")
    assert (refused.exit_code, "--map 255=1" in refused.stderr) == (1, True)
    assert not (tmp_path / "data").exists()
    done = seg(
        "dataset", "prepare", "folder", "--from", "mine", "--to", "data/mine", "--map", "255=1", "--ratios", "3,1"
    )
    assert done.exit_code == 0, done.stderr
    assert yaml.safe_load((tmp_path / "data" / "mine" / "dataset.yml").read_text())["splits"]["train"]["images"] == 6


def test_data_that_changed_is_told(seg: Seg, tmp_path: Path) -> None:
    write_pairs(tmp_path / "mine", 8)
    assert seg("dataset", "prepare", "folder", "--from", "mine", "--to", "data/mine", "--copy").exit_code == 0
    config = {
        "dataset": {"root": "data/mine"}, "encoder": "resnet18", "encoder_weights": None, "device": "cpu",
        "model": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
        "train": {"epochs": 2, "batch_size": 2, "image_size": 32, "workers": 0}, "tracking": {"tensorboard": False},
    }  # fmt: skip
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(config))
    trained = seg("train", "-c", "mine.yml")
    assert (trained.exit_code, "changed" in trained.stderr) == (0, False), trained.stderr
    assert "changed" not in seg("eval").stderr
    mask = sorted((tmp_path / "data/mine/masks/val").iterdir())[0]
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(mask)
    told = seg("eval").stderr
    assert f"1 file of data/mine changed since it was prepared (as masks/val/{mask.name})" in told
    assert "the data has changed since the model was trained on it" in told
    again = seg("train", "-c", "mine.yml")
    assert (again.exit_code, "1 file of data/mine changed" in again.stderr) == (0, True)
    state = tmp_path / "runs/mine/state"
    assert state.is_dir()
    resumed = seg("train", "--resume", "runs/mine")
    assert resumed.exit_code == 2
    assert "has changed since it stopped" in resumed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train"], 2, "no config is given (CONFIG, or -c CONFIG); try: seg config recipe quickstart -o quickstart.yml"),
        (["train", "-c", "nothing.yml"], 2, "nothing.yml: no such file"),
        (["train", "--resume"], 2, "runs holds no run to resume"),
        (["train", "--resume", "x", "--name", "y"], 2, "--name and --dry-run are for new runs (-c CONFIG)"),
        (["eval"], 2, "runs holds no trained model"),
        (["eval", "-m", "nothing"], 1, "nothing: no such file or folder"),
        (["predict", "nothing.jpg"], 2, "nothing.jpg: no such file or folder"),
        (["predict", ".", "-m", "x"], 1, "holds no images"),
        (["visualize", "--overlay", "--panel"], 2, "give one"),
        (["tta", "--policies", "flipp"], 2, "unknown TTA policy 'flipp'; did you mean flip?"),
        (["dataset", "prepare", "camvit"], 2, "no layout, folder or archive 'camvit'; did you mean camvid? try: seg dataset prepare camvid"),
        (["dataset", "prepare", "folder"], 2, "seg dataset prepare folder needs its folder: --from DIR"),
        (["dataset", "prepare", "camvid", "--from", "."], 1, "holds no train, trainannot, val and valannot"),
        (["dataset", "prepare", "folder", "--from", ".", "--map", "x"], 2, "--map x: expected the numbers VALUE=CLASS"),
        (["config", "show", "-c", "nothing.yml"], 2, "nothing.yml: no such file"),
        (["no-such-command"], 2, "seg has no command 'no-such-command'; it has init, train, eval"),
        (["export", "onnx", "-m", "broken.onnx"], 2, "broken.onnx is an exported file"),
        (["eval", "-m", "broken.onnx"], 1, "broken.onnx cannot be opened as ONNX"),
    ],
)  # fmt: skip
def test_wrong_input_ends_in_one_line_and_a_code(
    seg: Seg, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07\x12\x04")
    result = seg(*arguments)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_wrong_transform_ends_in_one_line_before_training(seg: Seg, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "dataset: {embedded: shapes}\nencoder: resnet18\nencoder_weights: none\n"
        "augmentation:\n  - HorizontalFlip\n  - {name: GaussNoise, std_rang: [0.1, 0.2]}\n"
    )
    result = seg("train", "-c", "a.yml")
    assert result.exit_code == 2
    assert "unknown parameter 'std_rang'; did you mean std_range?" in " ".join(result.stderr.split())
    assert not (tmp_path / "runs").exists()


def test_voc_without_data_names_the_command(seg: Seg) -> None:
    result = seg("train", "-c", Path(__file__).parents[2] / "configs" / "voc.yml")
    assert result.exit_code == 2
    assert "\nseg dataset prepare voc" in result.stderr


def test_masks_of_0_and_255_keep_their_meaning_in_eval(seg: Seg, tmp_path: Path) -> None:
    write_pairs(tmp_path / "d", 4, values=(0, 255, 255))
    values = {
        "dataset": {
            **{f"{s}_{k}_dir": f"d/{k}" for s in ("train", "val") for k in ("images", "masks")},
            "map": {255: 1},
        },
        "encoder": "resnet18",
        "encoder_weights": "none",
        "model": {"encoder_depth": 3, "decoder_channels": [8, 8, 8]},
        "train": {"epochs": 1, "batch_size": 2, "image_size": 32, "workers": 0},
        "tracking": {"tensorboard": False},
    }
    (tmp_path / "two.yml").write_text(yaml.safe_dump(values))
    assert seg("train", "-c", "two.yml").exit_code == 0
    own, same = (json.loads(seg("eval", *data, "--json").stdout) for data in ((), ("-d", "d")))
    assert own["classes"] == same["classes"]
    assert same["classes"]["class_1"]["accuracy"] is not None


def test_a_model_away_from_its_data_asks_for_a_dataset(
    here: Path, seg: Seg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = json.loads((here / "runs" / "tiny" / "best" / "segcli.json").read_text())
    card["data"]["dataset"] = {"root": "data/gone"}
    shutil.copytree(here / "runs" / "tiny" / "best", tmp_path / "moved")
    (tmp_path / "moved" / "segcli.json").write_text(json.dumps(card))
    result = seg("eval", "-m", tmp_path / "moved")
    assert result.exit_code == 2
    assert "is not here (data/gone is no prepared dataset (no dataset.yml there)); go to the folder" in result.stderr
    assert "give a dataset with -d" in result.stderr


def test_an_output_that_cannot_be_is_one_line(here: Path, seg: Seg, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in (
        ("predict", "data/val/images", "-o", tmp_path / "file"),
        ("export", "onnx", "-o", tmp_path / "file" / "m.onnx"),
    ):
        result = seg(*arguments)
        assert result.exit_code == 1
        assert result.stderr.count("error:") == 1
        assert "Traceback" not in result.stderr
    assert seg("export", "onnx", "-o", "net").exit_code == 2
