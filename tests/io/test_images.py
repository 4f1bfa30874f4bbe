import contextlib
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segcli.errors import DataError, FileProblem
from segcli.io.images import find_images, load_image, read_deep, read_image, read_mask, write_image, write_mask
from segcli.task import voc_palette

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (12, 17, 3)).astype(np.uint8)


def test_images_round_trip_and_are_upright(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PHOTO)
    assert np.array_equal(read_image(tmp_path / "a.png"), PHOTO)
    turned = Image.fromarray(PHOTO)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "b.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "b.png"), np.rot90(PHOTO, -1))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_eight_bit_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(PHOTO).convert(mode if mode != "LA" else "L").convert(mode).save(path)
    assert read_image(path).shape == (12, 17, 3)


def test_deep_images_are_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 60000, (4, 5)).astype(np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep.png has more than 8 bits a channel; scale it to 8 bits"):
        read_image(tmp_path / "deep.png")


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_masks_give_their_indices(tmp_path: Path, mode: str) -> None:
    mask = RNG.integers(0, 21, (9, 8)).astype(np.uint8)
    if mode == "P":
        write_mask(tmp_path / "m.png", mask, voc_palette(21))
        with Image.open(tmp_path / "m.png") as image:
            assert image.mode == "P"
    else:
        Image.fromarray(mask).convert(mode).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)


def test_wide_masks_keep_their_values(tmp_path: Path) -> None:
    mask = RNG.integers(0, 3000, (9, 8))
    write_mask(tmp_path / "m.png", mask)
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)


def test_the_palette_stands_in_the_file(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", np.array([[0, 1, 255]], np.uint8), [(1, 2, 3), (4, 5, 6)])
    with Image.open(tmp_path / "m.png") as image:
        colours = np.asarray(image.convert("RGB"))
    assert np.array_equal(colours[0], [(1, 2, 3), (4, 5, 6), (224, 224, 192)])


def damaged(path: Path, kind: str) -> Path:
    write_image(path, RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-600])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "missing":
        path.unlink()
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "folder", "missing"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_damaged_files_are_named_in_one_line(tmp_path: Path, suffix: str, kind: str) -> None:
    path = damaged(tmp_path / f"a{suffix}", kind)
    for read in (read_image, read_mask):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_colour_mask_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "m.png", PHOTO)
    with pytest.raises(DataError, match="is a colour image, not class indices"):
        read_mask(tmp_path / "m.png")


def test_images_are_found_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.png", ".hidden/d.png", "notes.txt", "._b.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a/c.png", "b.JPG"]
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "nothing")


def test_images_are_found_through_links_but_never_in_a_circle(tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere" / "a.png", PHOTO)
    (tmp_path / "images" / "deep").mkdir(parents=True)
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "deep" / "circle").symlink_to(tmp_path / "images")
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path / "images")] == [
        "images/linked/a.png"
    ]


def test_negative_mask_values_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, -1]], np.int32)).save(tmp_path / "m.tif")
    with pytest.raises(DataError, match=r"m.tif holds -1 … 0; mask values are 0 … 65535"):
        read_mask(tmp_path / "m.tif")


def save_tiff(path: Path, channels: int) -> Path:
    """Writes an uncompressed TIFF of many channels, which Pillow itself cannot."""
    height, width = 4, 5
    pixels = bytes(range(height * width * channels))
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 200),
        (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    header += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    path.write_bytes(header.ljust(200, b"\0") + pixels)
    return path


def test_more_than_three_channels_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="m.tif has 7 channels; write three of them as RGB") as caught:
        read_image(save_tiff(tmp_path / "m.tif", 7))
    assert caught.value.kind == "channels"


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "P", "1", "YCbCr"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(PHOTO).convert(mode)
    path = tmp_path / ("a.tif" if mode in {"CMYK", "YCbCr"} else "a.png")
    picture.save(path)
    image = read_image(path)
    assert (image.shape, image.dtype) == (PHOTO.shape, np.uint8)
    assert np.array_equal(image, np.asarray(picture.convert("RGB")))


def test_sixteen_bit_colours_are_refused(tmp_path: Path) -> None:
    """Pillow opens these as 8 bits without a word."""
    deep = (PHOTO.astype(np.uint16) * 200)[..., ::-1]
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    with Image.open(tmp_path / "deep.png") as image:
        assert image.mode == "RGB"
    with pytest.raises(FileProblem, match="deep.png has more than 8 bits a channel") as caught:
        read_image(tmp_path / "deep.png")
    assert caught.value.kind == "deep-image"


def test_masks_of_gif_and_tiff_keep_their_indices(tmp_path: Path) -> None:
    mask = RNG.integers(0, 5, (6, 7)).astype(np.uint8)
    picture = Image.fromarray(mask)
    picture.putpalette([channel for index in range(256) for channel in (index * 7 % 256, 200, index)])
    for name in ("m.gif", "m.tif", "m.bmp"):
        picture.save(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name), mask), name
    Image.fromarray(mask).save(tmp_path / "grey.gif")
    assert np.array_equal(read_mask(tmp_path / "grey.gif"), mask)
    Image.fromarray(mask.astype(np.float32)).save(tmp_path / "float.tif")
    assert np.array_equal(read_mask(tmp_path / "float.tif"), mask)
    Image.fromarray(mask.astype(np.float32) + 0.5).save(tmp_path / "half.tif")
    with pytest.raises(FileProblem, match="half.tif holds fractions"):
        read_mask(tmp_path / "half.tif")


