"""The way from items to products, with a predictor that knows the three colours of the tiny images."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import draw_pair, full_disk
from nearest import COLOURS, TASK, Nearest
from PIL import Image

from segcli.datasets.layouts.base import Options, Pair
from segcli.datasets.open import open_source
from segcli.datasets.prepared.format import open_prepared
from segcli.datasets.prepared.write import prepare
from segcli.engine.arrays import Logits
from segcli.engine.prediction.journal import output_of
from segcli.engine.prediction.predict import Predicted, Work, finish, predict_items
from segcli.engine.prediction.sinks import PRODUCTS, open_sinks
from segcli.engine.prediction.sinks.base import Plan, parse_groups
from segcli.engine.prediction.sources import Reading, open_sources
from segcli.errors import DataError, SegError, UsageError
from segcli.io.images import Pixels, read_mask, write_image

SOME = Work(2, 2)


def predict(
    source: Path,
    output: Path,
    save: str = "masks",
    work: Work = SOME,
    settings: object = 1,
    resume: bool = False,
    predictor: Any = None,
    **plan: Any,
) -> list[Predicted | DataError]:
    shared = Plan(output, TASK, **plan)
    sinks = open_sinks(save, shared)
    items = open_sources([str(source)], Reading())
    with output_of(shared, sinks, {"settings": settings}, resume) as journal:
        results = list(predict_items(predictor or Nearest(), items, sinks, work, journal))
        finish(sinks, journal)
    return results


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images of two sizes, one of them in a subfolder."""
    folder = tmp_path / "photos"
    for number in range(4):
        path = folder / ("sub" if number == 3 else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_pair(number, width=56 + 8 * (number == 1))[0]).save(path)
    return folder


def truth(number: int) -> np.ndarray:
    return draw_pair(number, width=56 + 8 * (number == 1))[1]


