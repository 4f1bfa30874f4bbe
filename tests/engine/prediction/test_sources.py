import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from time import monotonic, sleep

import cv2
import numpy as np
import pytest
from conftest import draw_pair, write_pairs
from PIL import Image

from segcli.datasets.layouts.base import Options
from segcli.datasets.open import open_source
from segcli.datasets.prepared.write import prepare
from segcli.engine.prediction.sources import KINDS, Reading, Shard, count_sources, find_sources, open_sources
from segcli.errors import DataError, SegError, UsageError


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with equal stems, a subfolder and what is no image."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    for place in ("b.png", "a.jpg", "a.png", "sub/a.png", ".hidden/c.png"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_pair(1)[0]).save(folder / place)
    (folder / "note.txt").write_text("no image")
    return folder


def names(*sources: str, lines: tuple[str, ...] = ()) -> list[str]:
    return [item.name for item in open_sources(sources, Reading(lines=lines))]


def write_video(path: Path, frames: int = 5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), (0, 0, 40 * number), np.uint8))
    writer.release()
    return path


def test_each_source_gives_its_images(photos: Path) -> None:
    assert names("photos") == ["a", "a.png", "b", "sub/a"]
    assert names("photos/sub/a.png") == ["a"]
    assert names("photos/*.png") == ["a", "b"]
    assert names("photos/**/a.*") == ["a", "a.png", "sub/a"]
    Path("names.txt").write_text("photos/b.png\n\n../x/c.png\n")
    assert names("names.txt") == ["photos/b", "x/c"]
    line = json.dumps({"path": "photos/a.jpg", "name": "first"})
    assert names("-", lines=("photos/b.png\n", line)) == ["photos/b", "first"]
    assert [item.path for item in open_sources(["photos/b.png"], Reading())] == [Path("photos/b.png")]
    assert count_sources(["photos", "photos/b.png"], Reading()) == 5
    assert count_sources(["photos", "-"], Reading()) is None
    assert [found.name for found in find_sources([photos])] == ["a", "a.png", "b", "sub/a"]


def test_equal_names_never_meet(photos: Path) -> None:
    assert names("photos/a.jpg", "photos/sub/a.png", "photos/a.png", "photos/sub") == [
        "a",
        "a.png",
        "a.png-2",
        "a.png-3",
    ]


def test_a_prepared_dataset_gives_the_images_of_a_split(tmp_path: Path) -> None:
    write_pairs(tmp_path / "raw", 6)
    prepare(open_source(tmp_path / "raw"), tmp_path / "data", Options(classes=3))
    given = list(open_sources([str(tmp_path / "data")], Reading()))
    assert [item.path.parent for item in given if item.path] == [tmp_path / "data/images/val"] * len(given)
    with pytest.raises(DataError, match="has no test split"):
        open_sources([str(tmp_path / "data")], Reading("test"))


def test_a_video_gives_its_frames(tmp_path: Path) -> None:
    items = list(open_sources([str(write_video(tmp_path / "drive.avi"))], Reading()))
    assert [item.name for item in items] == [f"drive/{number:06d}" for number in range(1, 6)]
    assert items[3].read()[0, 0] == pytest.approx([120, 0, 0], abs=6)
    assert (items[0].stream, items[0].rate, items[0].origin) == ("drive", 12, f"{tmp_path / 'drive.avi'}, frame 1")


def test_videos_of_one_name_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    videos = [str(write_video(tmp_path / place / "drive.avi", frames)) for place, frames in ((".", 2), ("b", 1))]
    items = list(open_sources(videos, Reading()))
    assert [item.name for item in items] == ["drive/000001", "drive/000002", "drive-2/000001"]
    assert [item.stream for item in items] == ["drive", "drive", "drive-2"]


