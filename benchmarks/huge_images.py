"""Peak memory and time of images too large for it: a made TIFF of a size (or a file), labels written as a tiled TIFF.

    OMP_NUM_THREADS=1 python benchmarks/huge_images.py 20000x20000 40000x20000 --folder /tmp/huge
    OMP_NUM_THREADS=1 python benchmarks/huge_images.py world.jpg --folder /tmp/huge

The network is a tiny one of 19 classes, whose logits are as large as anyone's: what is measured is all that lies around
it. Sizes are HEIGHTxWIDTH. Needs the extra `large`. Each image is predicted in a process of its own.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.prediction.large import predict_bands
from segcli.engine.prediction.tiles import Tiling
from segcli.io.card import ModelCard
from segcli.io.windows import mask_file, open_windows
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task

_TASK = Task.of([f"class {index}" for index in range(19)])
_CARD = ModelCard(_TASK, "tiny", "none", None, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class _Encoder(nn.Sequential):
    output_stride = 8


class _Tiny(nn.Module):
    """Colours at an eighth of the size, and what they look like."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder(nn.Conv2d(3, 16, 8, stride=8), nn.ReLU(), nn.Conv2d(16, 19, 3, padding=1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Computes the logits."""
        return nn.functional.interpolate(self.encoder(images), images.shape[-2:], mode="bilinear")


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


def measure(path: Path, tile: int) -> None:
    """Predicts one image in this process and prints what it took."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    predictor = TorchBackend(SegmentationNetwork(_Tiny(), _CARD.mean, _CARD.std).eval(), _CARD, torch.device("cpu"))
    before = _peak()
    started = time.perf_counter()
    target = path.with_name(f"{path.stem}-labels.tif")
    with open_windows(path) as image, mask_file(target, image.size, _TASK.palette, like=path) as labels:
        height, width = image.size
        for _ in predict_bands(predictor, image, Tiling(tile, tile), labels):
            pass
    seconds = time.perf_counter() - started
    print(
        f"{height}×{width} (height×width), tiles of {tile}: {seconds:.0f} s, {height * width / seconds / 1e6:.2f} "
        f"megapixels/s, peak {_peak():.2f} GB (before the image {before:.2f}), "
        f"labels {target.stat().st_size / 1e6:.0f} MB",
        flush=True,
    )


def _peak() -> float:
    """The most memory that this process has held, in GB; `getrusage` would count what its parent held."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e9


def main() -> None:
    """Makes the images and measures each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", help="HEIGHTxWIDTH, or a file")
    parser.add_argument("--folder", type=Path, default=Path("huge"))
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(Path(given.images[0]), given.tile)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.images:
        path = given.folder / Path(name).name
        if Path(name).is_file():
            path.write_bytes(Path(name).read_bytes())
        else:
            path = given.folder / f"{name}.tif"
            if not path.exists():
                make(path, *map(int, name.split("x")))
        subprocess.run([sys.executable, __file__, str(path), "--tile", str(given.tile), "--measure"], check=True)


if __name__ == "__main__":
    main()
