"""video: the overlays of a video's frames, or of a folder's images, as an MP4.

Frames wait as pictures in a hidden folder until the last one is there, so that a stopped run can go on.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segcli.engine.drawing.masks import overlay
from segcli.engine.drawing.video import RATE, write_video
from segcli.engine.prediction.sinks.base import Plan, Prediction, Record, Records
from segcli.io.images import encode_jpeg, read_image


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
        return [item.name, item.stream or ("images" if above == "." else above), item.rate or RATE]

    def add(self, record: Record) -> None:
        """Has nothing to add up."""

    def finish(self, records: Records) -> list[Path]:
        """Encodes the videos and removes the frames."""
        rates, frames = dict[str, float](), dict[str, list[str]]()
        for name, stream, rate in records():  # the images of a folder may stand around those of one below it
            rates[stream] = rate
            frames.setdefault(stream, []).append(name)
        written = []
        for stream, names in frames.items():
            path = self.plan.output / "video" / f"{stream}{self.plan.mark}.mp4"
            pictures = (read_image(self.files(name)[0]) for name in names)
            write_video(path, pictures, rates[stream], self.plan.staging)
            written.append(path)
        shutil.rmtree(self._frames, ignore_errors=True)
        return written

    @property
    def _frames(self) -> Path:
        return self.plan.output / f".frames{self.plan.mark}"


def open_sink(plan: Plan) -> Video:
    """video/STREAM.mp4."""
    return Video(plan)
