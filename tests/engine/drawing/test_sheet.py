import numpy as np

from segcli.engine.drawing.kinds import overlay
from segcli.engine.drawing.kinds.base import Seen
from segcli.engine.drawing.legend import Key
from segcli.engine.drawing.sheet import contact_sheet, size_on_sheet
from segcli.task import Task


def test_a_sheet_holds_every_picture_once_above_one_legend_and_is_about_square() -> None:
    pictures = [np.full((200 + 40 * (index % 2), 300, 3), 10 * index, np.uint8) for index in range(7)]
    captioned = [(f"a/very/long/name/{'x' * 80}/{index}", picture) for index, picture in enumerate(pictures)]
    sheet = contact_sheet(captioned, [Key("car", (1, 2, 3))])
    assert 0.5 < sheet.shape[0] / sheet.shape[1] < 2
    assert sheet.shape[0] > contact_sheet(captioned).shape[0]
    for index, picture in enumerate(pictures):
        assert (sheet == 10 * index).all(axis=2).sum() >= picture.shape[0] * picture.shape[1]


def test_a_class_a_pixel_wide_is_seen_in_an_overlay_on_a_sheet() -> None:
    task = Task.of(["road", "crack"], [(128, 64, 128), (255, 255, 0)])
    mask = np.zeros((1536, 2048), np.uint8)
    mask[:, 777] = 1
    height, width = size_on_sheet(mask.shape)
    picture = overlay.KIND.draw(Seen(np.zeros((1536, 2048, 3), np.uint8), mask, task), (height, width)).picture
    assert (height, width) == (240, 320)
    yellow = (picture[..., 0] > 200) & (picture[..., 1] > 200) & (picture[..., 2] < 60)
    assert yellow.any(axis=1).all()
