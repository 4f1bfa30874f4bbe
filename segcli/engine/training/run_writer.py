"""What a run folder keeps of a training; only the leading process writes it."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.drawing.confusion import draw_confusion
from segcli.engine.drawing.curves import draw_curves
from segcli.engine.drawing.masks import draw_batch
from segcli.engine.evaluation.scores import Scores
from segcli.engine.prediction.pictures import draw_panels
from segcli.engine.prediction.resizing import Resizing
from segcli.engine.training.build import Parts
from segcli.engine.training.progress import TrainingProgress
from segcli.engine.training.provenance import git_commit, versions
from segcli.engine.training.trackers import Board, logging_to, trackers
from segcli.io.bundle import save_bundle
from segcli.io.checkpoint import save_checkpoint
from segcli.io.files import write_text
from segcli.io.rundir import RunDir, write_rows

_PICTURES = 4  # images, from all over the val split, that are drawn at the end
_CROPS = 8  # of the first batch
_CURVES_EVERY = 30  # seconds; drawing takes most of one, while the device waits


class RunWriter:
    """Writes to a run folder, so that it is whole behind every call; the curves alone may be some epochs late.

    Args:
        run: the folder.
        parts: what is trained.
        dataset: on what.
        board: the trackers.
        log: the run's log.
    """

    def __init__(self, run: RunDir, parts: Parts, dataset: Dataset, board: Board, log: logging.Logger) -> None:
        self.run, self.parts, self.dataset, self.board, self.log = run, parts, dataset, board, log
        self._saved_at = time.monotonic()
        self._drawn_at = time.monotonic()
        self._undrawn: Sequence[Mapping[str, Any]] = ()

    @classmethod
    @contextmanager
    def opened(cls, run: RunDir, parts: Parts, dataset: Dataset, say: Any) -> Iterator[Self]:
        """A writer whose log and trackers are open."""
        facts = {
            "config": parts.config.model_dump(mode="json"),
            "git_commit": git_commit(),
            "data_fingerprint": dataset.fingerprint,
            "versions": versions(),
        }
        with logging_to(run.log) as log, trackers(parts.config.tracking, run, facts, say) as board:
            writer = cls(run, parts, dataset, board, log)
            try:
                yield writer
            finally:
                writer.draw_curves()

    def begin(self, facts: Mapping[str, str], is_new: bool) -> None:
        """Writes what is known before the first step: config, versions, and of a new run the first crops."""
        known = {**versions(), "git_commit": git_commit() or "none", "data": self.dataset.fingerprint, **facts}
        self.log.info("segcli %s", " ".join(f"{name}={value}" for name, value in known.items()))
        self.write_config(self.parts.config)
        if is_new:
            picture = self.run.samples / "train_batch.png"
            draw_batch(picture, self.parts.batches.preview(_CROPS), self.dataset.task)
            self.board.add_pictures({"train_batch": picture}, 0)

    def write_config(self, config: RunConfig) -> None:
        """Writes the config, with a value in place of each `auto` that is settled."""
        write_text(self.run.config, config.to_yaml())

    def epoch(self, rows: Sequence[Mapping[str, Any]], best: bool, last: bool, scores: Scores | None) -> None:
        """Writes what an epoch leaves: results, the best and the last bundle where it is wanted, now and then curves.

        The scores are None where it was not validated.
        """
        precision = {"precision": self.parts.card.precision}
        metrics = {} if scores is None else {"val": {**scores.to_json(self.dataset.task), **precision}}
        card = replace(self.parts.card, metrics=metrics)
        if last:
            save_bundle(self.run.last, self.parts.shown_network, card)
        if best:
            save_bundle(self.run.best, self.parts.shown_network, card)
        write_rows(self.run.results, rows)
        self._undrawn = rows
        if time.monotonic() - self._drawn_at > _CURVES_EVERY:
            self.draw_curves()
        self.board.add(rows[-1])
        self.log.info(" ".join(f"{name}={value:.6g}" for name, value in rows[-1].items() if value is not None))

    def draw_curves(self) -> None:
        """Draws the curves of the epochs written so far, unless that is done."""
        if self._undrawn:
            draw_curves(self._undrawn, self.run.curves, self.parts.config.checkpoint.best)
            self._drawn_at, self._undrawn = time.monotonic(), ()

    def state(self, state: dict[str, Any], progress: TrainingProgress) -> None:
        """Writes a state to go on from."""
        save_checkpoint(self.run.state, state, progress.step, self.parts.config.checkpoint.keep)
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether a state is to be written within an epoch."""
        minutes = self.parts.config.checkpoint.every_minutes
        return minutes is not None and time.monotonic() - self._saved_at > 60 * minutes

    def end(self, scores: Scores, step: int) -> None:
        """Draws what the trained network makes of a few images, and what the best one confuses."""
        network = self.parts.shown_network.eval()
        predictor = Resizing(TorchBackend(network, self.parts.card, self.parts.device), self.parts.card.inference)
        pictures = {
            "val_predictions": self.run.samples / "val_predictions.png",
            "confusion": self.run.confusion,
        }
        samples = self.dataset.split("val")
        spread = samples[:: max(len(samples) // _PICTURES, 1)][:_PICTURES]  # neighbours are often frames of one video
        draw_panels(pictures["val_predictions"], predictor, spread)
        draw_confusion(scores.confusion, scores.iou.tolist(), self.dataset.task, pictures["confusion"])
        self.board.add_pictures(pictures, step)
