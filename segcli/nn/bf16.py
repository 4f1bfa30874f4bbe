"""Whether a device computes in bf16, or only imitates it, many times slower than in single precision."""

import torch


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 in hardware; of CPUs those with AVX-512 BF16, AMX or Arm's kernels have it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return False
