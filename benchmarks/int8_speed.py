"""How fast ONNX files are beside each other: runs in turn on one noise image, so that a busy machine slows all alike.

python benchmarks/int8_speed.py FILE.onnx … [--threads 1 2] [--size 360x480] [--runs 11]

Prints the median and the least milliseconds of each file, and how much faster than the first it is.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    """Prints a line for each number of threads and file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--size", default="360x480")
    parser.add_argument("--runs", type=int, default=11)
    asked = parser.parse_args()
    height, width = map(int, asked.size.split("x"))
    image = np.random.default_rng(0).integers(0, 256, (1, 3, height, width), dtype=np.uint8)
    for threads in asked.threads:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        sessions = [
            onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for file in asked.files
        ]
        times: list[list[float]] = [[] for _ in sessions]
        for _ in range(asked.runs + 1):
            for session, taken in zip(sessions, times, strict=True):
                start = time.perf_counter()
                session.run(None, {"image": image})
                taken.append(1000 * (time.perf_counter() - start))
        first = statistics.median(times[0][1:])
        for file, taken in zip(asked.files, times, strict=True):
            median = statistics.median(taken[1:])
            print(
                f"{threads} threads  {file.name}: {median:.0f} ms (least {min(taken[1:]):.0f}), {first / median:.2f} ×"
            )


if __name__ == "__main__":
    main()
