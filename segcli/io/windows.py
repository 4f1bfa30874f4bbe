"""Images too large for memory: readers that give a window of one, and writers that take a mask in bands from the top.

Tiled and striped TIFF files are read and written by rasterio (the extra `large`), any other image is decoded once and
kept as it is, three bytes a pixel. PNG files are written row by row without any library.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from segcli.errors import FileProblem, UsageError
from segcli.io.files import replacing
from segcli.io.images import Mask, Pixels, read_image
from segcli.task import IGNORED_COLOUR, Colour

_TIFF = {".tif", ".tiff"}
_CACHE = 256 << 20  # bytes of decoded blocks that GDAL keeps; it would take a twentieth of all memory
_BLOCK = 512  # side of the blocks of a TIFF file that is written
_RUNS = 3  # zlib's Z_RLE, as for other masks


class Windows(Protocol):
    """An image that can be read in parts."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> Pixels:
        """The pixels (h×w×3 uint8 RGB) from a first row and column up to another that is not read."""

    def shrunk(self, size: tuple[int, int]) -> Pixels:
        """The whole image (h×w×3 uint8 RGB), averaged to a smaller height and width."""


class _Decoded:
    """An image in memory."""

    def __init__(self, image: Pixels) -> None:
        self.image = image

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> Pixels:
        return self.image[slice(*rows), slice(*columns)]

    def shrunk(self, size: tuple[int, int]) -> Pixels:
        import cv2

        return np.asarray(cv2.resize(self.image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


class _Raster:
    """A TIFF file, read by rasterio."""

    def __init__(self, file: Any, path: Path) -> None:
        self.file, self.path = file, path
        self.bands = (1, 2, 3) if file.count >= 3 else (1, 1, 1)

    @property
    def size(self) -> tuple[int, int]:
        return self.file.height, self.file.width

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> Pixels:
        return self._pixels(window=(rows, columns))

    def shrunk(self, size: tuple[int, int]) -> Pixels:
        from rasterio.enums import Resampling

        return self._pixels(out_shape=(3, *size), resampling=Resampling.average)

    def _pixels(self, **how: Any) -> Pixels:
        from rasterio.errors import RasterioError

        try:
            bands = self.file.read(self.bands, **how)
        except RasterioError as error:
            cause = error.__cause__ or error
            raise FileProblem(f"{self.path} is damaged: {cause}; replace or remove it", "damaged") from None
        return np.ascontiguousarray(bands.transpose(1, 2, 0))


@contextmanager
def open_windows(path: Path) -> Iterator[Windows]:
    """Opens an image to be read in parts.

    Raises:
        FileProblem: as `read_image` does.
        UsageError: if it is a TIFF file and rasterio is not installed.
    """
    if path.suffix.lower() not in _TIFF or not path.is_file():
        yield _Decoded(read_image(path))
        return
    rasterio = _rasterio(path)
    with rasterio.Env(GDAL_CACHEMAX=_CACHE):
        try:
            file = _open_raster(rasterio, path)
        except rasterio.errors.RasterioError as error:
            raise FileProblem(f"{path} is damaged or no image ({error}); replace or remove it", "damaged") from None
        with file:
            if set(file.dtypes) != {"uint8"}:
                raise FileProblem(f"{path} holds {file.dtypes[0]}; scale it to 8 bits a channel", "deep-image")
            if file.count > 4 or file.count == 2:
                raise FileProblem(f"{path} has {file.count} channels; write three of them as RGB", "channels")
            yield _Raster(file, path)


class Bands(Protocol):
    """A mask that is written from the top."""

    def write(self, rows: Mask) -> None:
        """Takes the next rows (h×W), as many as there are."""


@contextmanager
def mask_file(
    path: Path,
    size: tuple[int, int],
    palette: Sequence[Colour] = (),
    deep: bool = False,
    like: Path | None = None,
    staging: Path | None = None,
) -> Iterator[Bands]:
    """Opens a mask to be written in bands; it stands in its place when the block ends, whole or not at all.

    Args:
        path: a PNG, or a TIFF (tiled, deflated, beyond 4 GB a BigTIFF).
        size: height and width.
        palette: the colours of its values; none for a picture in grey.
        deep: of 16 bits a pixel, which have no palette.
        like: a TIFF file whose place on Earth it takes over, where it has one.
        staging: where it is made meanwhile, as `replacing` has it.

    Raises:
        UsageError: if it is neither, or a TIFF and rasterio is not installed.
        SegError: if it cannot be written.
    """
    if path.suffix.lower() not in {".png", *_TIFF}:
        raise UsageError(f"{path}: masks are written as .png, .tif or .tiff")
    with replacing(path, staging=staging) as staged:
        if path.suffix.lower() == ".png":
            with staged.open("wb") as file:
                bands = _Png(file, size, palette, deep)
                yield bands
                bands.end()
            return
        rasterio = _rasterio(path)
        profile = _profile(size, deep, like, rasterio)
        with rasterio.Env(GDAL_CACHEMAX=_CACHE), _open_raster(rasterio, staged, "w", **profile) as raster:
            if palette and not deep:
                raster.write_colormap(1, dict(enumerate(_colours(palette))))
            tiff = _Tiff(raster, size)
            yield tiff
            tiff.end()


class _Png:
    """Writes a PNG of one channel row by row, as RFC 2083 lays it out."""

    def __init__(self, file: IO[bytes], size: tuple[int, int], palette: Sequence[Colour], deep: bool) -> None:
        self.file, self.dtype = file, np.dtype(">u2" if deep else "u1")
        self.deflate = zlib.compressobj(6, zlib.DEFLATED, 15, 8, _RUNS)
        colour_type = 3 if palette and not deep else 0
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 16 if deep else 8, colour_type, 0, 0, 0))
        if colour_type == 3:
            self._chunk(b"PLTE", bytes(channel for colour in _colours(palette) for channel in colour))

    def write(self, rows: Mask) -> None:
        values = np.ascontiguousarray(rows, self.dtype).view(np.uint8).reshape(len(rows), -1)
        unfiltered = np.zeros((len(rows), 1), np.uint8)  # each row begins with how it is filtered: not
        self._data(self.deflate.compress(np.concatenate([unfiltered, values], axis=1).tobytes()))

    def end(self) -> None:
        self._data(self.deflate.flush())
        self._chunk(b"IEND", b"")

    def _data(self, compressed: bytes) -> None:
        if compressed:
            self._chunk(b"IDAT", compressed)

    def _chunk(self, name: bytes, content: bytes) -> None:
        checksum = zlib.crc32(content, zlib.crc32(name))
        self.file.write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum))


