"""Muon's step against its formula, in either number format."""

import pytest
import torch

from segcli.nn import muon

# As they were found for five iterations ("quintic" in timm).
POLYNOMIALS = (
    (4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)  # fmt: skip


def step_taken(gradient: torch.Tensor) -> torch.Tensor:
    """How far one step of rate 1 moves a weight, momentum left out."""
    weight = torch.nn.Parameter(torch.zeros_like(gradient))
    weight.grad = gradient.clone()
    muon.Muon([weight], lr=1.0, momentum=0.0).step()
    return -weight.detach()


def step_by_hand(gradient: torch.Tensor) -> torch.Tensor:
    """Five polynomials of the singular values bring each near 1; then the scale of Liu et al. (2025)."""
    left, values, right = torch.linalg.svd(gradient.double(), full_matrices=False)
    values = values / values.square().sum().sqrt()
    for a, b, c in POLYNOMIALS:
        values = a * values + b * values**3 + c * values**5
    return 0.2 * max(gradient.shape) ** 0.5 * (left * values) @ right


def distance(gradient: torch.Tensor) -> float:
    wanted = step_by_hand(gradient)
    return float((step_taken(gradient).double() - wanted).norm() / wanted.norm())


def test_it_computes_in_what_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(muon, "has_native_bf16", lambda device: False)
    assert distance(gradient) < 1e-4
    monkeypatch.setattr(muon, "has_native_bf16", lambda device: True)
    assert 1e-3 < distance(gradient) < 0.05  # bf16 has three digits


def test_a_step_that_fails_leaves_the_library_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "has_native_bf16", lambda device: False)
    before = muon.muon.zeropower_via_newtonschulz
    with pytest.raises(ZeroDivisionError):
        muon.Muon([torch.nn.Parameter(torch.zeros(2, 2))]).step(lambda: 1 // 0)
    assert muon.muon.zeropower_via_newtonschulz is before
