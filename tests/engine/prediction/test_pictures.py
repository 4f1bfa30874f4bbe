"""Pictures of a video's frames, as a video."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_pair, full_disk
from nearest import TASK, Nearest

from segcli.engine.drawing.kinds import KINDS
from segcli.engine.drawing.kinds.base import Kind
from segcli.engine.drawing.video import write_video
from segcli.engine.prediction.pictures import Subject, film, of_items
from segcli.engine.prediction.sources import Reading, open_sources
from segcli.errors import DataError, SegError

BY_NAME = {kind.name: kind for kind in KINDS}


def frames(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    rate, found = capture.get(cv2.CAP_PROP_FPS), []
    while (frame := capture.read())[0]:
        found.append(frame[1][..., ::-1])
    return found, rate


def test_a_video_gives_a_video_of_one_size_with_a_legend_of_all_classes(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12, (320, 240))
    images = [np.zeros((240, 320, 3), np.uint8), draw_pair(1, height=240, width=320)[0]]  # one class, then three
    for image in images:
        writer.write(image[..., ::-1])
    writer.release()
    subjects = of_items(open_sources([str(tmp_path / "drive.avi")], Reading()))
    told: list[int] = []
    drawn = film(Nearest(), BY_NAME["overlay"], subjects, tmp_path, lambda what, done, total: told.append(done), 2)
    assert (drawn.files, drawn.failed, told) == ([tmp_path / "overlays/drive.mp4"], [], [1, 2])
    found, rate = frames(drawn.files[0])
    assert (len(found), rate) == (2, 12)
    legend = found[0][240:].reshape(-1, 3)
    for colour in TASK.palette[1:]:  # the first class is a background, and not painted
        assert np.abs(legend.astype(int) - colour).max(axis=1).min() < 40


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_is_filmed_and_what_fails_is_named(kind: Kind, tmp_path: Path) -> None:
    def broken() -> tuple[np.ndarray, None]:
        raise DataError("b.png is damaged")

    def good() -> tuple[np.ndarray, np.ndarray]:
        return draw_pair(2, height=200, width=250)

    subjects = [Subject("a", good), Subject("b", broken), Subject("c", good, "other"), Subject("d", good)]
    drawn = film(Nearest(), kind, subjects, tmp_path)
    folder = tmp_path / kind.folder
    assert drawn.files == [folder / "images.mp4", folder / "other.mp4", folder / "images-2.mp4"]
    assert [len(frames(path)[0]) for path in drawn.files] == [1, 1, 1]
    assert drawn.failed == ["b.png is damaged"]


def test_a_video_that_a_full_disk_cuts_short_is_told_and_removed(tmp_path: Path) -> None:
    pictures = (draw_pair(number, height=65, width=99)[0] for number in range(20))
    with full_disk(20_000), pytest.raises(SegError, match="a.mp4 cannot be written: it does not hold its 20 frames"):
        write_video(tmp_path / "a.mp4", pictures)
    assert not list(tmp_path.iterdir())
