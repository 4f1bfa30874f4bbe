"""Training: the whole loop, from a config to a run folder with its best and last bundle."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from torch import Tensor

from segcli.components.models import build_network
from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.datasets.opening import open_dataset
from segcli.engine import report, visualize
from segcli.engine.backends.pytorch import TorchBackend
from segcli.engine.data import TrainingBatches, TrainingCrops
from segcli.engine.evaluate import evaluate
from segcli.engine.events import EpochEnded, Observer, Progressed, Said, Started, Stepped
from segcli.engine.metrics import Scores
from segcli.engine.predictor import Resizing
from segcli.engine.runtime import (
    Precision,
    pick_device,
    pick_precision,
    pick_workers,
    seed_everything,
    versions,
)
from segcli.engine.tally import MeanLoss, Progress, TrainedEpoch
from segcli.engine.tracking import logging_to, tensorboard
from segcli.errors import SegError, UsageError
from segcli.io.bundle import save_bundle
from segcli.io.card import Inference, ModelCard
from segcli.io.checkpoint import load_checkpoint, save_checkpoint
from segcli.io.files import write_text
from segcli.io.rundir import RunDir, create_run, write_rows
from segcli.nn.network import SegmentationNetwork

_MOST_LEFT_OUT = 10
"""Steps in a row without finite numbers after which a training ends."""


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Attributes:
        run: its folder.
        dataset: what it was trained on.
        scores: of the best epoch on the val split.
        rows: those of results.csv.
    """

    run: RunDir
    dataset: Dataset
    scores: Scores
    rows: Sequence[Mapping[str, Any]]


def train(config: RunConfig, name: str, observe: Observer = lambda event: None) -> TrainResult:
    """Trains a new run.

    Args:
        config: what to train.
        name: the run's name; a number is added where a run has it already.
        observe: told what happens.

    Raises:
        UsageError: if the config asks for what is not there.
        DataError: if the data is wrong.
    """
    dataset = _open(config, observe)
    trainer = Trainer(config, dataset, observe)
    run = create_run(config.output_dir, name)
    write_text(run.config, config.to_yaml())
    return trainer.run(run)


def resume(run: RunDir, config: RunConfig, observe: Observer = lambda event: None) -> TrainResult:
    """Goes on with a run from its newest whole state, as if it had never stopped.

    Raises:
        UsageError: if the run is finished, or its data has changed.
        ModelError: if no state is whole.
    """
    dataset = _open(config, observe)
    trainer = Trainer(config, dataset, observe)
    trainer.load_state(load_checkpoint(run.state), run)
    return trainer.run(run)


def _open(config: RunConfig, observe: Observer) -> Dataset:
    dataset = open_dataset(config.dataset, lambda *progress: observe(Progressed(*progress)))
    for remark in dataset.remarks:
        observe(Said(remark))
    return dataset


