import numpy as np

from segcli.engine.drawing.sheet import contact_sheet, small


def test_a_sheet_holds_every_picture_once_and_is_about_square() -> None:
    pictures = [np.full((30 + 10 * (index % 2), 60, 3), 10 * index, np.uint8) for index in range(7)]
    sheet = contact_sheet([(f"a/very/long/name/{'x' * 80}/{index}", small(p)) for index, p in enumerate(pictures)])
    assert 0.5 < sheet.shape[0] / sheet.shape[1] < 2
    for index, picture in enumerate(pictures):
        shown = small(picture)
        assert shown.shape[0] == 240
        exact = (sheet == 10 * index).all(axis=2).sum()
        assert exact >= shown.shape[0] * shown.shape[1]
