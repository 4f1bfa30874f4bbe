"""What the image `runtime` rests on: with an exported file, seg works where nothing that trains is installed."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from conftest import write_pairs
from exported import write_exported

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Runs command lines one after the other where a package that is not in the group cannot be imported.
REFUSING = """
import json, sys
from importlib.machinery import PathFinder

absent = set(json.loads(sys.argv[1]))

class Sparse(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Sparse if finder is PathFinder else finder for finder in sys.meta_path]
from segcli.cli.app import main

for arguments in json.loads(sys.argv[2]):
    try:
        main(arguments)
    except SystemExit as end:
        print("exit", end.code, flush=True)
"""

# Packages by the name they are imported by, where that is another one.
MODULES = {
    "opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml",
    "segmentation-models-pytorch": "segmentation_models_pytorch",
}  # fmt: skip


def names(requirements: list[str]) -> set[str]:
    return {re.split("[<>=]", requirement)[0] for requirement in requirements}


def test_the_group_is_a_part_of_what_seg_needs() -> None:
    assert names(PROJECT["dependency-groups"]["runtime"]) < names(PROJECT["project"]["dependencies"])


def test_an_exported_file_is_used_without_what_trains(tmp_path: Path) -> None:
    """Predicted, evaluated, varied, drawn and measured; and training says what is missing."""
    absent = names(PROJECT["project"]["dependencies"]) - names(PROJECT["dependency-groups"]["runtime"])
    modules = ["torchvision", *sorted(MODULES.get(name, name) for name in absent)]
    assert {"torch", "timm", "segmentation_models_pytorch", "albumentations", "matplotlib", "onnx"} < set(modules)
    write_exported(tmp_path / "m.onnx")
    write_pairs(tmp_path / "data", 2)
    (tmp_path / "a.yml").write_text("dataset: {embedded: shapes}\n")
    model = ["-m", "m.onnx"]
    lines = [
        ["predict", "data/images", *model, "-o", "predicted"],
        ["predict", "data/images", *model, "-o", "averaged", "--tta"],
        ["eval", *model, "-d", "data", "--json"],
        ["tta", *model, "-d", "data", "--policies", "none,flip"],
        ["visualize", *model, "-d", "data", "-o", "drawn"],
        ["bench", *model, "-d", "data", "--threads", "1", "--repeats", "2", "--batch", "1", "-o", "measured"],
        ["train", "-c", "a.yml"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", REFUSING, json.dumps(modules), json.dumps(lines)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("exit")]
    assert codes == [0, 0, 0, 0, 0, 0, 1], done.stderr
    assert '"miou": 1.0' in done.stdout
    for file in ("predicted/masks/000.png", "averaged/overlays/001.jpg", "measured/bench.json"):
        assert (tmp_path / file).is_file()
    assert len([*(tmp_path / "drawn").rglob("*.png")]) == 2
    assert "the picture needs matplotlib" in done.stderr
    assert "pip install segcli" in done.stderr.splitlines()[-1]
