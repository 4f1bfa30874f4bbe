"""The doctor against two dozen kinds of damage, and against clean data."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_pairs
from native import write_cityscapes
from PIL import Image
from typer.testing import Result

from segcli.config import DatasetConfig
from segcli.datasets.check.report import Report, check
from segcli.datasets.check.scan import perceptual_hash
from segcli.datasets.layouts.base import Options
from segcli.datasets.open import open_dataset, open_for_model, open_source
from segcli.datasets.prepared.format import open_prepared
from segcli.datasets.prepared.mended_copy import write_mended
from segcli.errors import DataError
from segcli.io.card import ModelCard
from segcli.io.images import read_image, read_mask
from segcli.task import Task

RNG = np.random.default_rng(0)


def photo(seed: int, side: int = 96) -> Image.Image:
    """A smooth picture that differs from those of other seeds."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def blocks(seed: int, side: int = 96) -> np.ndarray:
    """A mask of three classes in large blocks."""
    return np.random.default_rng(seed).integers(0, 3, (3, 3), np.uint8).repeat(side // 3, 0).repeat(side // 3, 1)


def write_clean(root: Path, train: int = 30, val: int = 10) -> Path:
    """A clean folder with splits: smooth pictures of 96×96 and masks of classes 0…2 with some void."""
    for split, start, number in (("train", 0, train), ("val", 1000, val)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for index in range(start, start + number):
            photo(index).save(root / "images" / split / f"{index:04d}.png")
            mask = blocks(index)
            mask[:2] = 255
            Image.fromarray(mask).save(root / "masks" / split / f"{index:04d}.png")
    return root


def flip(path: Path) -> None:
    """Changes a byte in the midst of a file's compressed pixels."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])


def replace(path: Path, picture: Image.Image, suffix: str | None = None, **options: object) -> Path:
    path.unlink()
    path = path if suffix is None else path.with_suffix(suffix)
    picture.save(path, **options)
    return path


def with_value(mask: Path, value: int) -> None:
    values = np.asarray(Image.open(mask)).copy()
    values[20:60, 20:60] = value
    replace(mask, Image.fromarray(values))


def palette_with_alpha(mask: Path) -> None:
    picture = Image.fromarray(np.asarray(Image.open(mask)))
    picture.putpalette([channel for index in range(256) for channel in (index, 255 - index, 7)])
    replace(mask, picture, transparency=bytes([0, 128, 255]))


def smooth(mask: Path) -> None:
    large = np.asarray(Image.open(mask)).astype(np.uint8)
    binary = Image.fromarray(np.where(large == 1, 200, 0).astype(np.uint8))
    replace(mask, binary.resize((33, 33), Image.Resampling.BICUBIC).resize((96, 96), Image.Resampling.BICUBIC))


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("elsewhere.png"))


def almost(root: Path) -> None:
    """A val image that is a train image stored anew at another size."""
    image = root / "images" / "val" / "1002.png"
    replace(image, Image.open(root / "images" / "train" / "0020.png").resize((90, 90)), ".jpg", quality=80)
    mask = root / "masks" / "val" / "1002.png"
    replace(mask, Image.open(mask).resize((90, 90), Image.Resampling.NEAREST))


# By kind of finding and file: what does the damage.
DAMAGES: list[tuple[str, str, Callable[[Path, Path], object]]] = [
    ("damaged", "images/train/0000.png", lambda root, path: cut(path)),
    ("damaged", "masks/train/0001.png", lambda root, path: cut(path)),
    ("damaged", "images/train/0002.png", lambda root, path: flip(path)),
    ("damaged", "masks/train/0003.png", lambda root, path: flip(path)),
    ("size-mismatch", "masks/train/0004.png", lambda root, path: replace(path, Image.open(path).resize((96, 48), 0))),
    ("unknown-values", "masks/train/0005.png", lambda root, path: with_value(path, 77)),
    ("no-mask", "images/train/0006.png", lambda root, path: (root / "masks/train/0006.png").unlink()),
    ("no-image", "masks/train/0007.png", lambda root, path: (root / "images/train/0007.png").unlink()),
    ("duplicate", "images/train/0008.png",
     lambda root, path: (root / "images/val/1001.png").write_bytes(path.read_bytes())),
    ("near-duplicate", "images/train/0020.png", lambda root, path: almost(root)),
    ("all-ignored", "masks/train/0009.png", lambda root, path: replace(path, Image.new("L", (96, 96), 255))),
    ("lossy-mask", "masks/train/0010.jpg", lambda root, path: replace(path.with_suffix(".png"),
     Image.fromarray(np.asarray(Image.open(path.with_suffix(".png"))) % 255), ".jpg", quality=60)),
    ("unknown-values", "masks/train/0011.png", lambda root, path: smooth(path)),
    ("deep-image", "images/train/0012.png",
     lambda root, path: replace(path, Image.fromarray(RNG.integers(0, 60000, (96, 96)).astype(np.uint16)))),
    ("empty", "images/train/0013.png", lambda root, path: path.write_bytes(b"")),
    ("not-an-image", "masks/train/0014.png", lambda root, path: path.write_text("not a mask")),
    ("folder", "masks/train/0015.png", lambda root, path: as_folder(path)),
    ("broken-link", "images/train/0016.png", lambda root, path: broken_link(path)),
    ("suffix-case", "images/train/0017.PNG", lambda root, path: path.with_suffix(".png").rename(path)),
    ("sixteen-bit", "masks/train/0018.png",
     lambda root, path: replace(path, Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16)))),
    ("alpha", "masks/train/0019.png", lambda root, path: palette_with_alpha(path)),
    ("one-bit", "masks/train/0021.png", lambda root, path: replace(path, Image.fromarray(blocks(21) > 0))),
    ("pages", "masks/train/0022.tif", lambda root, path: replace(path.with_suffix(".png"), Image.fromarray(blocks(1)),
     ".tif", save_all=True, append_images=[Image.fromarray(blocks(2))])),
    ("unseen-class", "", lambda root, path: [with_no_two(mask) for mask in (root / "masks/val").iterdir()]),
]  # fmt: skip


def with_no_two(mask: Path) -> None:
    values = np.asarray(Image.open(mask))
    replace(mask, Image.fromarray(np.where(values == 2, 1, values).astype(np.uint8)))


def found(report: Report) -> set[tuple[str, str]]:
    return {(item.kind, str(item.file)) for row in report.rows for item in row.findings}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_clean(tmp_path_factory.mktemp("check") / "damaged")
    for _, file, damage in DAMAGES:
        damage(root, root / file)
    return root


@pytest.fixture(scope="module")
def report(damaged: Path) -> Report:
    return check(open_source(damaged))


@pytest.mark.parametrize(("kind", "file"), [(kind, file) for kind, file, _ in DAMAGES])
def test_each_damage_is_found_and_named(damaged: Path, report: Report, kind: str, file: str) -> None:
    expected = (kind, str(damaged / file) if file else str(damaged))
    assert expected in found(report)
    message = next(
        item.message for row in report.rows for item in row.findings if (item.kind, str(item.file)) == expected
    )
    assert "\n" not in message
    if file:
        assert str(damaged / file) in message


def test_nothing_but_the_damage_is_found(damaged: Path, report: Report) -> None:
    expected = {(kind, str(damaged / file) if file else str(damaged)) for kind, file, _ in DAMAGES}
    # The mask whose image is the same as a val image is its own; cut PNGs may count once only.
    assert found(report) - expected == set()


def test_each_damage_alone_is_found_alone(tmp_path: Path) -> None:
    clean = write_clean(tmp_path / "clean", train=23, val=4)
    for place, (kind, file, damage) in enumerate(DAMAGES):
        root = shutil.copytree(clean, tmp_path / str(place))
        damage(root, root / file)
        kinds = {item[0] for item in found(check(open_source(root)))}
        assert kinds == {kind}, (kind, file)


def test_clean_data_has_no_findings(tmp_path: Path) -> None:
    assert check(open_source(write_clean(tmp_path / "clean"))).rows == []


def test_clean_real_data_has_no_errors(real_data: Path) -> None:
    for folder in ("camvid", *(f"native/{name}" for name in ("cityscapes", "ade20k", "coco_stuff", "voc"))):
        assert check(open_source(real_data / folder)).errors == 0, folder


def test_a_mended_copy_is_clean_and_the_source_untouched(
    damaged: Path, seg: Callable[..., Result], tmp_path: Path
) -> None:
    before = {path: path.lstat().st_mtime_ns for path in damaged.rglob("*")}
    result = seg("dataset", "check", damaged, "--classes", "3", "--fix", tmp_path / "mended", "--json")
    assert result.exit_code == 0, result.stderr
    mended = json.loads(result.stdout)["mended"]
    assert {path: path.lstat().st_mtime_ns for path in damaged.rglob("*")} == before
    again = check(open_source(tmp_path / "mended"))
    assert again.errors == 0
    assert {row.kind.name for row in again.rows} <= {"near-duplicate", "unseen-class", "ignored"}
    gone = {Path(file).stem for file in mended["left_out"]}
    assert gone == {
        "0000",
        "0001",
        "0002",
        "0003",
        "0004",
        "0006",
        "0007",
        "0008",
        "0009",
        "0010",
        "0013",
        "0014",
        "0015",
        "0016",
    }
    dataset = open_prepared(tmp_path / "mended")
    samples = {sample.name: sample for sample in dataset.split("train")}
    assert len(samples) == 30 - len(gone)
    unknown = samples["0005"].read()[1]
    assert (unknown[20:60, 20:60] == 255).all()
    assert np.array_equal(samples["0022"].read()[1], blocks(1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_are_scaled_and_turned_to_their_images(tmp_path: Path, suffix: str) -> None:
    root = write_clean(tmp_path / "src")
    mask = blocks(3, 48)
    Image.fromarray(mask).save(root / "masks/train/0003.png")
    exif = Image.Exif()
    exif[274] = 6
    replace(root / "images/train/0004.png", photo(4).resize((96, 60)), suffix, exif=exif)
    unturned = np.zeros((60, 96), np.uint8)
    unturned[:, 48:] = 1
    Image.fromarray(unturned).save(root / "masks/train/0004.png")
    report = check(open_source(root))
    assert found(report) == {
        ("size-mismatch", str(root / "masks/train/0003.png")),
        ("size-mismatch", str(root / "masks/train/0004.png")),
        ("exif", str(root / f"images/train/0004{suffix}")),
    }
    write_mended(report, tmp_path / "out")
    assert np.array_equal(read_mask(tmp_path / "out/masks/train/0003.png"), mask.repeat(2, 0).repeat(2, 1))
    turned = read_mask(tmp_path / "out/masks/train/0004.png")
    assert turned.shape == read_image(tmp_path / f"out/images/train/0004{suffix}").shape[:2] == (96, 60)
    assert (turned[48:] == 1).all()
    assert (turned[:48] == 0).all()


def disc(seed: int, smoothly: bool) -> Image.Image:
    """A white disc on black, drawn large and scaled down."""
    y, x = np.mgrid[:640, :640]
    row, column = np.random.default_rng(seed).integers(200, 440, 2)
    large = Image.fromarray(np.where((y - row) ** 2 + (x - column) ** 2 < 150**2, 255, 0).astype(np.uint8))
    return large.resize((160, 160), Image.Resampling.BICUBIC if smoothly else Image.Resampling.NEAREST)


def test_smooth_masks_of_two_classes_are_mended(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "src", 10)
    for index, path in enumerate(sorted((root / "masks").iterdir())):
        disc(index, smoothly=True).save(path)
        photo(index, 160).save(root / "images" / path.name)
    report = check(open_source(root), Options(classes=2, value_map={255: 1}))
    assert errors(report) == {"lossy-mask"}
    write_mended(report, tmp_path / "out")
    for path in (tmp_path / "out" / "masks").rglob("*.png"):
        truth = np.asarray(disc(int(path.stem), smoothly=False)) > 0
        assert (read_mask(path) == truth).mean() > 0.995


def test_the_table_ends_with_counts_and_the_command_that_mends(damaged: Path, seg: Callable[..., Result]) -> None:
    result = seg("dataset", "check", damaged, "--classes", "3")
    assert result.exit_code == 1
    assert "truncated or corrupt file (4)" in result.stdout
    assert f"mend\n  seg dataset check {damaged} --classes 3 --fix damaged-mended\n" in result.stdout
    assert "--fix leaves the pair out" in result.stdout
    assert "17 errors, 3 warnings, 4 notes" in result.stdout
    command = result.stdout.partition("mend\n")[2].splitlines()[0]
    assert seg(*shlex.split(command)[1:]).exit_code == 0
    assert seg("dataset", "check", "damaged-mended").exit_code == 0


def test_json_is_one_object_with_every_finding(damaged: Path, seg: Callable[..., Result]) -> None:
    result = seg("dataset", "check", damaged, "--json")
    values = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (1, "")
    assert values["pairs"] == {"train": 28, "val": 10}
    by_kind = {row["kind"]: row for row in values["findings"]}
    assert by_kind["damaged"]["count"] == len(by_kind["damaged"]["files"]) == 4
    assert values["errors"] == sum(row["count"] for row in values["findings"] if row["severity"] == "error")


@pytest.mark.parametrize(
    ("values", "options", "kind", "command"),
    [
        ((0, 255, 255), [], "ambiguous", "--map 255=1"),
        ((0, 1, 7), ["--classes", "a,b"], "unknown-values", "--map 7=CLASS"),
    ],
)
def test_the_command_says_what_values_mean(
    seg: Callable[..., Result], tmp_path: Path, values: tuple[int, ...], options: list[str], kind: str, command: str
) -> None:
    write_pairs(tmp_path / "mine", 6, values=values)
    result = seg("dataset", "check", "mine", *options, "--json")
    row = next(row for row in json.loads(result.stdout)["findings"] if row["kind"] == kind)
    assert row["mend"].startswith("seg dataset check mine")
    assert row["mend"].endswith(command)


def test_colour_masks_are_named_with_the_command_that_reads_them(seg: Callable[..., Result], tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "mine", 4)
    for path in (root / "masks").iterdir():
        values = np.asarray(Image.open(path))
        Image.fromarray(np.array([(0, 0, 0), (200, 0, 0), (0, 0, 200)], np.uint8)[values]).save(path)
    first = json.loads(seg("dataset", "check", "mine", "--json").stdout)["findings"][0]
    assert (first["kind"], first["count"]) == ("colour-mask", 4)
    assert first["mend"] == "seg dataset check mine --palette auto"
    assert seg("dataset", "check", "mine", "--palette", "auto").exit_code == 0


def test_the_mended_copy_must_lie_elsewhere(seg: Callable[..., Result], tmp_path: Path) -> None:
    write_pairs(tmp_path / "mine", 6)
    result = seg("dataset", "check", "mine", "--fix", "mine/mended")
    assert (result.exit_code, "must lie outside the dataset" in result.stderr) == (2, True)


def test_files_of_a_prepared_dataset_that_changed_are_named(tmp_path: Path, seg: Callable[..., Result]) -> None:
    write_pairs(tmp_path / "mine", 8)
    assert seg("dataset", "prepare", "folder", "--from", "mine", "--to", "data/mine", "--copy").exit_code == 0
    changed = sorted((tmp_path / "data/mine/masks/train").iterdir())[0]
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(changed)
    assert ("changed", str(Path("data/mine/masks/train") / changed.name)) in found(
        check(open_source(Path("data/mine")))
    )
    changed.unlink()
    assert {kind for kind, _ in found(check(open_source(Path("data/mine"))))} >= {"no-mask", "changed"}


def test_the_perceptual_hash_knows_scaled_and_stored_pictures(tmp_path: Path) -> None:
    for seed in range(5):
        picture = photo(seed, 256)
        picture.resize((150, 150)).save(tmp_path / "small.jpg", quality=70)
        hashes = perceptual_hash(picture), perceptual_hash(Image.open(tmp_path / "small.jpg"))
        assert (hashes[0] ^ hashes[1]).bit_count() <= 10
        assert (hashes[0] ^ perceptual_hash(photo(seed + 100, 256))).bit_count() > 60


def errors(report: Report) -> set[str]:
    return {row.kind.name for row in report.rows if row.kind.severity.value == "error"}


def test_deep_images_are_scaled_alike(tmp_path: Path) -> None:
    """12 bits in 16: the whole dataset is scaled by the same factor, a dark image stays dark; fractions are left out."""
    root = write_clean(tmp_path / "src")
    bright, dark = np.full((96, 96), 4095, np.uint16), np.full((96, 96), 819, np.uint16)
    replace(root / "images/train/0000.png", Image.fromarray(bright))
    replace(root / "images/train/0001.png", Image.fromarray(dark))
    cv2.imwrite(str(root / "images/train/0002.png"), np.full((96, 96, 3), (0, 819, 4095), np.uint16))
    replace(
        root / "images/train/0003.png",
        Image.fromarray(np.linspace(0, 1, 96 * 96, dtype=np.float32).reshape(96, 96)),
        ".tif",
    )
    report = check(open_source(root))
    assert errors(report) == {"deep-image"}
    mended = write_mended(report, tmp_path / "out")
    got = [read_image(tmp_path / f"out/images/train/000{place}.png") for place in range(3)]
    assert [int(image.min()) for image in got[:2]] == [int(image.max()) for image in got[:2]] == [255, 51]
    assert (got[2] == (255, 51, 0)).all()
    assert [Path(file).name for file in mended.left_out] == ["0003.tif"]


def test_mended_images_are_no_links_to_what_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_clean(tmp_path / "src")
    replace(root / "images/train/0000.png", Image.fromarray(np.full((96, 96), 4095, np.uint16)))

    def refuse(self: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    write_mended(check(open_source(root)), tmp_path / "out")
    for path in (tmp_path / "out" / "images").rglob("*.png"):
        assert not path.is_symlink()
        read_image(path)


def test_jpeg_masks_of_two_classes_are_mended_as_a_threshold_would(tmp_path: Path) -> None:
    root = write_clean(tmp_path / "src", train=8, val=4)
    for path in (root / "masks").rglob("*.png"):
        # A few hold next to nothing of the second class, which is no reason to lose it.
        side = 12 if int(path.stem) % 3 == 0 else 96
        small = Image.new("L", (96, 96))
        small.paste(disc(int(path.stem), smoothly=False).resize((side, side)))
        replace(path, small, ".jpg", quality=80)
    guessed = check(open_source(root), Options(value_map={255: 1}))
    assert [row.option for row in guessed.rows] == ["--classes NAMES"]
    report = check(open_source(root), Options(classes=2, value_map={255: 1}))
    assert errors(report) == {"lossy-mask"}
    write_mended(report, tmp_path / "out")
    for path in (root / "masks").rglob("*.jpg"):
        mended = read_mask(tmp_path / "out" / path.relative_to(root).with_suffix(".png"))
        assert np.array_equal(mended, np.asarray(Image.open(path)) > 127)
    again = check(open_source(tmp_path / "out"))
    assert {row.kind.name: len(row.findings) for row in again.rows} == {"guessed-mask": 12}
    assert any("12 masks" in remark and "by a guess" in remark for remark in open_prepared(tmp_path / "out").remarks)
    write_mended(again, tmp_path / "twice")
    assert found(check(open_source(tmp_path / "twice"))) == {
        ("guessed-mask", str(tmp_path / "twice/masks" / path.relative_to(root / "masks").with_suffix(".png")))
        for path in (root / "masks").rglob("*.jpg")
    }


def test_sound_jpeg_masks_of_values_far_apart_are_kept(tmp_path: Path) -> None:
    root = write_clean(tmp_path / "src", train=8, val=4)
    for path in (root / "masks").rglob("*.png"):
        flat = np.full((96, 96), 255 if int(path.stem) % 2 else 0, np.uint8)
        replace(path, Image.fromarray(flat), ".jpg" if int(path.stem) % 3 else None)
    cut(root / "images/train/0000.png")
    report = check(open_source(root), Options(classes=2, value_map={255: 1}))
    assert [row.kind.name for row in report.rows if row.option] == ["damaged"]
    assert write_mended(report, tmp_path / "out").kept == 11


def write_sparse(root: Path) -> Path:
    """40 clean masks whose values have gaps: six large classes, and ten small objects of twenty rare ones each."""
    write_clean(root)
    rng = np.random.default_rng(0)
    for path in (root / "masks").rglob("*.png"):
        mask = rng.choice([0, 2, 3, 5, 7, 8], (3, 3)).astype(np.uint8).repeat(32, 0).repeat(32, 1)
        for value in rng.choice(np.arange(10, 50, 2), 10, replace=False):
            y, x = rng.integers(0, 90, 2)
            mask[y : y + 5, x : x + 5] = value
        replace(path, Image.fromarray(mask))
    return root


def test_rare_values_of_lossless_masks_are_no_compression(tmp_path: Path, seg: Callable[..., Result]) -> None:
    root = write_sparse(tmp_path / "sparse")
    (root / "images/train/0000.png").write_bytes(b"")
    values = json.loads(seg("dataset", "check", root, "--json").stdout)
    mends = {row["kind"]: row["mend"] for row in values["findings"]}
    assert mends.pop("unknown-values") == "seg dataset check sparse --classes NAMES"
    assert "empty" in mends
    assert not any(mends.values())
    refused = seg("dataset", "check", root, "--fix", tmp_path / "out")
    assert (refused.exit_code, "nothing was written" in refused.stderr) == (1, True)
    assert not (tmp_path / "out").exists()
    assert seg("dataset", "check", root, "--classes", "49", "--fix", tmp_path / "out").exit_code == 0
    for path in (tmp_path / "out/masks").rglob("*.png"):
        assert np.array_equal(read_mask(path), read_mask(root / path.relative_to(tmp_path / "out")))


def test_compressed_masks_whose_values_lie_close_are_left_out(tmp_path: Path) -> None:
    root = write_clean(tmp_path / "src")
    truth = {}
    for place, path in enumerate(sorted((root / "masks").rglob("*.png"))):
        truth[path.stem] = np.random.default_rng(place).integers(0, 12, (6, 6), np.uint8).repeat(16, 0).repeat(16, 1)
        replace(path, Image.fromarray(truth[path.stem]), ".jpg" if place % 4 == 0 else None)
    report = check(open_source(root), Options(classes=12))
    assert all(
        "cannot be told" in item.message
        for row in report.rows
        for item in row.findings
        if row.kind.name == "lossy-mask"
    )
    assert {row.option for row in report.rows} == {"--fix src-mended"}
    assert {item[0] for item in found(report)} <= {"lossy-mask", "jpeg-mask"}
    mended = write_mended(report, tmp_path / "out")
    kept = {path.stem: read_mask(path) for path in (tmp_path / "out/masks").rglob("*.png")}
    assert (len(kept), len(mended.left_out)) == (30, 10)
    assert all(np.array_equal(mask, truth[name]) for name, mask in kept.items())


def test_a_class_painted_as_ignored_in_one_mask_is_told(tmp_path: Path) -> None:
    root = write_clean(tmp_path / "src", train=15, val=5)
    for path in (root / "masks").rglob("*.png"):
        mask = np.asarray(Image.open(path)) % 255
        if path.stem == "0004":
            mask[:24, :24] = 255
        replace(path, Image.fromarray(mask))
    (row,) = check(open_source(root)).rows
    assert (row.kind.name, [item.file.name for item in row.findings]) == ("ignored", ["0004.png"])
    assert "6.2% of its pixels, the median mask on 0.0% (1 of 20 masks" in row.findings[0].message


def test_an_ignored_share_far_above_those_of_all_others_is_told(tmp_path: Path) -> None:
    root = write_clean(tmp_path / "src")  # each ignores its first two rows
    path = root / "masks/train/0004.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[:24] = 255
    replace(path, Image.fromarray(mask))
    assert found(check(open_source(root))) == {("ignored", str(path))}


def test_a_class_that_half_of_the_masks_ignore_is_told(tmp_path: Path) -> None:
    """Masks of 0 and 1 from one tool, of 0 and 255 from another."""
    root = write_clean(tmp_path / "src", train=16, val=8)
    for place, path in enumerate(sorted((root / "masks").rglob("*.png"))):
        replace(path, Image.fromarray((blocks(place) > 0).astype(np.uint8) * (255 if place % 2 else 1)))
    (row,) = check(open_source(root)).rows
    assert (row.kind.name, [item.file for item in row.findings]) == ("ignored", [root])
    assert "12 of 24 masks have ignored pixels" in row.findings[0].message
    assert "never class_1" in row.findings[0].message


def paint(mask: Path) -> None:
    replace(mask, Image.fromarray(np.array([(0, 0, 0), (200, 0, 0), (0, 0, 200)], np.uint8)[read_mask(mask) % 3]))


def test_the_advice_on_colours_follows_the_majority(tmp_path: Path, seg: Callable[..., Result]) -> None:
    for name, painted in (("one", 1), ("most", 18)):
        root = write_pairs(tmp_path / name, 19)
        for path in sorted((root / "masks").iterdir())[:painted]:
            paint(path)
    rows = {row["kind"]: row for row in json.loads(seg("dataset", "check", "one", "--json").stdout)["findings"]}
    assert (rows["colour-mask"]["count"], rows["colour-mask"]["mend"]) == (1, "seg dataset check one --fix one-mended")
    refused = seg("dataset", "check", "one", "--palette", "auto")
    assert (refused.exit_code, "18 of 19 masks hold indices" in refused.stderr) == (1, True), refused.stderr
    assert "one/masks/000.png" in refused.stderr
    rows = {row["kind"]: row for row in json.loads(seg("dataset", "check", "most", "--json").stdout)["findings"]}
    assert rows["colour-mask"]["mend"] == "seg dataset check most --palette auto"
    assert [Path(file["file"]).name for file in rows["index-mask"]["files"]] == ["018.png"]
    values = json.loads(seg("dataset", "check", "most", "--palette", "auto", "--json").stdout)
    (row,) = values["findings"]
    assert (row["kind"], [Path(file["file"]).name for file in row["files"]]) == ("unknown-values", ["018.png"])
    assert "#010101" in row["files"][0]["message"]


def test_pairs_that_no_list_names_are_told(tmp_path: Path, seg: Callable[..., Result]) -> None:
    write_pairs(tmp_path / "mine", 9)
    (tmp_path / "train.txt").write_text("000\n001\n")
    (tmp_path / "val.txt").write_text("002\n")
    lists = ("--split-file", "train=train.txt", "--split-file", "val=val.txt")
    row = json.loads(seg("dataset", "check", "mine", *lists, "--json").stdout)["findings"][0]
    assert (row["kind"], row["severity"]) == ("unlisted", "note")
    message = "6 of 9 pairs stand in no list of --split-file: 003, 004, 005, 006, …; they are left out"
    assert row["files"][0]["message"] == message
    assert f"note: {message}" in seg("dataset", "prepare", "folder", "--from", "mine", *lists).stderr


def test_near_duplicates_are_looked_for_with_progress(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    almost(write_clean(tmp_path / "src"))
    check(open_source(tmp_path / "src"), None, lambda what, done, total: told.append((what, done, total)))
    assert [total for what, done, total in told if what == "comparing images" and done == total]


def test_files_of_objects_are_looked_at_too(tmp_path: Path) -> None:
    write_cityscapes(tmp_path / "city", "gtFine", {"train": ["1", "2", "3"], "val": ["4"]})
    for name in ("1", "2"):
        path = tmp_path / f"city/gtFine/train/aachen/aachen_{name}_gtFine_instanceIds.png"
        cut(path) if name == "1" else replace(path, Image.new("I;16", (9, 7)))
    report = check(open_source(tmp_path / "city"))
    named = {item.file.name for row in report.rows for item in row.findings if row.kind.name == "instances"}
    assert named == {"aachen_1_gtFine_labelIds.png", "aachen_2_gtFine_labelIds.png"}
    write_mended(report, tmp_path / "out")
    objects = sorted(path.stem for path in (tmp_path / "out/instances").rglob("*.png"))
    assert objects == ["aachen_3", "aachen_4"]


def test_a_folder_of_a_pair_or_two_is_checked(tmp_path: Path, seg: Callable[..., Result]) -> None:
    write_pairs(tmp_path / "mine", 1)
    assert check(open_source(tmp_path / "mine")).pairs == {"": 1}
    refused = seg("dataset", "prepare", "folder", "--from", "mine")
    assert (refused.exit_code, "too few pairs" in refused.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_dark_images_are_not_alike(tmp_path: Path) -> None:
    root = write_clean(tmp_path / "dark")
    for place, path in enumerate((root / "images").rglob("*.png")):
        night = np.zeros((96, 96, 3), np.uint8)
        night[2 * place + 1, 50:54] = 200
        replace(path, Image.fromarray(night))
    assert check(open_source(root)).rows == []


def test_names_that_cannot_be_written_are_found(tmp_path: Path) -> None:
    root = write_clean(tmp_path / "src")
    for kind in ("images", "masks"):
        (root / kind / "train" / "0001.png").rename(root / kind / "train" / "a\tb.png")
    report = check(open_source(root))
    assert errors(report) == {"name"}
    write_mended(report, tmp_path / "out")
    assert len(open_prepared(tmp_path / "out").split("train")) == 29


def test_paths_with_spaces_are_quoted(tmp_path: Path, seg: Callable[..., Result]) -> None:
    write_clean(tmp_path / "my  data")
    cut(tmp_path / "my  data" / "images/train/0000.png")
    row = json.loads(seg("dataset", "check", "my  data", "--json").stdout)["findings"][0]
    assert row["mend"] == "seg dataset check 'my  data' --fix 'my  data-mended'"
    assert seg(*shlex.split(row["mend"])[1:]).exit_code == 0


def test_annotations_are_recognised(tmp_path: Path) -> None:
    for name, document in (
        ("coco", {"images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
                  "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 9, 0, 9, 9]]}],
                  "categories": [{"id": 3, "name": "cat"}]}),
        ("labelme", {"shapes": [{"label": "cat", "points": [[0, 0], [9, 0], [9, 9]], "shape_type": "polygon"}],
                     "imagePath": "a.png"}),
    ):  # fmt: skip
        (tmp_path / name / "images").mkdir(parents=True)
        for seed, image in enumerate("ab"):
            photo(seed).save(tmp_path / name / "images" / f"{image}.png")
        folder = tmp_path / name / ("annotations" if name == "coco" else "images")
        folder.mkdir(exist_ok=True)
        (folder / "a.json").write_text(json.dumps(document))
        report = check(open_source(tmp_path / name))
        assert errors(report) == set()
        assert report.survey.settled().task.classes == ("background", "cat")


def test_advice_fits_its_reader_and_the_check_counts_alike(tmp_path: Path, seg: Callable[..., Result]) -> None:
    """A config's keys for training, options for `seg dataset`; an evaluation has neither, its classes are the model's."""
    home = write_pairs(tmp_path / "my data" / "val", 4, values=(0, 200, 77))
    config = DatasetConfig.model_validate(
        {f"{split}_{kind}_dir": home / kind for split in ("train", "val") for kind in ("images", "masks")}
        | {"classes": ["ground, or road", "car"], "map": {200: 1}}
    )
    with pytest.raises(DataError, match=r"with `dataset.map: {77: CLASS}`, or mend") as of_training:
        open_dataset(config)
    data = {"dataset": config.model_dump(mode="json")}
    mean = (0.5, 0.5, 0.5)
    card = ModelCard(Task.of(config.classes, None, 255), "Unet", "resnet18", None, mean, mean, data=data)
    with pytest.raises(DataError, match=r"holds 77, but classes run 0…1 and 255 is ignored. Mend the mask.") as of_eval:
        open_for_model(card, home)
    for told in (of_training, of_eval):
        command = re.findall("`(seg dataset check [^`;]*)", str(told.value))[-1]
        values = json.loads(seg(*shlex.split(command)[1:], "--json").stdout)
        (row,) = [row for row in values["findings"] if row["severity"] == "error"]
        assert (row["kind"], row["count"]) == ("unknown-values", 4)
        assert "with --map 77=CLASS, or mend" in row["files"][0]["message"]
        assert "dataset.map" not in row["files"][0]["message"]
