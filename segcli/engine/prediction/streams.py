"""Images that come one after the other: of videos, cameras and URLs."""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from segcli.errors import FileProblem, UsageError
from segcli.io.images import SUFFIXES, Pixels, load_image

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else it prints beside our error

PATIENCE = 20.0
"""Seconds that a URL may stall."""

VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts"}
"""Suffixes of video files."""

_STALLED = 0.9  # of the patience: a read that ends after as long has been given up
_LARGEST = 1 << 30  # bytes of an image behind a URL


@dataclass(frozen=True)
class Item:
    """An image to predict.

    Attributes:
        name: where its products go below the output folder, without suffix; with forward slashes.
        file_name: the file's place within its source, with suffix.
        origin: what messages call it: a path, a URL, a frame of a video.
        read: reads it as H×W×3 uint8 RGB; raises DataError where it cannot be used.
        path: the file; None where it is none.
        stream: the name of the video that it is a frame of.
        rate: frames a second of that video.
    """

    name: str
    file_name: str
    origin: str
    read: Callable[[], Pixels]
    path: Path | None = None
    stream: str = ""
    rate: float = 0.0


def is_url(source: str) -> bool:
    """Whether a text is a URL of an image or of a stream."""
    return urlsplit(source).scheme in {"http", "https", "rtsp", "rtmp", "udp"}


def is_image_url(source: str) -> bool:
    """Whether a text is a URL of one image, as the suffix says."""
    return urlsplit(source).scheme in {"http", "https"} and _suffix(source) in SUFFIXES


def _suffix(url: str) -> str:
    return PurePosixPath(unquote(urlsplit(url).path)).suffix.lower()


def of_url(url: str, seconds: float = PATIENCE) -> Item:
    """The image behind a URL, which is fetched when it is read."""
    file_name = PurePosixPath(unquote(urlsplit(url).path)).name
    return Item(PurePosixPath(file_name).stem, file_name, url, partial(_fetch, url, seconds))


def _fetch(url: str, seconds: float) -> Pixels:
    import urllib3

    timeout = urllib3.Timeout(connect=seconds, read=seconds)
    try:
        with urllib3.PoolManager().request("GET", url, timeout=timeout, retries=2, preload_content=False) as response:
            if response.status != 200:
                raise FileProblem(f"{url}: the server answers {response.status}", "missing")
            content = io.BytesIO()
            for part in response.stream(1 << 16):
                content.write(part)
                if content.tell() > _LARGEST:
                    raise FileProblem(f"{url} sends more than {_LARGEST:,} bytes", "too-large")
    except urllib3.exceptions.HTTPError as error:
        reason = "stalls" if "timed out" in str(error).lower() else f"cannot be reached ({type(error).__name__})"
        raise FileProblem(f"{url} {reason}; try again, or fetch it by hand", "missing") from None
    return np.array(load_image(Path(url), content.getvalue()).image.convert("RGB"))


def of_video(path: Path) -> Iterator[Item]:
    """The frames of a video file, named NAME/000001 and so on.

    Where it holds fewer frames than its head says, an item that cannot be read stands for the rest.

    Raises:
        FileProblem: if it is no video.
    """
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise FileProblem(f"{path} is not a video that OpenCV can decode; convert it to MP4 (H.264)", "damaged")
    expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    number = 0
    for item in _frames(capture, path.stem, str(path)):
        number += 1
        yield item
    if number < expected - 1:  # heads are often one off
        message = f"{path} breaks after frame {number} of {expected}; the frames until there are done"
        yield Item(f"{path.stem}/{number + 1:06d}", "", str(path), partial(_refuse, message), stream=path.stem)


def of_stream(url: str, seconds: float = PATIENCE) -> Iterator[Item]:
    """The frames of a stream until it ends; where it stalls, an item that cannot be read tells so.

    Raises:
        FileProblem: if it cannot be opened.
    """
    _keep_quiet()
    milliseconds = round(1000 * seconds)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        raise FileProblem(f"{url} cannot be opened within {seconds:g} s; is it an image or a video stream?", "missing")
    name = PurePosixPath(unquote(urlsplit(url).path)).stem or urlsplit(url).hostname or "stream"
    return _until_it_stalls(_frames(capture, name, url), name, url, seconds)


def _keep_quiet() -> None:
    """Keeps OpenCV from warning of missing cameras and stalled streams beside our errors."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def _until_it_stalls(frames: Iterator[Item], name: str, url: str, seconds: float) -> Iterator[Item]:
    number, waited_since = 0, monotonic()
    for item in frames:
        number += 1
        yield item
        waited_since = monotonic()
    if monotonic() - waited_since > _STALLED * seconds:
        message = f"{url} stalls after frame {number}; the frames until there are done"
        yield Item(f"{name}/{number + 1:06d}", "", url, partial(_refuse, message), stream=name)


def of_camera(index: int) -> Iterator[Item]:
    """The frames of a camera, without an end.

    Raises:
        UsageError: if there is none of this number.
    """
    _keep_quiet()
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise UsageError(f"{index}: no such file or folder, and no camera of this number")
    return _frames(capture, f"camera{index}", f"camera {index}")


def _frames(capture: Any, name: str, origin: str) -> Iterator[Item]:
    """Frames in RGB; they are decoded one after the other, as the next one is asked for."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    number = 0
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            number += 1
            image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            place = f"{name}/{number:06d}"
            yield Item(place, f"{place}.png", f"{origin}, frame {number}", partial(_same, image), None, name, rate)
    finally:
        capture.release()


def _same(image: Pixels) -> Pixels:
    return image


def _refuse(message: str) -> Pixels:
    raise FileProblem(message, "damaged")
