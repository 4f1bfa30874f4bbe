"""Images that memory does not hold, on the way from items to products."""

from pathlib import Path

import numpy as np
import pytest
from conftest import draw_pair
from nearest import COLOURS, TASK, Nearest
from PIL import Image

from segcli.engine.prediction.huge import HugeImages
from segcli.engine.prediction.journal import output_of
from segcli.engine.prediction.predict import Predicted, Work, predict_items
from segcli.engine.prediction.resizing import Resizing
from segcli.engine.prediction.sinks import open_sinks
from segcli.engine.prediction.sinks.base import Plan
from segcli.engine.prediction.sources import Reading, open_sources
from segcli.engine.prediction.tiles import Tiling, with_tiles
from segcli.errors import DataError
from segcli.io.card import Inference
from segcli.io.images import Pixels, read_mask
from segcli.parallel import Progress, silent

WHOLE, TILES, BANDS = 1 << 40, 20 << 20, 1 << 20


class Watched(Nearest):
    """Remembers the largest image that it was shown."""

    most = 0

    def __call__(self, images: Pixels) -> np.ndarray:
        self.most = max(self.most, images[0, ..., 0].size)
        return super().__call__(images)


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image of which memory may be too small, as no image of a test's size else is."""
    monkeypatch.setattr("segcli.engine.prediction.tiles.SURELY_FITS", 64 * 64)
    path = tmp_path / "photo.png"
    image = draw_pair(3, height=200, width=300)[0]
    image[50:90, 80:140] = COLOURS[:2].mean(0)  # between two classes
    Image.fromarray(image).save(path)
    return path


def predict(
    photo: Path,
    save: str,
    free: int,
    monkeypatch: pytest.MonkeyPatch,
    size: int | None = None,
    progress: Progress = silent,
) -> tuple[Path, int, list]:
    monkeypatch.setattr("segcli.engine.arrays.numpy_arrays.free_memory_of_the_host", lambda: free)
    model, plan = Watched(), Plan(photo.parent / str(free), TASK)
    predictor = model if size is None else Resizing(model, Inference.of(size))
    sinks, items = open_sinks(save, plan), open_sources([str(photo)], Reading())
    huge = HugeImages(predictor, with_tiles(predictor, Tiling(96, 96), always=False), Tiling(96, 96), progress)
    with output_of(plan, sinks, {}, False) as journal:
        results = list(predict_items(predictor, items, sinks, Work(1, 1, 0.6), journal, huge))
    return plan.output, model.most, results


def test_whole_in_tiles_and_in_bands_an_image_gives_the_same(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for free in (WHOLE, TILES, BANDS):
        output, most, (result,) = predict(photo, "masks,confidence", free, monkeypatch)
        assert (most == 300 * 200) == (free == WHOLE)
        assert isinstance(result, Predicted)
        assert sorted(path.name for path in output.iterdir()) == [".predict.jsonl", "confidence", "masks"]
        with Image.open(output / "masks/photo.png") as mask, Image.open(output / "confidence/photo.png") as sure:
            assert mask.mode == "P"
            found[free] = np.asarray(mask), np.asarray(sure).astype(int), result.shares, mask.getpalette()
    masks, sure, shares, palette = found[WHOLE]
    assert (masks[50:90, 80:140] == 255).all()
    for free in (TILES, BANDS):
        assert (found[free][0] == masks).mean() > 0.999
        assert np.abs(found[free][1] - sure).max() <= 1
        assert found[free][2] == pytest.approx(shares, abs=0.001)
        assert found[free][3] == palette


def test_the_rows_of_a_huge_image_are_told(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    predict(photo, "masks", BANDS, monkeypatch, progress=lambda what, done, total: told.append((done, total)))
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == (200, 200)


def test_what_needs_the_whole_image_is_refused_where_it_does_not_fit(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, (drawn,) = predict(photo, "masks,overlays", TILES, monkeypatch)
    assert isinstance(drawn, Predicted)
    output, most, (refused,) = predict(photo, "masks,overlays,coco", BANDS, monkeypatch)
    assert isinstance(refused, DataError)
    assert str(refused) == (
        f"{photo} has 200×300 pixels, too many for memory; of such images masks and confidence can be written, "
        "and not overlays, coco: --save masks,confidence"
    )
    assert not list(output.rglob("*.png"))
    assert most == 64 * 64


def test_a_model_that_wants_images_of_a_size_is_shown_them_whole(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = []
    for free in (WHOLE, TILES, BANDS):
        output, most, _ = predict(photo, "masks", free, monkeypatch, size=40)
        assert most in {40 * 60, 64 * 64}
        masks.append(read_mask(output / "masks/photo.png"))
    assert (masks[0] == masks[1]).all()
    assert (masks[0] == masks[2]).mean() > 0.999
