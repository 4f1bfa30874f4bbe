"""Lovász-Softmax against smp's, and by hand."""

import pytest
import torch
from segmentation_models_pytorch.losses import DiceLoss
from segmentation_models_pytorch.losses import LovaszLoss as SmpLovaszLoss
from torch.nn import functional

from segcli.nn.lovasz import LovaszLoss


def batch(num_classes: int, sharpness: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.manual_seed(0)
    masks = torch.randint(0, num_classes - 1, (3, 40, 50), generator=generator)  # the last class never occurs
    masks[0, :20] = 255
    truth = functional.one_hot(masks.clamp(max=num_classes - 1), num_classes).movedim(-1, 1)
    logits = torch.randn(3, num_classes, 40, 50, generator=generator) + sharpness * truth
    return logits.requires_grad_(), masks


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("sharpness", [0.0, 4.0])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_value_and_gradient_are_smps(num_classes: int, sharpness: float, per_image: bool, device: str) -> None:
    logits, masks = (tensor.to(device) for tensor in batch(num_classes, sharpness))
    value = LovaszLoss(per_image, ignore_index=255)(logits, masks)
    expected = SmpLovaszLoss("multiclass", per_image=per_image, ignore_index=255)(logits, masks)
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(value, logits)
    (smps,) = torch.autograd.grad(expected, logits)
    # smp takes differences of float32 numbers near 1, so its slopes are right to about 1e-7
    torch.testing.assert_close(gradient, smps, rtol=1e-4, atol=1e-7)
    assert gradient.abs().max() > 1e-5


def test_four_pixels_by_hand() -> None:
    """Class 0 has errors .6 true, .3, .2, .1 true: .6/2 + .3/6 + .2/12 + .1/4; class 1 .6/3 + .3/3 + .2/3 + 0."""
    p = torch.tensor([0.9, 0.4, 0.3, 0.2]).reshape(1, 1, 2, 2)
    logits, masks = torch.cat([p, 1 - p], 1).log(), torch.tensor([[[0, 0], [1, 1]]])
    expected = (0.6 / 2 + 0.3 / 6 + 0.2 / 12 + 0.1 / 4 + (0.6 + 0.3 + 0.2) / 3) / 2
    assert LovaszLoss(False, ignore_index=255)(logits, masks).item() == pytest.approx(expected)


def test_an_ignored_image_counts_0_in_a_mean_over_images() -> None:
    logits, masks = batch(3, 0.0)
    loss = LovaszLoss(True, ignore_index=255)
    alone = [loss(logits[index : index + 1], masks[index : index + 1]).item() for index in range(3)]
    masks[1] = 255
    assert loss(logits, masks).item() == pytest.approx((alone[0] + alone[2]) / 3)


def test_of_what_is_less_than_half_an_object_lovasz_stays_at_one_half_and_dice_does_not() -> None:
    """Ten object pixels among thirty that look alike, beside a thousand that are surely background.

    The object's Lovász is 1 at probability 0, 20 / 30 at 1, and 1 / 2 at one half: why two classes are planned with Dice.
    """
    masks = torch.zeros(1, 1, 1030, dtype=torch.long)
    masks[..., :10] = 1
    probabilities = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)

    def best(loss: torch.nn.Module) -> float:
        values = []
        for p in probabilities:
            each = torch.full((1030,), 1e-6, dtype=torch.float64)
            each[:30] = p
            values.append(loss(torch.stack([1 - each, each]).log().reshape(1, 2, 1, 1030), masks).item())
        return probabilities[values.index(min(values))].item()

    assert best(LovaszLoss(False, ignore_index=255)) == pytest.approx(0.5)
    assert best(DiceLoss("multiclass", from_logits=True)) == pytest.approx(0.98)
