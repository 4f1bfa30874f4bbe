import pytest
import torch
from torch.nn import functional

from segcli.nn.pooling import MatrixPool2d, cubic_matrix


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
