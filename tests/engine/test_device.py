"""Where and how it is computed."""

import platform
from types import SimpleNamespace

import pytest
import torch

from segcli.engine.device import computing, keep_freed_memory, pick_batch_size, pick_inference_precision
from segcli.errors import UsageError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "own", "native", "picked"),
    [
        ("auto", "bf16", True, "bf16"), ("auto", "bf16", False, "fp32"), ("auto", "fp32", True, "fp32"),
        ("auto", "fp16", True, "fp32"), ("fp32", "bf16", True, "fp32"), ("bf16", "fp32", False, "bf16"),
    ],
)  # fmt: skip
def test_a_model_computes_in_its_own_number_format_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, name: str, own: str, native: bool, picked: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    assert pick_inference_precision(name, own, CPU) == picked


def test_fp16_is_for_cuda() -> None:
    assert pick_inference_precision("auto", "fp16", CUDA) == pick_inference_precision("fp16", "fp32", CUDA) == "fp16"
    with pytest.raises(UsageError, match="precision fp16 is for cuda only, and the device is cpu; use bf16 or fp32"):
        pick_inference_precision("fp16", "fp32", CPU)


def test_fp32_has_all_its_bits_on_cuda_for_the_time_of_a_block() -> None:
    def settings() -> tuple[str, ...]:
        return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision

    before = settings()
    assert before[1] == "tf32"  # torch's default, without which this would show nothing
    with computing("fp32", CUDA):
        assert settings() == ("ieee", "ieee")
        assert torch.is_inference_mode_enabled()
    assert settings() == before
    with pytest.raises(ZeroDivisionError), computing("fp32", CUDA):
        raise ZeroDivisionError
    assert settings() == before


def test_a_block_computes_in_bf16_on_a_cpu() -> None:
    layer, x = torch.nn.Linear(2, 2), torch.zeros(1, 2)
    with computing("bf16", CPU):
        assert layer(x).dtype == torch.bfloat16
    with computing("fp32", CPU):
        assert layer(x).dtype == torch.float32


def test_a_cpu_computes_one_image_at_a_time_and_cuda_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_batch_size(CPU) == 1
    sizes = []
    for gigabytes in (2, 16, 80):
        device = SimpleNamespace(total_memory=gigabytes << 30)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, device=device: device)
        sizes.append(pick_batch_size(CUDA))
    assert sizes == [1, 4, 8]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_freed_memory_serves_the_next_tensor() -> None:
    import resource

    def pages_fetched() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 23)  # 32 MiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    assert min(pages_fetched() for _ in range(20)) < 1000  # of the 8192 that it fills
