from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from segcli.engine.arrays import Logits
from segcli.engine.prediction.large import predict_bands
from segcli.engine.prediction.resizing import Resizing
from segcli.engine.prediction.tiles import Tiled, Tiling, with_tiles
from segcli.engine.prediction.tta import POLICIES, Augmented, with_policy
from segcli.errors import FileProblem, UsageError
from segcli.io.card import Inference, ModelCard
from segcli.io.images import Pixels, read_mask, write_image
from segcli.io.windows import mask_file, open_windows
from segcli.task import Task

CARD = ModelCard(Task.of("abcd"), "Unet", "resnet18", None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 133, 171, 3), dtype=np.uint8)
TILINGS = [Tiling(64, 96, 0.25, 16), Tiling(96, 64, 0.5, 32), Tiling(64, 512, 0.75, 8), Tiling(200, 200)]


@dataclass
class Local:
    """A predictor that sees three pixels to each side, in torch's tensors or numpy's arrays."""

    numpy: bool = False
    batch_size: int = 1
    concurrency: int = 1
    card: ModelCard = CARD
    precision: str = "fp32"
    most_pixels: int = 0

    def __call__(self, images: Pixels) -> Logits:
        self.most_pixels = max(self.most_pixels, images[0, ..., 0].size)
        kernel = torch.randn((4, 3, 7, 7), generator=torch.Generator().manual_seed(0)) / 5
        batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            logits = functional.conv2d(batch, kernel, padding=3)
        return logits.numpy() if self.numpy else logits


class Kept:
    """Takes bands."""

    def __init__(self) -> None:
        self.bands: list[np.ndarray] = []

    def write(self, rows: np.ndarray) -> None:
        self.bands.append(rows)


@pytest.mark.parametrize("length", [1, 20, 100, 512, 513, 1000, 5400])
@pytest.mark.parametrize("tiling", [*TILINGS, Tiling(), Tiling(50, 50, 0, 1), Tiling(37, 37, 0.6, 1)])
def test_weights_add_up_to_one_everywhere(length: int, tiling: Tiling) -> None:
    spans, total = tiling.rows(length), np.zeros(length)
    for span in spans:
        total[span.first : span.last] += span.weights
        assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        assert span.stop - span.start <= tiling.height
        assert span.start % tiling.step == 0
    assert total == pytest.approx(np.ones(length), abs=1e-6)
    assert (spans[0].start, spans[-1].stop) == (0, length)
    for one, next_one in pairwise(spans):
        assert one.stop - next_one.start >= round(tiling.overlap * tiling.height)
        margin = round(tiling.overlap * tiling.height) // 4
        assert next_one.first - next_one.start == one.stop - one.last == margin


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("predictor", [Local(), Local(numpy=True), Local(batch_size=3), Local(concurrency=2)])
def test_tiles_of_a_local_network_equal_the_whole(predictor: Local, tiling: Tiling) -> None:
    whole = np.asarray(predictor(IMAGES))
    assert np.abs(np.asarray(Tiled(predictor, tiling)(IMAGES)) - whole).max() < 1e-5


def test_tiles_lie_inside_the_resizing_and_around_the_views() -> None:
    predictor = with_policy(with_tiles(Resizing(Local(), Inference.of(100)), TILINGS[0]), POLICIES["flip"])
    assert isinstance(predictor, Resizing)
    assert isinstance(predictor.inner, Tiled)
    assert isinstance(predictor.inner.inner, Augmented)
    assert predictor(IMAGES).shape == (2, 4, 133, 171)


def test_an_image_that_fits_is_computed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.zeros((1, 2050, 2050, 3), np.uint8)
    for free, pixels in ((1 << 40, large[0, ..., 0].size), (1 << 30, 512 * 512)):
        monkeypatch.setattr("segcli.engine.arrays.torch_arrays.free_memory_of_the_host", lambda free=free: free)
        predictor = Local()
        Tiled(predictor, Tiling(), always=False)(large)
        assert predictor.most_pixels == pixels


