"""How long a depthwise convolution and its gradients take on a CPU in fp32 and in bf16.

python benchmarks/depthwise_gradients.py [THREADS]

The shapes are those of tf_efficientnet_lite0 in crops of 256×256, batch 4, in channels_last. The shortest of ten tries
counts.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional

CASES = [  # channels, side, kernel, stride, dilation
    (32, 128, 3, 1, 1), (96, 128, 3, 2, 1), (144, 64, 3, 1, 1), (144, 64, 5, 2, 1), (240, 32, 5, 1, 1),
    (240, 32, 3, 2, 1), (480, 16, 3, 1, 1), (672, 16, 5, 1, 1), (672, 16, 5, 2, 1), (1152, 8, 5, 1, 1),
    (1152, 16, 5, 1, 2),
]  # fmt: skip


def shortest(act: Callable[[], object]) -> float:
    """Milliseconds of the shortest of ten tries, behind one that warms up."""
    act()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def measured(case: tuple[int, int, int, int, int], dtype: torch.dtype) -> str:
    """Milliseconds forward / towards the input / towards the weights."""
    channels, side, kernel, stride, dilation = case
    padding = dilation * (kernel // 2)
    x = torch.randn(4, channels, side, side, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, 1, kernel, kernel, dtype=dtype)
    output = functional.conv2d(x, weight, None, stride, padding, dilation, channels)
    gradient = torch.randn_like(output)

    def backward(mask: list[bool]) -> Callable[[], object]:
        return lambda: torch.ops.aten.convolution_backward(
            gradient, x, weight, [0], [stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], channels, mask
        )

    times = (
        shortest(lambda: functional.conv2d(x, weight, None, stride, padding, dilation, channels)),
        shortest(backward([True, False, False])),
        shortest(backward([False, True, False])),
    )
    return " / ".join(f"{milliseconds:.1f}" for milliseconds in times)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print("milliseconds: forward / gradient of the input / gradient of the weights")
    print("| channels, side, kernel, stride, dilation | fp32 | bf16 |\n|---|---|---|")
    for shape in CASES:
        print(
            f"| {', '.join(map(str, shape))} | {measured(shape, torch.float32)} | {measured(shape, torch.bfloat16)} |"
        )