def test_a_video_that_breaks_half_way_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.avi", 40)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    try:
        *frames, last = open_sources([str(path)], Reading())
        frames[0].read()
        with pytest.raises(DataError, match=r"drive.avi breaks after frame \d+ of 40"):
            last.read()
    except DataError as error:  # builds of OpenCV differ in whether they open it at all
        assert "is not a video" in str(error)


@pytest.fixture
def server() -> Iterator[str]:
    """A server with an image, one that stalls, and a stream of twelve frames that ends or stalls."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow.png":
                sleep(1)
                return
            if self.path in {"/live", "/stalled"}:
                self.stream()
                return
            self.send_response(200 if self.path == "/a.png" else 404)
            self.end_headers()
            self.wfile.write(cv2.imencode(".png", draw_pair(2)[0][..., ::-1])[1].tobytes())

        def stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for number in range(12):
                frame = cv2.imencode(".jpg", np.full((48, 64, 3), 10 * number, np.uint8))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame)}\r\n\r\n"
                self.wfile.write(head.encode() + frame + b"\r\n")
            sleep(1.3 if self.path == "/stalled" else 0)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_an_image_comes_by_its_url(server: str) -> None:
    (item,) = open_sources([f"{server}/a.png"], Reading())
    assert item.name == "a"
    assert (item.read() == draw_pair(2)[0]).all()
    for path, message in (("none.png", "answers 404"), ("slow.png", "stalls")):
        (item,) = open_sources([f"{server}/{path}"], Reading(seconds=0.05))
        with pytest.raises(DataError, match=message):
            item.read()


def test_a_stream_that_stalls_is_named_and_one_that_ends_is_not(server: str) -> None:
    live = list(open_sources([f"{server}/live"], Reading(seconds=1)))
    assert [item.name for item in live] == [f"live/{number:06d}" for number in range(1, 13)]
    *frames, last = open_sources([f"{server}/stalled"], Reading(seconds=1))
    assert len(frames) == 12
    with pytest.raises(DataError, match="/stalled stalls after frame 12; the frames until there are done"):
        last.read()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nothing.jpg", UsageError, "nothing.jpg: no such file or folder"),
        ("empty", DataError, "empty holds no images"),
        ("empty/*.png", DataError, "matches no images"),
        ("broken.mp4", DataError, "broken.mp4 is not a video"),
        ("lines.txt", DataError, "lines.txt, line 2: expected"),
    ],
)
def test_a_wrong_source_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: type[SegError], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken.mp4").write_bytes(b"no video")
    Path("lines.txt").write_text('a.png\n{"image": "b.png"}\n')
    with pytest.raises(error, match=message.replace("*", r"\*")):
        list(open_sources([source], Reading()))


def test_a_million_names_start_at_once() -> None:
    begun = monotonic()
    lines = (f"images/{number}.jpg\n" for number in range(10**6))
    assert [item.name for item in islice(open_sources(["-"], Reading(lines=lines)), 2)] == ["images/0", "images/1"]
    assert next(lines) == "images/2.jpg\n"
    assert monotonic() - begun < 1


def test_shards_hold_every_item_once(photos: Path) -> None:
    shards = [Shard.parse(f"{number}/3") for number in (1, 2, 3)]
    lines = tuple(f"{number}.png" for number in range(300))
    held = [[item.name for item in open_sources(["-"], Reading(lines=lines)) if shard.holds(item)] for shard in shards]
    assert sorted(name for part in held for name in part) == sorted(names("-", lines=lines))
    assert all(70 < len(part) < 130 for part in held)
    assert [shard.mark for shard in shards] == ["-1-of-3", "-2-of-3", "-3-of-3"]
    for wrong in ("0/3", "4/3", "3", "a/b"):
        with pytest.raises(UsageError, match=f"--shard {wrong}: expected"):
            Shard.parse(wrong)


def test_the_help_names_every_kind() -> None:
    from segcli.cli.predict import SOURCES

    assert sorted(kind.example for kind in KINDS) == sorted(SOURCES)
