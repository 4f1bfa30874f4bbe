"""RMI against numpy written from the paper's equations."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from segcli.components.class_weights import ClassFigures
from segcli.components.losses import CrossEntropy, Rmi, Sum
from segcli.nn.rmi import RmiLoss
from segcli.task import Task

TASK = Task.of("abcd")


def by_the_paper(p: np.ndarray, y: np.ndarray, radius: int, ridge: float) -> float:
    """1/2 log det of what P leaves of Y's variance, for one image and class, an inverse and a sum at a time."""
    height, width = p.shape
    corners = [(i, j) for i in range(height - radius + 1) for j in range(width - radius + 1)]
    vectors_p = np.array([p[i : i + radius, j : j + radius].ravel() for i, j in corners])
    vectors_y = np.array([y[i : i + radius, j : j + radius].ravel() for i, j in corners])
    d = radius**2
    variance_y, variance_p, covariance = (np.zeros((d, d)) for _ in range(3))
    for vector_p, vector_y in zip(vectors_p, vectors_y, strict=True):
        off_p, off_y = vector_p - vectors_p.mean(0), vector_y - vectors_y.mean(0)
        variance_y += np.outer(off_y, off_y) / len(corners)
        variance_p += np.outer(off_p, off_p) / len(corners)
        covariance += np.outer(off_y, off_p) / len(corners)
    left = variance_y - covariance @ np.linalg.inv(variance_p + ridge * np.eye(d)) @ covariance.T
    return 0.5 * float(np.log(np.linalg.det(left + ridge * np.eye(d)))) / d


def batch(num_classes: int, ignored: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.manual_seed(0)
    masks = (
        torch.randint(0, num_classes, (2, 6, 7), generator=generator).repeat_interleave(2, 1).repeat_interleave(2, 2)
    )
    if ignored:
        masks[0, :3] = 255
    return torch.randn(2, num_classes, 12, 14, generator=generator, dtype=torch.float64), masks


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("pooling", [1, 2])
@pytest.mark.parametrize("radius", [2, 3])
@pytest.mark.parametrize("ignored", [False, True])
def test_rmi_is_the_papers(num_classes: int, pooling: int, radius: int, ignored: bool) -> None:
    logits, masks = batch(num_classes, ignored)
    loss = RmiLoss(radius, pooling, balance=0.0, ignore_index=255)(logits, masks)
    valid = (masks != 255).numpy()
    total = 0.0
    for index in [1] if num_classes == 2 else range(num_classes):
        z = (logits[:, 1] - logits[:, 0] if num_classes == 2 else logits[:, index]).float().double().numpy()
        for image in range(2):
            p = valid[image] / (1 + np.exp(-z[image]))
            y = ((masks[image].numpy() == index) & valid[image]).astype(np.float64)
            pooled = [values.reshape(12 // pooling, pooling, 14 // pooling, pooling).mean((1, 3)) for values in (p, y)]
            total += by_the_paper(*pooled, radius, 5e-4) / 2
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_the_rest_is_binary_cross_entropy() -> None:
    logits, masks = batch(4, ignored=True)
    loss = RmiLoss(3, 2, balance=1.0, ignore_index=255)(logits, masks)
    valid = masks != 255
    truth = functional.one_hot(masks.clamp(max=3), 4).movedim(-1, 1).double()
    entropies = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
    torch.testing.assert_close(loss.double(), entropies[valid].mean(), rtol=1e-6, atol=0)


def test_it_falls_with_better_logits_and_ignores_ignored_pixels() -> None:
    loss = Rmi(pooling=2).build(TASK, ClassFigures.of([[1] * 4]))
    logits, masks = batch(4, ignored=True)
    truth = functional.one_hot(masks.clamp(max=3), 4).movedim(-1, 1)
    values = [loss(logits + strength * truth, masks).item() for strength in (0, 1, 3, 9)]
    assert values == sorted(values, reverse=True)
    changed = logits.clone()
    changed[0, :, :3] = 50 * torch.randn(4, 3, 14)
    torch.testing.assert_close(loss(changed, masks), loss(logits, masks))


def test_a_batch_of_ignored_pixels_is_harmless() -> None:
    logits, masks = batch(4, ignored=False)
    logits.requires_grad_()
    value = Rmi().build(TASK, ClassFigures.of([[1] * 4]))(logits, torch.full_like(masks, 255))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("size", [(1, 40), (8, 40), (12, 12), (40, 5)])
def test_an_image_without_room_for_patches_is_left_out_but_counts_in_the_other_terms(size: tuple[int, int]) -> None:
    generator = torch.manual_seed(0)
    logits = torch.randn(1, 4, *size, generator=generator, requires_grad=True)
    masks = torch.randint(0, 4, (1, *size), generator=generator)
    figures = ClassFigures.of([[1] * 4])
    loss = Sum(terms=(CrossEntropy(weight=2), Rmi())).build(TASK, figures)
    assert loss.masses(masks).tolist() == [masks.numel(), 0]
    torch.testing.assert_close(loss(logits, masks), 2 * functional.cross_entropy(logits, masks))
    alone = Rmi().build(TASK, figures)(logits, masks)
    alone.backward()
    assert alone.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_the_smallest_image_that_counts_has_patches_that_vary() -> None:
    logits, masks = batch(4, ignored=False)
    logits, masks = logits.float()[..., :13].repeat(1, 1, 2, 1)[:, :, :13], masks[..., :13].repeat(1, 2, 1)[:, :13]
    assert Rmi().smallest_side == 13
    values = [Rmi(balance=0).build(TASK, ClassFigures.of([[1] * 4]))(scale * logits, masks).item() for scale in (1, 2)]
    assert values[0] != values[1]
