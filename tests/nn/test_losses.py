import math

import pytest
import torch
from torch.nn import functional

from segcli.components.losses import CrossEntropy, Dice, Loss, Lovasz, Sum
from segcli.errors import ConfigError
from segcli.nn.losses import class_weights
from segcli.task import Task

TASK = Task.of("abc")
SHARE = (0.5, 0.4, 0.1)
LOSSES = [
    CrossEntropy(), CrossEntropy(class_weights="log"), CrossEntropy(class_weights="median_frequency"), Dice(), Lovasz(),
    Sum(terms=(Dice(), CrossEntropy(weight=0.5))),
]  # fmt: skip


def batch(num_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.manual_seed(0)
    masks = torch.randint(0, num_classes, (2, 6, 7), generator=generator)
    masks[0, 0] = 255
    return torch.randn(2, num_classes, 6, 7, generator=generator, requires_grad=True), masks


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_every_loss_falls_with_better_logits_and_ignores_ignored_pixels(loss: Loss) -> None:
    module = loss.build(TASK, SHARE)
    logits, masks = batch()
    value = module(logits, masks)
    changed = logits.detach().clone()
    changed[0, :, 0] += 100 * torch.randn(3, 7)
    torch.testing.assert_close(module(changed, masks), value.detach())
    perfect = 20.0 * functional.one_hot(masks.clamp(max=2), 3).permute(0, 3, 1, 2)
    assert 0 <= module(perfect, masks) < 0.01 < value


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_batch_of_ignored_pixels_is_harmless(loss: Loss) -> None:
    logits, masks = batch()
    value = loss.build(TASK, SHARE)(logits, torch.full_like(masks, 255))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("weights", ["none", (1.0, 2.0, 0.5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(weights: str | tuple[float, ...], smoothing: float) -> None:
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing).build(TASK, SHARE)
    logits, masks = batch()
    given = None if weights == "none" else torch.tensor(weights)
    expected = functional.cross_entropy(logits, masks, given, ignore_index=255, label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, masks), expected)


def test_cross_entropy_of_two_classes_is_binary_cross_entropy() -> None:
    _, masks = batch(2)
    z = torch.randn(2, 6, 7)
    loss = CrossEntropy().build(Task.of("ab"), (0.5, 0.5))
    valid = masks != 255
    expected = functional.binary_cross_entropy_with_logits(z[valid], masks[valid].float())
    torch.testing.assert_close(loss(torch.stack([torch.zeros_like(z), z], 1), masks), expected)


def test_a_sum_adds_weighted_terms() -> None:
    logits, masks = batch()
    total = Sum(weight=2.0, terms=(Dice(weight=0.5), CrossEntropy(weight=3.0))).build(TASK, SHARE)(logits, masks)
    parts = Dice().build(TASK, SHARE)(logits, masks), CrossEntropy().build(TASK, SHARE)(logits, masks)
    torch.testing.assert_close(total, 2 * (0.5 * parts[0] + 3 * parts[1]))


def test_class_weights_by_hand() -> None:
    assert class_weights("log", (0.5, 0.0)) == pytest.approx([1 / math.log(1.52), 1 / math.log(1.02)])
    assert class_weights("median_frequency", (0.5, 0.3, 0.2, 0.0)) == pytest.approx([0.6, 1.0, 1.5, 0.0])
    with pytest.raises(ConfigError, match="2 weights for 3 classes"):
        class_weights((1.0, 2.0), SHARE)