def as_bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_image_gives_every_product(photos: Path, tmp_path: Path) -> None:
    products = [product.name for product in PRODUCTS if product.name != "geojson"]
    said: list[str] = []
    results = predict(photos, tmp_path / "out", ",".join(products), say=said.append)
    assert [result.item.name for result in results if isinstance(result, Predicted)] == ["0", "1", "2", "sub/3"]
    out = tmp_path / "out"
    for number in range(4):
        name = "sub/3" if number == 3 else str(number)
        mask = truth(number)
        assert (read_mask(out / "masks" / f"{name}.png") == mask).mean() > 0.99
        predicted = read_mask(out / "masks" / f"{name}.png")
        image = np.asarray(Image.open(photos / f"{name}.png"))
        assert (read_mask(out / "binary/red" / f"{name}.png") == 255 * (predicted == 1)).all()
        cutout = np.asarray(Image.open(out / "cutouts" / f"{name}.png"))
        assert (cutout[..., 3] == 255 * (predicted > 0)).all()
        assert (cutout[..., :3] == image).all()
        colours = np.asarray(Image.open(out / "colours" / f"{name}.png"))
        assert (colours == np.array(TASK.palette, np.uint8)[predicted]).all()
        probabilities = np.load(out / "probabilities" / f"{name}.npy")
        assert (probabilities.dtype, probabilities.shape) == (np.float16, (3, *mask.shape))
        assert (probabilities.argmax(0) == predicted).mean() > 0.99
        eight = np.load(out / "probabilities8" / f"{name}.npy")
        assert np.abs(eight / 255 - probabilities).max() < 0.003
        sure = np.asarray(Image.open(out / "confidence" / f"{name}.png"))
        assert np.abs(sure / 255 - probabilities.max(0)).max() < 0.003
        assert (out / "overlays" / f"{name}.jpg").is_file()
    with (out / "areas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    masks = [read_mask(out / "masks" / f"{name}.png") for name in ("0", "1", "2", "sub/3")]
    assert [int(row["blue"]) for row in rows] == [(mask == 2).sum() for mask in masks]
    assert [json.loads(line)["pixels"].get("blue", 0) for line in said] == [int(row["blue"]) for row in rows]
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [".predict.jsonl"]


def boxes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image without noise, so that the prediction is the mask, and the mask: with a hole and touching regions."""
    mask = draw_pair(seed, height=48, width=64)[1]
    mask[20:30, 20:40] = 1
    mask[23:26, 25:33] = 2
    mask[0, 0] = 2
    mask[40, 50] = 1
    return COLOURS[mask], mask


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Images that are predicted without an error."""
    (tmp_path / "clean/images/sub").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(boxes(number)[0]).save(tmp_path / "clean/images" / ("sub" * number) / f"{number}.png")
    return tmp_path / "clean"


@pytest.mark.parametrize(
    ("product", "layout", "masks"),
    [
        ("coco", "coco", "coco.json"),
        ("coco-rle", "coco", "coco-rle.json"),
        ("labelme", "labelme", "masks"),
        ("cvat", "cvat", "cvat/annotations.xml"),
    ],
)
@pytest.mark.parametrize("tolerance", [0, 0.5, 2])
def test_annotations_are_read_back_as_the_masks(
    clean: Path, product: str, layout: str, masks: str, tolerance: float
) -> None:
    predict(clean / "images", clean, product, tolerance=tolerance)
    options = Options(masks=masks, classes=None if layout == "coco" else TASK.classes)
    source = open_source(clean, layout, options)
    found = {pair.name: pair for items in source.splits.values() for pair in items if isinstance(pair, Pair)}
    assert {name.split("/")[-1] for name in found} == {"0", "1"}
    for name, pair in found.items():
        mask = boxes(int(name[-1]))[1]
        assert pair.mask is not None
        differ = pair.mask.values(*mask.shape) != mask
        reach = np.ones((2 * ceil(tolerance) + 1,) * 2, np.uint8)
        near_a_border = cv2.dilate(mask, reach) != cv2.erode(mask, reach)
        assert not (differ & ~near_a_border).any()
        if tolerance == 0 or product == "coco-rle":
            assert not differ.any()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
def test_a_coco_file_is_what_pycocotools_reads(clean: Path) -> None:
    from pycocotools.coco import COCO

    predict(clean / "images", clean, "coco,coco-rle", tolerance=0)
    for name in ("coco.json", "coco-rle.json"):
        found = COCO(clean / name)
        assert [image["file_name"] for image in found.loadImgs(found.getImgIds())] == ["0.png", "sub/1.png"]
        assert [category["name"] for category in found.loadCats(found.getCatIds())] == ["red", "blue"]
        for number, image in enumerate(found.getImgIds()):
            mask = boxes(number)[1]
            drawn = np.zeros_like(mask)
            for annotation in found.loadAnns(found.getAnnIds(image)):
                bits = found.annToMask(annotation).astype(bool)
                assert annotation["area"] == pytest.approx(bits.sum(), abs=0 if "rle" in name else 30)
                drawn[bits] = annotation["category_id"] - 1
            # Its own way of filling polygons moves them by up to half a pixel.
            assert (drawn == mask).mean() > (0.999 if "rle" in name else 0.93)


def test_label_studio_gets_percent(clean: Path) -> None:
    from segcli.datasets.layouts.rasterise import Polygon

    predict(clean / "images", clean, "labelstudio", tolerance=0)
    tasks = json.loads((clean / "labelstudio.json").read_text())
    assert [task["data"]["image"] for task in tasks] == ["0.png", "sub/1.png"]
    for number, task in enumerate(tasks):
        mask = boxes(number)[1]
        drawn = np.zeros_like(mask)
        for result in task["predictions"][0]["result"]:
            points = np.array(result["value"]["points"]) * (mask.shape[1] / 100, mask.shape[0] / 100)
            rows, columns, inside = Polygon.of(points).patch(*mask.shape)
            drawn[rows, columns][inside] = TASK.classes.index(result["value"]["polygonlabels"][0])
        assert (drawn == mask).all()


def test_pseudo_labels_are_a_prepared_dataset(clean: Path) -> None:
    predict(clean / "images", clean, "dataset", Work(1, 1, 0.5))
    dataset = open_prepared(clean / "dataset")
    assert (dataset.task, dataset.remarks) == (TASK, [])
    for number, sample in enumerate(dataset.split("train")):
        image, mask = sample.read()
        assert (image == boxes(number)[0]).all()
        assert (mask == boxes(number)[1]).all()
    prepared = prepare(open_source(clean / "dataset"), clean / "again")
    assert prepared.dataset.figures["train"] == dataset.figures["train"]


def test_unsure_pixels_are_ignored_in_every_product(clean: Path) -> None:
    path = clean / "images/0.png"
    image, mask = boxes(0)
    image = image.copy()
    image[10:20, 10:20] = COLOURS[:2].mean(0)  # between two classes
    Image.fromarray(image).save(path)
    predict(path, clean, "masks,labelme,cvat,csv,coco-rle,binary,dataset", Work(1, 1, 0.6), tolerance=0)
    unsure = np.zeros(mask.shape, bool)
    unsure[10:20, 10:20] = True
    predicted = read_mask(clean / "masks/0.png")
    assert (predicted == np.where(unsure, 255, mask)).all()
    assert (read_mask(clean / "dataset/masks/train/0.png") == predicted).all()
    assert not (read_mask(clean / "binary/red/0.png") > 0)[unsure].any()
    with (clean / "areas.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["ignored"] == "100"
    for layout, masks in (("labelme", "masks"), ("cvat", "cvat/annotations.xml")):
        pairs = open_source(clean, layout, Options(masks=masks, classes=TASK.classes)).splits.values()
        (pair,) = (pair for items in pairs for pair in items if isinstance(pair, Pair) and pair.image.name == "0.png")
        assert pair.mask is not None
        assert (pair.mask.values(*mask.shape) == predicted).all()


def test_some_classes_by_their_probability(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    only = parse_groups("red+blue,blue", TASK)
    predict(photos, out, "binary,cutouts,probabilities", only=only, threshold=0.4)
    probabilities = np.load(out / "probabilities/0.npy").astype(np.float32)
    together = read_mask(out / "binary/red+blue/0.png") > 0
    assert (together == (probabilities[1:].sum(0) >= 0.4)).mean() > 0.999
    assert ((read_mask(out / "binary/blue/0.png") > 0) == (probabilities[2] >= 0.4)).mean() > 0.999
    assert ((np.asarray(Image.open(out / "cutouts/0.png"))[..., 3] > 0) == together).mean() > 0.999
    with pytest.raises(UsageError, match="--only bleu: the model knows no class 'bleu'; did you mean blue"):
        parse_groups("red,bleu", TASK)
    with pytest.raises(UsageError, match="--save maks: unknown product 'maks'; did you mean masks"):
        predict(photos, out, "maks")


def test_a_video_of_frames_is_one_again(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12, (256, 192))
    for number in range(7):
        writer.write(np.full((192, 256, 3), (0, 0, 30 * number), np.uint8))
    writer.release()
    predict(tmp_path / "drive.avi", tmp_path / "out", "video,masks")
    capture = cv2.VideoCapture(str(tmp_path / "out/video/drive.mp4"))
    assert [capture.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)] == [7, 12]
    assert [capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)] == [256, 192]
    assert not (tmp_path / "out/.frames").exists()
    assert len(list((tmp_path / "out/masks/drive").iterdir())) == 7


def test_images_around_a_folder_are_one_video_beside_its_own(photos: Path, tmp_path: Path) -> None:
    (photos / "2.png").rename(photos / "z.png")
    predict(photos, tmp_path / "out", "video")
    found = {path.name: cv2.VideoCapture(str(path)) for path in (tmp_path / "out/video").iterdir()}
    assert {name: video.get(cv2.CAP_PROP_FRAME_COUNT) for name, video in found.items()} == {
        "images.mp4": 3,
        "sub.mp4": 1,
    }


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:affine")
def test_polygons_on_earth(clean: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra `large` is not installed")
    image, mask = boxes(0)
    path = clean / "place.tif"
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_400_000)
    profile = {"driver": "GTiff", "height": 48, "width": 64, "count": 3, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", transform=place, **profile) as file:
        file.write(image.transpose(2, 0, 1))
    predict(path, clean, "geojson", tolerance=0)
    from rasterio.features import rasterize
    from rasterio.warp import transform_geom

    features = json.loads((clean / "geojson/place.geojson").read_text())["features"]
    shapes = [
        (transform_geom("EPSG:4326", "EPSG:32632", feature["geometry"]), feature["properties"]["index"])
        for feature in features
    ]
    assert (rasterize(shapes, mask.shape, transform=place) == mask).all()
    for feature in features:  # RFC 7946: closed, outer rings turn left, holes right
        for number, ring in enumerate(np.array(points) for points in feature["geometry"]["coordinates"]):
            assert (ring[0] == ring[-1]).all()
            x, y = (ring - ring.mean(0)).T
            assert (np.dot(x[:-1], y[1:]) > np.dot(x[1:], y[:-1])) == (number == 0)
    (error,) = predict(clean / "images/0.png", clean, "geojson")
    assert "0.png is not georeferenced" in str(error)


def test_a_bad_image_is_named_and_the_others_go_on(photos: Path, tmp_path: Path) -> None:
    content = (photos / "0.png").read_bytes()
    (photos / "0.png").write_bytes(content[: len(content) // 2])
    Image.fromarray(np.full((8, 8), 300, np.uint16)).save(photos / "deep.png")
    image = Image.fromarray(draw_pair(0)[0])
    image.convert("CMYK").save(photos / "cmyk.jpg")
    image.convert("RGBA").save(photos / "alpha.png")
    image.save(photos / "pages.tif", save_all=True, append_images=[image])
    image.save(photos / "two\nlines.png")
    (photos / "empty.jpg").touch()
    (photos / "link.png").symlink_to("nothing.png")
    (photos / "text.jpg").write_text("hello")
    (photos / "large.ppm").write_text("P6 60000 60000 255\n")
    results = predict(photos, tmp_path / "out", "masks,csv,coco,cvat")
    failed = [str(result).split("photos/")[1] for result in results if isinstance(result, DataError)]
    assert [line.split(";")[0] for line in failed] == [
        "0.png is damaged: image file is truncated",
        "deep.png has more than 8 bits a channel",
        "empty.jpg is empty (0 bytes)",
        "large.ppm has more than 1,073,741,824 pixels",
        "link.png is a link to nothing.png, which is not there",
        "pages.tif holds 2 pages",
        "text.jpg is not an image",
        "two\\nlines.png' is not named in UTF-8, or with control characters",
    ]
    written = sorted(path.name for path in (tmp_path / "out/masks").rglob("*.png"))
    assert written == ["1.png", "2.png", "3.png", "alpha.png", "cmyk.png"]


def test_resumed_after_each_image_it_gives_the_same(photos: Path, tmp_path: Path) -> None:
    save = "masks,coco,csv,cvat,dataset,labelme"
    predict(photos, tmp_path / "whole", save)
    out = tmp_path / "whole/../out"  # of the same depth, for relative paths

    class Stopped(Exception):
        pass

    for number in range(1, 4):
        plan = Plan(out, TASK)
        sinks = open_sinks(save, plan)
        with pytest.raises(Stopped), output_of(plan, sinks, {"settings": 1}, True) as journal:
            for done, _ in enumerate(
                predict_items(Nearest(), open_sources([str(photos)], Reading()), sinks, Work(2, 1), journal), 1
            ):
                if done + journal.num_before >= number:
                    raise Stopped
    results = predict(photos, out, save, resume=True)
    assert 0 < len(results) <= 2
    theirs, ours = as_bytes(tmp_path / "whole"), as_bytes(out)
    theirs.pop("dataset/files.tsv"), ours.pop("dataset/files.tsv")  # which holds times
    theirs.pop(".predict.jsonl"), ours.pop(".predict.jsonl")
    assert theirs == {name: content.replace(b"name: out", b"name: whole") for name, content in ours.items()}
    assert predict(photos, out, save, resume=True) == []
    (out / "masks/2.png").unlink()
    assert len(predict(photos, out, save, resume=True)) == 2  # the chunk that it is computed in
    with pytest.raises(UsageError, match="--resume: .* was made with settings 1, not 2; give the same options"):
        predict(photos, out, save, settings=2, resume=True)


def test_concurrent_and_batched_predictors_give_the_same(photos: Path, tmp_path: Path) -> None:
    predict(photos, tmp_path / "one", work=Work(1, 1))
    predict(photos, tmp_path / "four", work=Work(3, 4), predictor=Nearest(concurrency=3))
    assert as_bytes(tmp_path / "one/masks") == as_bytes(tmp_path / "four/masks")


@pytest.mark.parametrize(("free", "together"), [(1 << 40, 2), (26 << 30, 1)])
def test_large_images_are_computed_side_by_side_where_memory_holds_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, together: int
) -> None:
    for name in "ab":
        write_image(tmp_path / "large" / f"{name}.png", np.zeros((2050, 2050, 3), np.uint8))
    monkeypatch.setattr("segcli.engine.arrays.numpy_arrays.free_memory_of_the_host", lambda: free)
    inside: list[int] = []
    most: list[int] = []

    class Slow(Nearest):
        def __call__(self, images: Pixels) -> Logits:
            if images.shape[1] > 64:
                inside.append(1)
                time.sleep(0.3)
                most.append(len(inside))
                inside.pop()
            return np.zeros((len(images), 3, *images.shape[1:3]), np.float32)

    predict(tmp_path / "large", tmp_path / "out", work=Work(1, 2), predictor=Slow(concurrency=2))
    assert max(most) == together


@pytest.mark.parametrize(("save", "size", "what"), [("masks", 500, "masks/0.png"), ("coco", 1000, ".predict.jsonl")])
def test_a_full_disk_is_one_line_and_what_is_there_is_whole(
    photos: Path, tmp_path: Path, save: str, size: int, what: str
) -> None:
    out = tmp_path / "out"
    with full_disk(size), pytest.raises(SegError, match=f"{what} cannot be written: File too large"):
        predict(photos, out, save)
    assert as_bytes(out).keys() == {".predict.jsonl"}
    predict(photos, out, save, resume=True)
    predict(photos, tmp_path / "whole", save)
    assert as_bytes(out) == as_bytes(tmp_path / "whole")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_one_line(photos: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SegError, match=f"{place} cannot be made: .*; choose another folder with -o"):
        predict(photos, tmp_path / place)


def test_a_folder_without_the_right_to_write_is_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "open", refused)  # root may write anywhere
    with pytest.raises(SegError, match="out cannot be written: Permission denied; choose another folder with -o"):
        predict(photos, tmp_path / "out")


LONG = """
import sys
sys.path.insert(0, {tests!r})
from nearest import TASK, Nearest
from segcli.engine.arrays import Logits
from segcli.engine.prediction.journal import output_of
from segcli.engine.prediction.predict import Work, finish, predict_items
from segcli.engine.prediction.sinks import open_sinks
from segcli.engine.prediction.sinks.base import Plan
from segcli.engine.prediction.sources import Reading, open_sources
from pathlib import Path
plan = Plan(Path({output!r}), TASK)
sinks = open_sinks("masks,csv,coco-rle", plan)
with output_of(plan, sinks, {{"settings": 1}}, True) as journal:
    list(predict_items(Nearest(), open_sources([{source!r}], Reading()), sinks, Work(2, 2), journal))
    finish(sinks, journal)
"""


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(150):
        Image.fromarray(draw_pair(number)[0]).save(folder / f"{number:04d}.png")
    yield folder


def test_killed_at_any_point_and_resumed_it_gives_the_same(many: Path, tmp_path: Path) -> None:
    here = Path(__file__)
    code = LONG.format(
        tests=str(here.parents[2]), here=str(here.parent), source=str(many), output=str(tmp_path / "out")
    )
    for wanted in (5, 90):
        process = subprocess.Popen([sys.executable, "-c", code])
        journal = tmp_path / "out/.predict.jsonl"
        while process.poll() is None and (not journal.is_file() or journal.read_bytes().count(b"\n") <= wanted):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    predict(many, tmp_path / "out", "masks,csv,coco-rle", resume=True)
    predict(many, tmp_path / "whole", "masks,csv,coco-rle")
    assert as_bytes(tmp_path / "out") == as_bytes(tmp_path / "whole")
    assert sum(1 for _ in (tmp_path / "out/masks").iterdir()) == 150
