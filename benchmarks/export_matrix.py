"""Every architecture × every target of `seg export`: trains each network briefly, exports it and checks the file.

python benchmarks/export_matrix.py [TARGET[:PRECISION] …] [--only NAME …] [--json FILE]

Targets are onnx:fp32, onnx:fp16, openvino:fp32, torch:fp32 and so on; without any, all that can run here. A network
learns the embedded shapes for some steps, so that batch norms have moved and labels mean something; each cell is
exported and checked in a process of its own. Prints the table of docs/export.md; exits with 1 where a cell fails.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from segcli.components.models import ARCHITECTURES, ModelOptions, build_network
from segcli.datasets.layouts import shapes
from segcli.engine.export.export import Wanted, default_path, export_model
from segcli.engine.export.targets import TARGETS, find_target
from segcli.errors import SegError
from segcli.io.bundle import save_bundle
from segcli.io.card import ModelCard

ENCODERS = {"DPT": "vit_tiny_patch16_224"}  # DPT wants a vision transformer
ENCODER = "mobilenet_v2"
STEPS, BATCH, SIDE = 60, 4, 64
VERIFY = 8


def trained(architecture: str, folder: Path) -> None:
    """Trains a network on the embedded shapes, and writes its bundle."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dataset = shapes.dataset()
    encoder = ENCODERS.get(architecture, ENCODER)
    network = build_network(architecture, encoder, None, ModelOptions(), dataset.task).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        pairs = [dataset.splits["train"][(step * BATCH + index) % 416].read() for index in range(BATCH)]
        y, x = (int(rng.integers(0, side - SIDE + 1)) for side in pairs[0][1].shape)
        images = torch.from_numpy(np.stack([image[y : y + SIDE, x : x + SIDE] for image, _ in pairs]))
        masks = torch.from_numpy(np.stack([mask[y : y + SIDE, x : x + SIDE] for _, mask in pairs])).long()
        loss = functional.cross_entropy(network(images.permute(0, 3, 1, 2)), masks, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    data = {"name": "shapes", "dataset": {"embedded": "shapes"}, "fingerprint": dataset.fingerprint}
    save_bundle(
        folder,
        network.eval(),
        ModelCard(dataset.task, architecture, encoder, None, network.mean, network.std, data=data),
    )


def cell(bundle: Path, name: str, precision: str) -> dict[str, Any]:
    """Exports a bundle and gives what the check found, or why it failed."""
    torch.set_num_threads(1)
    target = find_target(name)
    size = None if target.any_size else (96, 128)
    start = time.perf_counter()
    try:
        wanted = Wanted(precision, size=size, verify=VERIFY)
        parity = export_model(target, bundle, default_path(target, bundle.parent, precision), wanted)
    except SegError as error:
        return {"failed": str(error)}
    return {"seconds": time.perf_counter() - start, **parity.to_json()}


def in_a_process(function: Any, *arguments: Any) -> Any:
    """What a function gives in a process of its own; its death becomes a failed cell."""
    parent, child = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        warnings.simplefilter("ignore")
        child.send(function(*arguments))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    child.close()
    try:
        result = parent.recv()
    except EOFError:
        result = {"failed": "the process died"}
    process.join()
    return result


def shown(found: dict[str, Any]) -> str:
    """A cell of the table: equal labels at worst, largest difference of logits, mIoU before and after."""
    if "failed" in found:
        return f"**fails**: {found['failed'][:160]}"
    worst = min(agreement["labels"] for agreement in found["agreements"])
    difference = max(agreement["relative"] for agreement in found["agreements"])
    before, after = found["miou"]
    route = " (dynamo)" if found["facts"].get("exporter") == "dynamo" else ""
    share = f"{np.floor(worst * 1e5) / 1e3:.3f}".rstrip("0").rstrip(".")
    return f"{share} %, {difference:.0e}, {before:.4f} → {after:.4f}{route}"


def main() -> int:
    """Prints a row a network; gives 1 where a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--only", nargs="*", default=list(ARCHITECTURES.values()))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    every = [
        f"{target.name}:{precision}"
        for target in TARGETS
        if target.format.module is None or find_spec(target.format.module)
        for precision in target.precisions
    ]
    columns = [name if ":" in name else f"{name}:fp32" for name in asked.targets] or every
    print(f"| architecture | encoder | {' | '.join(column.replace(':', ' ') for column in columns)} |")
    print(f"|---|---|{'---|' * len(columns)}", flush=True)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for architecture in asked.only:
            bundle = Path(folder) / architecture / "best"
            in_a_process(trained, architecture, bundle)
            results[architecture] = {column: in_a_process(cell, bundle, *column.split(":")) for column in columns}
            cells = " | ".join(shown(found) for found in results[architecture].values())
            print(f"| {architecture} | {ENCODERS.get(architecture, ENCODER)} | {cells} |", flush=True)
            if asked.json:
                asked.json.write_text(json.dumps(results, indent=2), encoding="utf-8")
    return int(any("failed" in found for row in results.values() for found in row.values()))


if __name__ == "__main__":
    sys.exit(main())
