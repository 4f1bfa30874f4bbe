"""Peak memory and time of `seg predict` on images too large for it: a made TIFF of a size, or a file.

    OMP_NUM_THREADS=1 python benchmarks/huge_images.py 20000x20000 40000x20000 --folder /tmp/huge
    OMP_NUM_THREADS=1 python benchmarks/huge_images.py world.jpg -m runs/camvid/best --save masks,overlays

Without `-m` the network is the smallest that smp offers, of 19 classes, untrained: its logits are as large as anyone's,
and what is measured is all that lies around it. Sizes are HEIGHTxWIDTH. Needs the extra `large`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def make(path: Path, height: int, width: int) -> None:
    """Writes a tiled TIFF of noise on slow waves, band by band."""
    import rasterio

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 48, (3, 512, 4096), np.uint8)
    noise = np.tile(noise, (1, 1, -(-width // 4096)))[..., :width]
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8", "tiled": True}
    with (
        rasterio.Env(GDAL_CACHEMAX=64 << 20),
        rasterio.open(
            path, "w", blockxsize=512, blockysize=512, compress="zstd", photometric="rgb", BIGTIFF="YES", **profile
        ) as raster,
    ):
        x = np.arange(width)
        for top in range(0, height, 512):
            y = np.arange(top, min(top + 512, height))[:, None]
            waves = [np.sin(y / a) + np.sin(x / b) for a, b in ((700, 900), (333, 1500), (1200, 400))]
            band = np.stack([100 + 50 * wave for wave in waves]).astype(np.uint8) + noise[:, : len(y)]
            raster.write(band, window=((top, top + len(y)), (0, width)))


def make_bundle(folder: Path) -> Path:
    """Writes the tiny network, with random weights."""
    import segmentation_models_pytorch as smp
    import torch

    from segcli.io.bundle import save_bundle
    from segcli.io.card import ModelCard
    from segcli.nn.network import SegmentationNetwork
    from segcli.task import Task

    torch.manual_seed(0)
    task = Task.of([f"class {index}" for index in range(19)])
    card = ModelCard(task, "FPN", "tu-mobilenetv3_small_050", None, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    model = smp.FPN(
        "tu-mobilenetv3_small_050", encoder_weights=None, classes=19,
        decoder_pyramid_channels=32, decoder_segmentation_channels=32,
    )  # fmt: skip
    save_bundle(folder, SegmentationNetwork(model, card.mean, card.std), card)
    return folder


def measure(command: list[str]) -> tuple[float, float]:
    """Runs a command; gives its seconds and its peak memory in GB (`getrusage` would count what its parent held)."""
    started, peak = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - started, peak


def _peak(process: int) -> float:
    """The most memory that a process has held so far, in GB; 0 where it has ended."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0) / 1e9


def main() -> None:
    """Makes the images and measures each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", help="HEIGHTxWIDTH, or a file")
    parser.add_argument("--folder", type=Path, default=Path("huge"))
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("--save", default="masks")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    model = given.model or make_bundle(given.folder / "tiny")
    for name in given.images:
        path = Path(name)
        if not path.is_file():
            path = given.folder / f"{name}.tif"
            if not path.exists():
                make(path, *map(int, name.split("x")))
        output = given.folder / f"{path.stem}-out"
        seconds, peak = measure(
            [
                sys.executable,
                "-m",
                "segcli",
                "predict",
                str(path),
                "-m",
                str(model),
                "--save",
                given.save,
                "-o",
                str(output),
            ]
        )
        written = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
        print(f"{path.name}: {seconds:.0f} s, peak {peak:.2f} GB, {written / 1e6:.0f} MB written", flush=True)


if __name__ == "__main__":
    main()
