"""Pictures as a video."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import cv2

from segcli.errors import SegError
from segcli.io.files import replacing
from segcli.io.images import Pixels

RATE = 10.0
"""Frames a second of pictures that come from no video."""

_CODEC = "mp4v"  # MPEG-4 part 2: what every build of OpenCV can write


def write_video(path: Path, pictures: Iterable[Pixels], rate: float = RATE, staging: Path | None = None) -> bool:
    """Writes pictures (H×W×3 uint8 RGB) as an MP4, whole or not at all; tells whether there were any.

    Args:
        path: the file.
        pictures: all get the size of the first, less a row or column where that is odd.
        rate: frames a second.
        staging: where it is made meanwhile, as `replacing` has it.

    Raises:
        SegError: if it cannot be written.
    """
    frames = iter(pictures)
    first = next(frames, None)
    if first is None:
        return False
    size = first.shape[1] // 2 * 2, first.shape[0] // 2 * 2  # codecs want even sides
    with replacing(path, staging=staging) as staged:
        writer = cv2.VideoWriter(str(staged), cv2.VideoWriter.fourcc(*_CODEC), rate, size)
        if not writer.isOpened():
            raise SegError(f"{path} cannot be written: this OpenCV has no encoder for {_CODEC}")
        number = 0
        try:
            for picture in chain([first], frames):
                _add(writer, picture, size)
                number += 1
        finally:
            writer.release()
        if cv2.VideoCapture(str(staged)).get(cv2.CAP_PROP_FRAME_COUNT) != number:  # the writer tells of no error
            raise SegError(f"{path} cannot be written: it does not hold its {number} frames; is the disk full?")
    return True


def _add(writer: cv2.VideoWriter, picture: Pixels, size: tuple[int, int]) -> None:
    nearly = abs(picture.shape[1] - size[0]) <= 1 and abs(picture.shape[0] - size[1]) <= 1
    shown = picture[: size[1], : size[0]] if nearly else cv2.resize(picture, size)
    writer.write(cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
