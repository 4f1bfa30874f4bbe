"""video: the overlays of a video's frames, or of a folder's images, as an MP4.

Frames wait as pictures in a hidden folder until the last one is there, so that a stopped run can go on.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

import cv2

from segcli.engine.drawing.masks import overlay
from segcli.engine.prediction.sinks.base import Plan, Prediction, Record, Records
from segcli.errors import SegError
from segcli.io.images import encode_jpeg, read_image

_RATE = 10.0  # frames a second of images that come from no video
_CODEC = "mp4v"  # MPEG-4 part 2: what every build of OpenCV can write


@dataclass(frozen=True)
class Video:
    """Writes a video a source of frames."""

    plan: Plan

    needs = frozenset[str]()
    only_says = False

    def files(self, name: str) -> tuple[Path, ...]:
        """The frame as a picture."""
        return (self._frames / f"{name}.jpg",)

    def write(self, prediction: Prediction) -> Record:
        """Writes the frame and says which video it belongs to."""
        item = prediction.item
        picture = overlay(prediction.image, prediction.labels, self.plan.task, legend=False)
        self.plan.write(self.files(item.name)[0], encode_jpeg(picture, quality=95))
        above = PurePosixPath(item.name).parent.as_posix()
        return [item.name, item.stream or ("images" if above == "." else above), item.rate or _RATE]

    def add(self, record: Record) -> None:
        """Has nothing to add up."""

    def finish(self, records: Records) -> list[Path]:
        """Encodes the videos and removes the frames."""
        frames = ((name, stream, rate) for name, stream, rate in records())
        written = [
            self._encode(f"{stream}{self.plan.mark}", rate, (self.files(name)[0] for name, _, _ in group))
            for (stream, rate), group in groupby(frames, key=lambda frame: (frame[1], frame[2]))
        ]
        shutil.rmtree(self._frames, ignore_errors=True)
        return written

    @property
    def _frames(self) -> Path:
        return self.plan.output / f".frames{self.plan.mark}"

    def _encode(self, stream: str, rate: float, frames: Iterator[Path]) -> Path:
        path = self.plan.output / "video" / f"{stream}.mp4"
        with self.plan.replacing(path) as staged:
            first = read_image(next(frames))
            size = first.shape[1] // 2 * 2, first.shape[0] // 2 * 2  # codecs want even sides
            writer = cv2.VideoWriter(str(staged), cv2.VideoWriter.fourcc(*_CODEC), rate, size)
            if not writer.isOpened():
                raise SegError(f"{path} cannot be written: this OpenCV has no encoder for {_CODEC}")
            writer.write(cv2.cvtColor(cv2.resize(first, size), cv2.COLOR_RGB2BGR))
            for frame in frames:
                writer.write(cv2.cvtColor(cv2.resize(read_image(frame), size), cv2.COLOR_RGB2BGR))
            writer.release()
        return path


def open_sink(plan: Plan) -> Video:
    """video/STREAM.mp4."""
    return Video(plan)