class _Tiff:
    """Writes a tiled TIFF in whole rows of blocks, so that none is written twice."""

    def __init__(self, raster: Any, size: tuple[int, int]) -> None:
        self.raster, self.size = raster, size
        self.waiting: list[Mask] = []
        self.written = 0

    def write(self, rows: Mask) -> None:
        self.waiting.append(rows)
        waiting = sum(map(len, self.waiting))
        if waiting >= _BLOCK:
            self._write(waiting // _BLOCK * _BLOCK)

    def end(self) -> None:
        self._write(sum(map(len, self.waiting)))

    def _write(self, number: int) -> None:
        if number:
            rows = np.concatenate(self.waiting)
            window = ((self.written, self.written + number), (0, self.size[1]))
            self.raster.write(rows[:number].astype(self.raster.dtypes[0], copy=False), 1, window=window)
            self.waiting, self.written = [rows[number:].copy()], self.written + number


def _profile(size: tuple[int, int], deep: bool, like: Path | None, rasterio: Any) -> dict[str, Any]:
    """How a TIFF is written."""
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": size[0], "width": size[1], "count": 1, "dtype": "uint16" if deep else "uint8",
        "tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "deflate", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    if like is not None and like.suffix.lower() in _TIFF:
        with _open_raster(rasterio, like) as source:
            if source.crs is not None:
                profile |= {"crs": source.crs, "transform": source.transform}
    return profile


def _colours(palette: Sequence[Colour]) -> list[Colour]:
    """The palette that all masks have: 256 colours, the last that of ignored pixels where no class has it."""
    colours = [*palette[:256], *[(0, 0, 0)] * (256 - len(palette))]
    if len(palette) < 256:
        colours[255] = IGNORED_COLOUR
    return colours


def _open_raster(rasterio: Any, *arguments: Any, **options: Any) -> Any:
    with warnings.catch_warnings():  # most images have no place on Earth
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(*arguments, **options)


def _rasterio(path: Path) -> Any:
    try:
        import rasterio
        import rasterio.errors
    except ImportError:
        raise UsageError(f"{path}: TIFF files in parts need rasterio; pip install 'segcli[large]'") from None
    return rasterio
