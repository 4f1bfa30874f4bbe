import numpy as np
import pytest
from conftest import draw_pair

from segcli.components.augmentations import Light
from segcli.engine.training.crops import Crop, CropPlan, cut, largest_share, paste

FILL = (1, 2, 3)


def test_a_plain_crop_is_a_cut_out() -> None:
    image, mask = draw_pair(0)
    plan = CropPlan(1.0, 1.0, 0.5, False)
    assert np.array_equal(cut(image, (24, 32), plan, FILL), image[16:40, 12:44])
    assert np.array_equal(cut(mask, (24, 32), plan, 255), mask[16:40, 12:44])
    mirrored = cut(image, (24, 32), CropPlan(1.0, 1.0, 0.5, True), FILL)
    assert np.array_equal(mirrored, image[16:40, 12:44][:, ::-1])
    turned_over = cut(image, (24, 32), CropPlan(1.0, 1.0, 0.5, False, upside_down=True), FILL)
    assert np.array_equal(turned_over, image[16:40, 12:44][::-1])


def test_what_lies_beyond_the_image_is_ignored() -> None:
    image, mask = draw_pair(0)
    plan = CropPlan(0.5, 0.3, 0.3, False)
    cut_mask = cut(mask, (64, 64), plan, 255)
    assert (cut_mask[20:] == 255).all()
    assert (cut_mask[:, 28:] == 255).all()
    assert (cut_mask[:20, :28] != 255).all()
    assert (cut(image, (64, 64), plan, FILL)[20:] == FILL).all()


@pytest.mark.parametrize("scale", [0.3, 0.9, 1.7, 3.0])
def test_a_scaled_crop_shows_the_same_place(scale: float) -> None:
    mask = np.zeros((80, 100), np.uint8)
    mask[:, 50:] = 1
    image = np.repeat(mask[..., None] * 200, 3, axis=2)
    plan = CropPlan(scale, 0.5, 0.5, False)
    cut_image, cut_mask = cut(image, (40, 40), plan, (0, 0, 0)), cut(mask, (40, 40), plan, 255)
    valid = cut_mask != 255
    assert valid.any()
    assert ((cut_image[..., 0] > 100) == (cut_mask == 1))[valid].mean() > 0.97
    assert set(np.unique(cut_mask)) <= {0, 1, 255}


def test_scales_are_drawn_evenly_in_their_logarithm() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([CropPlan.draw(rng, Light(scale=(0.5, 2.0))).scale for _ in range(4000)])
    assert 0.5 <= scales.min() < 0.52
    assert 1.9 < scales.max() <= 2.0
    assert (scales < 1).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_a_crop_moved_to_a_pixel_shows_it_at_any_of_its_places(scale: float) -> None:
    mask = np.zeros((60, 90), np.uint8)
    rng = np.random.default_rng(0)
    seen = set()
    for pixel in [(0, 0), (59, 89), (17, 80), (30, 45)]:
        y, x = pixel
        mask[:] = 0
        mask[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = 1
        for _ in range(50):
            plan = CropPlan.draw(rng, Light(scale=(scale, scale))).showing(pixel, mask.shape, (16, 24), rng)
            cropped = cut(mask, (16, 24), plan, 255)
            assert (cropped == 1).any()
            seen.add((plan.y, plan.x))
    assert len(seen) > 40


def test_a_crop_is_a_copy() -> None:
    image, mask = draw_pair(0)
    image.flags.writeable = mask.flags.writeable = False
    for pixels, fill in ((image, FILL), (mask, 255)):
        cropped = cut(pixels, image.shape[:2], CropPlan(1.0, 0.0, 0.0, False), fill)
        assert cropped.flags.writeable
        assert not np.shares_memory(cropped, pixels)


def test_the_largest_share_counts_no_ignored_pixels() -> None:
    assert largest_share(np.array([[0, 1, 1, 1], [255, 255, 255, 255]], np.uint8), 255) == 0.75
    assert largest_share(np.full((2, 2), 255, np.uint8), 255) == 1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_pasting_copies_some_classes_and_spares_padding(dtype: type) -> None:
    source = Crop(np.full((2, 3, 3), 9, np.uint8), np.array([[1, 2, 0], [2, 2, 255]], dtype), (2, 3))
    target = Crop(np.zeros((2, 3, 3), np.uint8), np.array([[0, 0, 0], [255, 255, 255]], dtype), (1, 3))
    classes = np.zeros(256, bool)
    classes[[0, 2]] = True
    paste(source, target, classes)
    assert target.mask.tolist() == [[0, 2, 0], [255, 255, 255]]
    assert target.image[..., 0].tolist() == [[0, 9, 9], [0, 0, 0]]
