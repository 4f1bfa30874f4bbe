import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_pair
from PIL import Image

import segcli
from segcli.components.models import ModelOptions, build_network
from segcli.errors import DataError, UsageError
from segcli.io.bundle import save_bundle
from segcli.io.card import ModelCard
from segcli.io.images import read_mask, write_image
from segcli.task import Task

TASK = Task.of("abc")
CARD = ModelCard(TASK, "Unet", "resnet18", None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), tta="1+flip")
IMAGE, _ = draw_pair(0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    options = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))
    folder = tmp_path_factory.mktemp("model") / "best"
    save_bundle(folder, build_network("Unet", "resnet18", None, options, TASK), CARD)
    return folder


def test_every_kind_of_image_gives_the_same_prediction(bundle: Path, tmp_path: Path) -> None:
    model = segcli.load(bundle, device="cpu")
    assert model.classes == ("a", "b", "c")
    found = model(IMAGE)
    assert isinstance(found, segcli.Prediction)
    assert (found.labels.shape, found.labels.dtype, found.classes, found.palette) == (
        IMAGE.shape[:2], np.uint8, TASK.classes, TASK.palette,
    )  # fmt: skip
    assert found.probabilities.shape == (3, *IMAGE.shape[:2])
    assert found.probabilities.sum(0) == pytest.approx(np.ones(IMAGE.shape[:2]), abs=1e-5)
    assert np.array_equal(found.probabilities.argmax(0), found.labels)
    write_image(tmp_path / "a.png", IMAGE)
    found.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), found.labels)
    turned = Image.fromarray(np.rot90(IMAGE))
    turned.getexif()[274] = 6
    same = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(IMAGE), turned, IMAGE]
    for image in same:
        assert np.array_equal(model(image).labels, found.labels)
    small, _ = draw_pair(1, height=20, width=30)
    several = model([*same, small])
    assert [one.labels.shape for one in several] == [IMAGE.shape[:2]] * 5 + [(20, 30)]
    assert np.array_equal(several[5].labels, model(small).labels)
    assert [np.array_equal(one.labels, found.labels) for one in model(np.stack([IMAGE, IMAGE]))] == [True, True]
    assert model([]) == []
    grey = np.ascontiguousarray(IMAGE[..., 0])
    assert np.array_equal(model(grey).labels, model(Image.fromarray(grey)).labels)


def test_views_and_tiles_can_be_asked_for(bundle: Path) -> None:
    plain, flipped = (segcli.load(bundle, device="cpu", tta=tta)(IMAGE).probabilities for tta in (False, True))
    mirrored = segcli.load(bundle, device="cpu")(np.ascontiguousarray(IMAGE[:, ::-1])).probabilities[..., ::-1]
    assert flipped == pytest.approx((plain + mirrored) / 2, abs=1e-5)
    tall = np.tile(IMAGE, (3, 2, 1))
    assert segcli.load(bundle, device="cpu", tiles="64")(tall).labels.shape == tall.shape[:2]
    with pytest.raises(UsageError, match="tiles often: expected auto"):
        segcli.load(bundle, tiles="often")


@pytest.mark.parametrize(
    "wrong", [IMAGE.astype(np.float32), IMAGE[..., :2], np.zeros((0, 4, 3), np.uint8), np.zeros(7, np.uint8)]
)
def test_what_is_no_image_is_refused(bundle: Path, wrong: np.ndarray) -> None:
    with pytest.raises(DataError, match="is no image; give H×W×3 uint8"):
        segcli.load(bundle, device="cpu")(wrong)


def test_importing_costs_nothing_until_something_is_loaded() -> None:
    script = "import sys, segcli; dir(segcli); print(sorted({'numpy', 'torch', 'PIL', 'pydantic', 'cv2'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        segcli.lode  # noqa: B018