class Trainer:
    """One training: everything that the loop needs, built once.

    Args:
        config: what to train.
        dataset: what to train on.
        observe: told what happens.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, observe: Observer) -> None:
        self.config, self.dataset, self.observe = config, dataset, observe
        self.device = pick_device(config.device)
        self.precision = Precision(pick_precision(config.precision, self.device), self.device)
        if config.train.threads is not None:
            torch.set_num_threads(config.train.threads)
        self.val_samples = dataset.split("val")
        seed_everything(config.seed)
        self.network = self._build_network()
        self.card = self._card()
        self.loss = config.loss.build(dataset.task, dataset.class_share("train")).to(self.device)
        self.batches = self._build_batches()
        self.optimizer = config.optimizer.build(self.network)
        self.scheduler = config.scheduler.build(self.optimizer, self.total_steps)
        self.progress = Progress()
        self.lr = 0.0  # of the last step, the highest of the parameter groups

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        steps = self.config.train.epochs * len(self.batches)
        return min(steps, self.config.train.max_steps or steps)

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole training; the last is cut short where `max_steps` says so."""
        return ceil(self.total_steps / len(self.batches))

    def run(self, run: RunDir) -> TrainResult:
        """Trains to the end, epoch by epoch; each leaves the run folder whole."""
        with logging_to(run.log) as log, tensorboard(self.config, run) as board:
            self._start(run, log)
            while self.progress.epoch < self.total_epochs and not self._out_of_patience():
                epoch = self.progress.epoch
                trained = self.train_epoch(epoch)
                scores, val_loss = self.validate()
                row = {"epoch": epoch + 1, "step": self.progress.step, **self._row(trained, scores, val_loss)}
                best = self._record(row, scores)
                self._save(run, best, scores)
                board.add(row)
                log.info(" ".join(f"{name}={value:.6g}" for name, value in row.items()))
                self.observe(EpochEnded(row, best, scores))
            self._draw_predictions(run)
        assert self.progress.best_confusion is not None
        return TrainResult(run, self.dataset, Scores(self.progress.best_confusion.numpy()), self.progress.rows)

    def train_epoch(self, epoch: int) -> "TrainedEpoch":
        """Trains the steps of one epoch."""
        self._thaw(epoch)
        task = self.dataset.task
        trained = TrainedEpoch(task.num_classes, self.device)
        steps = min(len(self.batches), self.total_steps - self.progress.step)
        batches = self.batches.epoch(epoch)
        for step in range(1, steps + 1):
            images, masks = trained.waiting(lambda: next(batches))
            loss, logits = self._train_step(images.to(self.device), masks.to(self.device).long())
            trained.add(loss, logits, masks.to(self.device), task.ignore_index, self.progress.left_out == 0)
            if self.progress.left_out:
                self._guard(loss)
            if self.device.type == "cpu" or step % 10 == 0 or step == steps:
                self._tell_step(epoch, step, steps, trained)
        return trained

    def _thaw(self, epoch: int) -> None:
        """Makes the network ready to train, but for what is frozen in this epoch."""
        self.network.train()
        encoder = self.network.model.get_submodule("encoder")
        frozen = epoch < self.config.train.freeze_encoder
        encoder.requires_grad_(not frozen)
        if frozen:
            encoder.eval()
        if epoch < self.config.train.freeze_batch_norm:
            for module in self.network.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _train_step(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """One step: forward, loss, backward, optimiser, schedule."""
        if self.config.train.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with self.precision.autocast(), _batch_norm_errors(len(images)):
            logits = self.network(images)
        logits = logits.float()
        loss = self.loss(logits, masks)
        taken = self.precision.step(loss, self.optimizer, self.config.train.clip_grad_norm)
        self.lr = max(self.scheduler.get_last_lr())
        self.scheduler.step()
        self.progress.step += 1
        self.progress.left_out = 0 if taken else self.progress.left_out + 1
        return loss.detach(), logits.detach()

    def validate(self) -> tuple[Scores, float]:
        """Evaluates the network on the val split: the scores, and the mean of the images' losses."""
        self.network.eval()
        losses = MeanLoss(self.loss, self.device)
        scores = evaluate(
            Resizing(TorchBackend(self.network, self.card, self.device), self.card.inference),
            self.val_samples,
            [losses],
            self.config.val.batch_size,
            lambda _, done, total: self.observe(Progressed("validating", done, total)),
        )
        return scores, losses.mean()

    def _tell_step(self, epoch: int, step: int, steps: int, trained: "TrainedEpoch") -> None:
        loss = trained.last_loss()
        self.observe(Stepped(epoch + 1, step, steps, loss, self.lr, trained.images_per_second()))

    def _guard(self, loss: Tensor) -> None:
        """Tells of a step that was left out; raises SegError after too many in a row."""
        what = f"the loss is {loss.item():.4g}" if not loss.isfinite() else "a gradient is no finite number"
        if self.progress.left_out >= _MOST_LEFT_OUT:
            raise SegError(
                f"{what} at step {self.progress.step}; lower optimizer.lr (now {self.lr:.3g} here), set "
                f"train.clip_grad_norm, or look at the images and masks of this run in samples/ "
                f"({_MOST_LEFT_OUT} steps in a row were left out)"
            )
        if self.progress.left_out == 1:
            self.observe(Said(f"{what} at step {self.progress.step}; the step is left out"))

    def _row(self, trained: "TrainedEpoch", scores: Scores, val_loss: float) -> dict[str, Any]:
        return {
            "train_loss": trained.mean_loss(),
            "val_loss": val_loss,
            "train_miou": trained.scores().miou,
            "val_miou": scores.miou,
            "val_accuracy": scores.pixel_accuracy,
            "lr": self.lr,
            "images_per_second": trained.images_per_second(),
            "data_wait": trained.data_wait(),
            "left_out_steps": trained.left_out,
        }

    def _record(self, row: dict[str, Any], scores: Scores) -> bool:
        """Notes an epoch; tells whether it is the best so far."""
        progress = self.progress
        best_before = progress.rows[progress.best_epoch - 1]["val_miou"] if progress.best_epoch else None
        progress.rows.append(row)
        progress.epoch += 1
        best = best_before is None or row["val_miou"] > best_before
        if best:
            progress.best_epoch = progress.epoch
            progress.best_confusion = torch.from_numpy(scores.confusion)
        return best

    def _out_of_patience(self) -> bool:
        """Whether early stopping is on and its epochs without a gain are used up."""
        rule, rows = self.config.early_stopping, self.progress.rows
        if rule is None or not rows:
            return False
        reference, since = rows[0]["val_miou"], 0
        for row in rows[1:]:
            gained = row["val_miou"] > reference + rule.min_delta
            reference, since = (row["val_miou"], 0) if gained else (reference, since + 1)
        if since < rule.patience:
            return False
        self.observe(Said(f"stopped early: no better val_miou than {reference:.4f} for {since} epochs"))
        return True

    def _start(self, run: RunDir, log: logging.Logger) -> None:
        facts = self._facts()
        log.info("segcli %s", " ".join(f"{name}={value}" for name, value in {**versions(), **facts}.items()))
        if self.progress.epoch:
            self.observe(Said(f"going on with {run.path} behind epoch {self.progress.epoch}"))
        else:
            self._draw_batch(run)
        self.observe(Started(run.path, self.dataset.task, facts, self.progress.epoch + 1, self.total_epochs))

    def _facts(self) -> dict[str, str]:
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        splits = ", ".join(f"{len(samples)} {split}" for split, samples in self.dataset.splits.items())
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        return {
            "data": f"{self.dataset.name}: {splits}, {self.dataset.task.num_classes} classes",
            "network": f"{self.config.model_name} on {self.config.encoder} "
            f"({self.config.encoder_weights or 'no'} weights), {parameters / 1e6:.1f} M parameters",
            "compute": f"{self.device.type}, {self.precision.name}{threads}",
            "steps": f"{self.total_steps} of batch {self.config.train.batch_size}, {self.total_epochs} epochs",
        }

    def _save(self, run: RunDir, best: bool, scores: Scores) -> None:
        """Writes what the epoch leaves: bundles, results, and last the state that makes it count."""
        card = replace(self.card, metrics={"val": scores.to_json(self.dataset.task)})
        save_bundle(run.last, self.network, card)
        if best:
            save_bundle(run.best, self.network, card)
        write_rows(run.results, self.progress.rows)
        report.draw_curves(self.progress.rows, run.curves)
        save_checkpoint(run.state, self.state(), self.progress.step)

    def state(self) -> dict[str, Any]:
        """Everything that decides how the training goes on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "progress": vars(self.progress).copy(),
            "fingerprint": self.dataset.fingerprint,
            "precision": self.precision.name,
            "total_steps": self.total_steps,
        }

    def load_state(self, state: Mapping[str, Any], run: RunDir) -> None:
        """Takes over a state.

        Raises:
            UsageError: if the run is finished, or its data has changed.
        """
        if state["fingerprint"] != self.dataset.fingerprint:
            raise UsageError(f"the data of {run.path} has changed since it stopped; start a new run with seg train -c")
        if state["total_steps"] != self.total_steps:
            raise UsageError(
                f"{run.config} asks for {self.total_steps} steps, but the run was begun with a schedule of "
                f"{state['total_steps']}; put back train.epochs and train.max_steps, or start a new run"
            )
        self.progress = Progress(**state["progress"])
        if self.progress.epoch >= self.total_epochs:
            raise UsageError(f"{run.path} is finished ({self.progress.epoch} epochs); nothing is left to resume")
        self.precision = Precision(state["precision"], self.device)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(dict(state["scheduler"]))
        self.precision.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["rng_cuda"])

    def _build_network(self) -> SegmentationNetwork:
        config = self.config
        network = build_network(
            config.model_name, config.encoder, config.encoder_weights, config.model, self.dataset.task
        )
        memory_format = torch.channels_last if config.train.channels_last else torch.contiguous_format
        return network.to(self.device).to(memory_format=memory_format)

    def _build_batches(self) -> TrainingBatches:
        config, size = self.config, self.config.train.image_size
        red, green, blue = (round(255 * channel) for channel in self.card.mean)
        crops = TrainingCrops(
            self.dataset.split("train"),
            (size, size) if isinstance(size, int) else size,
            config.augmentation,
            config.seed,
            (red, green, blue),
            self.dataset.task.ignore_index,
        )
        return TrainingBatches(crops, config.train.batch_size, pick_workers(config.train.workers))

    def _card(self) -> ModelCard:
        config = self.config
        return ModelCard(
            task=self.dataset.task,
            architecture=config.model_name,
            encoder=config.encoder,
            encoder_weights=config.encoder_weights,
            mean=self.network.mean,
            std=self.network.std,
            inference=Inference.of(config.val.image_size),
            data={
                "name": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "dataset": config.dataset.model_dump(mode="json", exclude_unset=True),
            },
            versions=versions(),
        )

    def _draw_batch(self, run: RunDir) -> None:
        """Draws the first crops as the network will see them."""
        visualize.save_batch(run.samples / "train_batch.png", self.batches.preview(8), self.dataset.task)

    def _draw_predictions(self, run: RunDir) -> None:
        predictor = Resizing(TorchBackend(self.network.eval(), self.card, self.device), self.card.inference)
        visualize.save_panels(run.samples / "val_predictions.png", predictor, self.val_samples[:4])


@contextmanager
def _batch_norm_errors(batch_size: int) -> Iterator[None]:
    """Tells in words of the config that a network which pools to 1×1 cannot normalise a batch of one."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            f"this network cannot train on a batch of {batch_size}: set train.batch_size to 2 or more, "
            f"with at least 2 training images"
        ) from None
