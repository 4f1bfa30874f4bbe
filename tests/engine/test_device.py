"""Where and how it is computed."""

import platform

import pytest
import torch

from segcli.engine.device import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_freed_memory_serves_the_next_tensor() -> None:
    import resource

    def pages_fetched() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 23)  # 32 MiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    assert min(pages_fetched() for _ in range(20)) < 1000  # of the 8192 that it fills