def test_several_pages_are_refused_but_not_a_cameras_second_picture(tmp_path: Path) -> None:
    pages = [Image.fromarray(PHOTO), Image.fromarray(PHOTO[::-1])]
    for name in ("a.tif", "a.gif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(FileProblem, match=f"{name} holds 2 pages; keep one"):
            read_image(tmp_path / name)
    pages[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=pages[1:])
    assert read_image(tmp_path / "a.jpg").shape == PHOTO.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_and_masks_are_turned_upright_once(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    turn = [
        lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1], lambda a: a[::-1], lambda a: a.transpose(1, 0, 2),
        lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].transpose(1, 0, 2), lambda a: np.rot90(a, 1),
    ]  # fmt: skip
    upright = turn[orientation - 1](PHOTO)
    for name in ("a.png", "a.tif"):  # Pillow turns TIFF files by itself
        Image.fromarray(PHOTO).save(tmp_path / name, exif=exif)
        assert np.array_equal(read_image(tmp_path / name), upright), name
        Image.fromarray(PHOTO[..., 0]).save(tmp_path / name, exif=exif)
        assert np.array_equal(read_mask(tmp_path / name), upright[..., 0]), name
        assert next(load_image(tmp_path / name).peculiarities(), "upright") == (
            "exif" if orientation > 1 else "upright"
        )
        Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 99).save(tmp_path / name, exif=exif)
        assert np.array_equal(read_deep(tmp_path / name), upright[..., 0].astype(np.uint16) * 99), name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_colours_are_turned_upright_once(tmp_path: Path, orientation: int) -> None:
    deep = np.arange(4 * 5 * 3, dtype=np.uint16).reshape(4, 5, 3) * 999
    save_deep_tiff(tmp_path / "deep.tif", deep, orientation)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    exif = Image.Exif()
    exif[274] = orientation
    content = (tmp_path / "deep.png").read_bytes()
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")  # goes behind the header, 33 bytes
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "deep.png").write_bytes(content[:33] + chunk + content[33:])
    small = Image.fromarray((deep >> 8).astype(np.uint8))
    small.save(tmp_path / "small.png", exif=exif)
    expected = read_image(tmp_path / "small.png")
    for name in ("deep.png", "deep.tif"):
        values = read_deep(tmp_path / name)
        assert values is not None
        assert np.array_equal(values >> 8, expected), name


def save_deep_tiff(path: Path, pixels: np.ndarray, orientation: int) -> None:
    """Writes an uncompressed TIFF of 16-bit colours, which Pillow itself cannot."""
    height, width, _ = pixels.shape
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 192), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 200),
        (274, 3, 1, orientation), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, pixels.nbytes),
    ]  # fmt: skip
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    header += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    path.write_bytes(header.ljust(192, b"\0") + struct.pack("<HHHH", 16, 16, 16, 0) + pixels.tobytes())


def test_depth_and_pages_are_told_from_what_looks_like_them(tmp_path: Path) -> None:
    header = struct.pack("<2sIHHI", b"BM", 70 + 32, 0, 0, 70) + struct.pack(
        "<IiiHHIIiiIIIIII", 56, 4, 4, 1, 16, 3, 32, 0, 0, 0, 0, 0xF800, 0x07E0, 0x001F, 0
    )
    (tmp_path / "rgb565.bmp").write_bytes(header + b"\x00\xf8" * 16)
    assert (read_image(tmp_path / "rgb565.bmp") == (255, 0, 0)).all()
    (tmp_path / "deep.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    with pytest.raises(FileProblem, match="deep.ppm has more than 8 bits"):
        read_image(tmp_path / "deep.ppm")
    small = Image.fromarray(PHOTO[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(PHOTO).save(tmp_path / "overview.tif", save_all=True, append_images=[small])
    assert np.array_equal(read_image(tmp_path / "overview.tif"), PHOTO)


def test_damaged_files_raise_nothing_else(tmp_path: Path) -> None:
    """A thousand small damages to files with EXIF: read, or refused by name."""
    exif = Image.Exif()
    exif[274], exif[271] = 6, "camera"
    rng = np.random.default_rng(0)
    for suffix in (".jpg", ".png", ".tif", ".webp", ".gif", ".bmp"):
        whole = tmp_path / f"whole{suffix}"
        Image.fromarray(PHOTO).save(whole, **({"exif": exif} if suffix not in {".gif", ".bmp"} else {}))
        content = whole.read_bytes()
        for _ in range(170):
            broken = bytearray(content)
            for place in rng.integers(0, len(broken), 3):
                broken[place] = rng.integers(256)
            (tmp_path / f"broken{suffix}").write_bytes(bytes(broken))
            with warnings.catch_warnings(), contextlib.suppress(FileProblem):
                warnings.simplefilter("ignore")
                read_image(tmp_path / f"broken{suffix}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x00\x00\x00\x18ftypmp42\x00\x00", "is a video, not an image; take frames out of it"),
        (b"\x1aE\xdf\xa3\x01\x00", "is a video, not an image"), (b"RIFF\x00\x00\x00\x00AVI LIST", "is a video"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "HEIC or AVIF picture"), (b"%PDF-1.7\n", "is a PDF document"),
        (b"PK\x03\x04\x14\x00", "is a ZIP archive"), (b"\x93NUMPY\x01\x00", "is a NumPy array"),
        (b" <!DOCTYPE HTML><html>", "is a web page, not an image; download the image again"),
        (b'<?xml version="1.0"?><svg width="3">', "drawing of lines"), (b'{"shapes": []}', "is a JSON file"),
        (b"version https://git-lfs.example/spec/v1", "Git LFS pointer"), (b"\x00" * 200, "is not an image"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_called_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(FileProblem, match="a.png") as caught:
        read_image(path)
    assert said in str(caught.value)
    assert caught.value.kind == "not-an-image"
