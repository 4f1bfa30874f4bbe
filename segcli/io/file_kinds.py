"""What a file is that was taken for an image, told by how it begins."""

from pathlib import Path

_HEAD = 512
_VIDEO = "a video, not an image; take frames out of it"
_PICTURE_OF_VIDEO = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif")

# At which byte of a file, which bytes, and what it then is.
_STARTS = (
    (0, b"\x1aE\xdf\xa3", _VIDEO), (8, b"AVI ", _VIDEO), (0, b"FLV\x01", _VIDEO), (0, b"\x00\x00\x01\xba", _VIDEO),
    (0, b"%PDF", "a PDF document, not an image; export its pages as PNG"),
    (0, b"PK\x03\x04", "a ZIP archive, not an image; unpack it"),
    (0, b"\x1f\x8b", "a gzip archive, not an image; unpack it"),
    (0, b"\x93NUMPY", "a NumPy array, not an image; write it as PNG"),
    (0, b"\x89HDF", "an HDF5 file, not an image; write its arrays as PNG"),
    (128, b"DICM", "a DICOM file, not an image that can be read; convert it to PNG"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not an image; fetch the file itself with `git lfs pull`"),
)  # fmt: skip
_TEXTS = (
    (b"<svg", "a drawing of lines (SVG), not an image of pixels; export it as PNG"),
    (b"<html", "a web page, not an image; download the image again"),
    (b"<!doctype html", "a web page, not an image; download the image again"),
    (b"<?xml", "an XML file, not an image; replace or remove it"),
    (b"{", "a JSON file, not an image; replace or remove it"),
)


def no_image(path: Path) -> str:
    """What a file is that is no image, and what to do."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if head[4:8] == b"ftyp":
        if head[8:12] in _PICTURE_OF_VIDEO:
            return "a HEIC or AVIF picture, which cannot be read; convert it to JPEG or PNG"
        return _VIDEO
    for place, start, what in _STARTS:
        if head[place : place + len(start)] == start:
            return what
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return _TEXTS[0][1]
    return next((what for start, what in _TEXTS if text.startswith(start)), "not an image; replace or remove it")