@pytest.mark.parametrize(
    ("text", "overlap", "message"),
    [("big", 0.25, "tiles big: expected auto"), ("40", 0.25, "must be 43 at least"), ("512", 0.9, "0 … 0.75")],
)
def test_tiles_that_cannot_be(text: str, overlap: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Tiling.parse(text, overlap)


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("numpy", [False, True])
def test_bands_are_the_labels_of_the_whole(tmp_path: Path, tiling: Tiling, numpy: bool) -> None:
    write_image(tmp_path / "a.png", IMAGES[0])
    predictor, labels, sure = Local(numpy), Kept(), Kept()
    with open_windows(tmp_path / "a.png") as image:
        shares = list(predict_bands(predictor, image, tiling, labels, sure))
    probabilities = torch.as_tensor(predictor(IMAGES[:1])).softmax(1)[0].amax(0).numpy()
    expected = np.asarray(predictor(IMAGES[:1]))[0].argmax(0)
    assert np.array_equal(np.concatenate(labels.bands), expected)
    assert np.abs(np.concatenate(sure.bands) / 255 - probabilities).max() < 0.0021
    assert shares[-1] == 1.0
    assert len(shares) == len(tiling.rows(133))
    unsure = Kept()
    with open_windows(tmp_path / "a.png") as image:
        list(predict_bands(predictor, image, tiling, unsure, min_confidence=0.5))
    wanted = np.where(np.concatenate(sure.bands) < 127.5, 255, expected)
    assert np.array_equal(np.concatenate(unsure.bands), wanted)


def test_a_model_of_a_size_sees_the_image_whole_and_its_logits_are_resized_in_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segcli.engine.prediction.large._BAND", 4 * 4 * 171 * 10)
    write_image(tmp_path / "a.png", IMAGES[0])
    predictor, labels = Resizing(Local(), Inference.of(50)), Kept()
    with open_windows(tmp_path / "a.png") as image:
        shares = list(predict_bands(predictor, image, Tiling(), labels))
    assert len(shares) == 14
    expected = predictor(IMAGES[:1])[0].argmax(0).numpy()
    assert (np.concatenate(labels.bands) == expected).mean() > 0.999  # rounding decides ties


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("deep", [False, True])
def test_masks_are_written_in_bands(tmp_path: Path, suffix: str, deep: bool) -> None:
    if suffix == ".tif":
        pytest.importorskip("rasterio")
    mask = (
        np.random.default_rng(0).integers(0, 60000 if deep else 4, (700, 300)).astype(np.uint16 if deep else np.uint8)
    )
    path = tmp_path / f"m{suffix}"
    with mask_file(path, mask.shape, CARD.task.palette, deep) as bands:
        for top in range(0, 700, 137):
            bands.write(mask[top : top + 137])
    assert np.array_equal(read_mask(path), mask)
    with Image.open(path) as image:
        assert image.mode == ("P" if not deep else "I;16")
        if not deep:
            assert image.getpalette()[3:6] == list(CARD.task.palette[1])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_mask_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileProblem), mask_file(tmp_path / "m.png", (10, 10)) as bands:
        bands.write(np.zeros((5, 10), np.uint8))
        raise FileProblem("damaged", "damaged")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"written as \.png"), mask_file(tmp_path / "m.jpg", (10, 10)):
        pass


def test_tiff_files_are_read_by_window_and_keep_their_place(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path, place = tmp_path / "a.tif", rasterio.Affine(2, 0, 500000, 0, -2, 5000000)
    profile = {"driver": "GTiff", "height": 133, "width": 171, "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=place, blockxsize=64, blockysize=64, **profile) as file:
        file.write(IMAGES[0].transpose(2, 0, 1))
    labels = tmp_path / "m.tif"
    with open_windows(path) as image:
        assert image.size == (133, 171)
        assert np.array_equal(image.read((10, 90), (60, 171)), IMAGES[0][10:90, 60:171])
        assert np.abs(image.shrunk((7, 9)).mean() - IMAGES[0].mean()) < 2
        with mask_file(labels, image.size, CARD.task.palette, like=path) as mask:
            list(predict_bands(Local(), image, TILINGS[0], mask))
    assert np.array_equal(read_mask(labels), Local()(IMAGES[:1])[0].argmax(0).numpy())
    with rasterio.open(labels) as file:
        assert (file.crs.to_epsg(), file.transform) == (32633, place)
    (tmp_path / "b.tif").write_bytes(path.read_bytes()[:20000])
    with pytest.raises(FileProblem, match=r"b\.tif is damaged"), open_windows(tmp_path / "b.tif") as image:
        image.read((0, 133), (0, 171))
