"""Where a training's figures go besides results.csv: TensorBoard and the run's log."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segcli.config import RunConfig
from segcli.io.rundir import RunDir


class Board:
    """Writes rows to TensorBoard, or nowhere."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes the row of one epoch."""
        for name, value in row.items():
            if self.writer is not None and name not in {"epoch", "step"}:
                self.writer.add_scalar(name, value, row["step"])


@contextmanager
def tensorboard(config: RunConfig, run: RunDir) -> Iterator[Board]:
    """A board that writes event files to the run, or nowhere where the config says so."""
    if not config.tracking.tensorboard:
        yield Board(None)
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(run.path / "tensorboard") as writer:
        yield Board(writer)


@contextmanager
def logging_to(path: Path) -> Iterator[logging.Logger]:
    """A logger that writes to the run's train.log."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.Logger(f"segcli.{path.parent.name}")
    log.addHandler(handler)
    try:
        yield log
    finally:
        handler.close()
