"""Every architecture × every target of `seg export`: trains each network once, exports it and checks each file.

python benchmarks/export_matrix.py FOLDER [TARGET:PRECISION …] [--only NAME …]
python benchmarks/export_matrix.py FOLDER --table

A network learns the embedded shapes until labels mean something; its bundle stays in FOLDER. Each cell is exported and
checked in a process of its own and becomes a line of FOLDER/cells.jsonl; those that are there are not measured again,
unless they failed. So it may be stopped and started. `--table` prints the table of docs/export.md.
"""

import argparse
import json
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from segcli.components.models import ARCHITECTURES, ModelOptions, build_network
from segcli.datasets.layouts import shapes
from segcli.engine.export.export import Wanted, default_path, export_model
from segcli.engine.export.targets import find_target
from segcli.errors import SegError
from segcli.io.bundle import save_bundle
from segcli.io.card import ModelCard

ENCODERS = {"DPT": "vit_tiny_patch16_224", "Segformer": "mit_b0"}
ENCODER = "resnet10t"
EIGHT = ("Unet", "UnetPlusPlus", "DeepLabV3", "DeepLabV3Plus", "PSPNet", "PAN", "FPN", "MAnet")
FOR_ALL = ("onnx:fp32", "onnx:fp16")
COLUMNS = (
    *FOR_ALL,
    "onnx:int8",
    "openvino:fp32",
    "torch:fp32",
    "tflite:fp32",
    "tflite:fp16",
    "tflite:int8",
    "savedmodel:fp32",
)
BATCH = 8
STEPS, RATE = 64, 4e-3
OTHER_STEPS_AND_RATES = {"DPT": (300, 5e-4), "Segformer": (200, 1e-3)}
"""Of transformers, which learn more slowly from nothing."""

ONLY_SIZE = (71, 93)
"""Of targets that take one: neither square nor a multiple of any stride."""
VERIFY = 16


@dataclass(frozen=True)
class Cell:
    """A network in one target and precision."""

    architecture: str
    column: str

    @property
    def encoder(self) -> str:
        """The network's encoder."""
        return ENCODERS.get(self.architecture, ENCODER)


def train(architecture: str, encoder: str, folder: Path) -> None:
    """Trains a network on the embedded shapes, and writes its bundle."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dataset = shapes.dataset()
    network = build_network(architecture, encoder, None, ModelOptions(), dataset.task).train()
    steps, rate = OTHER_STEPS_AND_RATES.get(architecture, (STEPS, RATE))
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    pairs = [sample.read() for sample in dataset.splits["train"]]
    rng = np.random.default_rng(0)
    for _ in range(steps):
        images, masks = zip(*(pairs[place] for place in rng.choice(len(pairs), BATCH, replace=False)), strict=True)
        logits = network(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
        loss = functional.cross_entropy(logits, torch.from_numpy(np.stack(masks)).long(), ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    data = {"name": "shapes", "dataset": {"embedded": "shapes"}, "fingerprint": dataset.fingerprint}
    card = ModelCard(dataset.task, architecture, encoder, None, network.mean, network.std, data=data)
    save_bundle(folder, network.eval(), card)


def measure(bundle: Path, column: str) -> dict[str, Any]:
    """Exports a bundle and gives what the check found, or why it failed."""
    torch.set_num_threads(1)
    name, precision = column.split(":")
    target, start = find_target(name), time.perf_counter()
    wanted = Wanted(precision, size=None if target.any_size else ONLY_SIZE, verify=VERIFY)
    try:
        parity = export_model(target, bundle, default_path(target, bundle.parent / "export", precision), wanted)
    except SegError as error:
        return {"failed": str(error)}
    return {"seconds": time.perf_counter() - start, **parity.to_json()}


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
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


def measured(file: Path) -> dict[Cell, dict[str, Any]]:
    """What a file of cells holds; of a cell measured twice the last."""
    if not file.is_file():
        return {}
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {Cell(line.pop("architecture"), line.pop("column")): line for line in lines}


def table(found: dict[Cell, dict[str, Any]]) -> str:
    """The table of docs/export.md: a row a network, a column a target and precision."""
    rows = [
        f"| architecture | encoder | mIoU | {' | '.join(column.replace(':', ' ') for column in COLUMNS)} |",
        f"|---|---|---|{'---|' * len(COLUMNS)}",
    ]
    for architecture in ARCHITECTURES.values():
        cells = [found.get(Cell(architecture, column)) for column in COLUMNS]
        before = next((f"{cell['miou'][0]:.3f}" for cell in cells if cell and "miou" in cell), "")
        shown = " | ".join(map(_shown, cells))
        rows.append(f"| {architecture} | {ENCODERS.get(architecture, ENCODER)} | {before} | {shown} |")
    return "\n".join(rows)


def _shown(cell: dict[str, Any] | None) -> str:
    """Equal labels at worst, and by how many points the file's mIoU differs from the model's."""
    if cell is None:
        return "–"
    if "failed" in cell:
        return f"**fails**: {cell['failed'].partition(';')[0]}"
    worst = min(agreement["labels"] for agreement in cell["agreements"])
    before, after = cell["miou"]
    share = f"{np.floor(worst * 1e5) / 1e3:.3f}".rstrip("0").rstrip(".")
    route = " (dynamo)" if cell["facts"].get("exporter") == "dynamo" else ""
    kept = sum(layer["kept"] for layer in cell["facts"].get("int8", {}).get("layers", ()))
    return f"{share} %, {100 * (after - before):+.2f}{route}{f', {kept} kept' if kept else ''}"


def main() -> int:
    """Measures what is missing; gives 1 where a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("columns", nargs="*", default=COLUMNS)
    parser.add_argument("--only", nargs="*", default=list(ARCHITECTURES.values()))
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    file = asked.folder / "cells.jsonl"
    found = measured(file)
    if asked.table:
        print(table(found))
        return 0
    wanted = [Cell(name, column) for column in asked.columns for name in asked.only]
    wanted = [cell for cell in wanted if cell.column in FOR_ALL or cell.architecture in EIGHT]
    for cell in wanted:
        if "failed" not in found.get(cell, {"failed": "not measured"}):
            continue
        bundle = asked.folder / cell.architecture / "best"
        if not bundle.is_dir():
            in_a_process(train, cell.architecture, cell.encoder, bundle)
        found[cell] = in_a_process(measure, bundle, cell.column)
        line = {"architecture": cell.architecture, "column": cell.column, **found[cell]}
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
        print(f"{cell.architecture} {cell.column}: {_shown(found[cell])}", flush=True)
    return int(any("failed" in found[cell] for cell in wanted))


if __name__ == "__main__":
    sys.exit(main())
