"""How fast `seg dataset check` and `prepare` are beside bare loops that decode (and encode) the same files.

    PYTHONPATH=. python benchmarks/dataset_speed.py FOLDER [--layout camvid] [--processes 2]

The bare loops run in a pool of as many processes and do nothing but decode with Pillow (for check: images and masks;
for prepare: masks, which they save again as PNG files, without and with decoding the images). Starting the pool counts
on both sides.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from segcli.datasets.check.judge import survey
from segcli.datasets.check.scan import inspect
from segcli.datasets.layouts.base import Options, Pair
from segcli.datasets.layouts.known import LAYOUTS
from segcli.datasets.prepared.write import prepare
from segcli.parallel import available_cores


def decode_pair(pair: Pair) -> None:
    """Decodes an image and its mask."""
    for path in (pair.image, pair.mask.path):
        with Image.open(path) as image:
            image.load()


def encode_mask(pair: Pair) -> None:
    """Decodes a mask and saves it again."""
    with Image.open(pair.mask.path) as image:
        image.load()
    image.save(Path(tempfile.gettempdir()) / "bare" / f"{pair.name.replace('/', '_')}.png")


def decode_and_encode(pair: Pair) -> None:
    """Decodes an image and its mask, and encodes the mask again."""
    with Image.open(pair.image) as image:
        image.load()
    encode_mask(pair)


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measures and prints images per second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", default="camvid")
    parser.add_argument("--processes", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    source = LAYOUTS[given.layout].find(given.folder, Options())
    pairs = [pair for items in source.splits.values() for pair in items]

    def bare_once(work: Callable[[Pair], None]) -> None:
        shutil.rmtree(bare_folder, ignore_errors=True)
        bare_folder.mkdir()
        with multiprocessing.get_context("forkserver").Pool(given.processes) as pool:
            for _ in pool.imap(work, pairs, 8):
                pass

    def bare(work: Callable[[Pair], None]) -> float:
        return min(seconds(lambda: bare_once(work)) for _ in range(given.rounds))

    bare_folder = Path(tempfile.gettempdir()) / "bare"
    bare(decode_pair)
    bare_check, bare_encode, bare_both = bare(decode_pair), bare(encode_mask), bare(decode_and_encode)
    looking = min(seconds(lambda: inspect(source.splits, processes=given.processes)) for _ in range(given.rounds))
    checking = min(seconds(lambda: survey(source)) for _ in range(given.rounds))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGCLI_CACHE"] = str(Path(folder) / "cache")

        def prepare_once() -> None:
            for name in ("out", "cache"):  # nothing has been seen yet
                shutil.rmtree(Path(folder) / name, ignore_errors=True)
            prepare(source, Path(folder) / "out")

        preparing = min(seconds(prepare_once) for _ in range(given.rounds))
    print(f"{len(pairs)} pairs, {given.processes} processes; pairs a second (ratio to the bare loop)")
    for name, own, loop in (
        ("look at every file", looking, bare_check),
        ("check", checking, bare_check),
        ("prepare / decode and encode masks", preparing, bare_encode),
        ("prepare / decode images, decode and encode masks", preparing, bare_both),
    ):
        print(f"{name:50} {len(pairs) / own:8.1f}   bare {len(pairs) / loop:8.1f}   {loop / own:.2f}")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
