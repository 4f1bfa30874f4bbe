"""`seg predict --resume`, killed again and again: what comes out beside a run that nothing disturbed, byte by byte.

    python benchmarks/killed_prediction.py -m model.onnx -n 2000 --kills 10

Small images of noise are predicted with masks, COCO and areas. At points drawn at random along the way the process gets
SIGKILL and is started again with `--resume`.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_SAVE = "masks,coco,csv"


def make(folder: Path, number: int) -> None:
    """Writes images of squares in noise."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for place in range(number):
        small = rng.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(small.repeat(8, axis=0).repeat(8, axis=1)).save(folder / f"{place:05d}.png")


def start(images: Path, model: Path, output: Path) -> "subprocess.Popen[bytes]":
    """Begins to predict, or goes on."""
    command = ["predict", str(images), "-m", str(model), "--save", _SAVE, "-o", str(output), "--resume"]
    return subprocess.Popen([sys.executable, "-m", "segcli", *command], stderr=subprocess.DEVNULL, stdout=sys.stderr)


def lines_of(journal: Path) -> int:
    """Images that are written down as done, and the head."""
    return journal.read_bytes().count(b"\n") if journal.is_file() else 0


def content(folder: Path) -> dict[str, bytes]:
    """All files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main() -> None:
    """Prints what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        images, whole, killed = (Path(place, name) for name in ("images", "whole", "killed"))
        make(images, given.n)
        if start(images, given.model, whole).wait():
            raise SystemExit("the undisturbed run failed")
        points = sorted(random.Random(given.seed).sample(range(1, given.n), given.kills))
        for point in points:
            process = start(images, given.model, killed)
            while process.poll() is None and lines_of(killed / ".predict.jsonl") <= point:
                time.sleep(0.002)
            process.kill()
            print(f"killed at {lines_of(killed / '.predict.jsonl') - 1} of {given.n}", flush=True)
            process.wait()
        if start(images, given.model, killed).wait():
            raise SystemExit("the last run failed")
        ours, theirs = content(killed), content(whole)
        different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        print(f"{len(theirs)} files, {len(different)} different {different[:5]}")
        raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
