import numpy as np
import pytest
import torch
from torch.nn import functional

from segcli.engine.prediction.resizing import resize_images
from segcli.io.card import Inference
from segcli.nn.deployed import network_size
from segcli.nn.pooling import MatrixPool2d, cubic_matrix, resampling_matrix


@pytest.mark.parametrize("sides", [(2, 2), (3, 3), (6, 6), (2, 5)])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (6, 12), (45, 60)])
def test_pooling_by_matrices_is_adaptive_average_pooling(sides: tuple[int, int], size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.manual_seed(0))
    torch.testing.assert_close(MatrixPool2d(sides)(x), functional.adaptive_avg_pool2d(x, sides), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("new", "old"), [(9, 14), (14, 14), (31, 14), (3, 14)])
def test_resampling_by_matrices_is_antialiased_bicubic(new: int, old: int) -> None:
    x = torch.randn(1, 2, old, old, generator=torch.manual_seed(0))
    matrix = cubic_matrix(new, old, x)
    expected = functional.interpolate(x, size=(new, new), mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(matrix @ x @ matrix.T, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(48, 67, 31, 43), (48, 67, 24, 33), (20, 30, 33, 50), (20, 30, 20, 30)])
def test_resizing_by_matrices_is_what_opencv_does(size: tuple[int, int, int, int]) -> None:
    """Areas where it shrinks, exactly but for rounding; bilinear else, which OpenCV computes in fixed point."""
    height, width, new_height, new_width = size
    image = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    expected = resize_images(image[None, ..., None].repeat(3, 3), (new_height, new_width))[0, ..., 0]
    x = torch.from_numpy(image).float()
    found = resampling_matrix(new_height, height, x) @ x @ resampling_matrix(new_width, width, x).T
    assert np.abs(found.numpy() - expected).max() <= 1


@pytest.mark.parametrize("resize", [48, 300, (48, 64), (300, 301), (7, 900), None])
@pytest.mark.parametrize("size", [(360, 480), (33, 70), (500, 31)])
def test_the_size_that_a_network_sees(resize: int | tuple[int, int] | None, size: tuple[int, int]) -> None:
    assert network_size(resize, *size) == Inference.of(resize).network_size(*size)
