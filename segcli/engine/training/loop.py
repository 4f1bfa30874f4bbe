"""Training: the whole loop, from a config to a run folder with its best and last bundle."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch

from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset, Sample
from segcli.engine.evaluation.scores import Scores
from segcli.engine.training import events
from segcli.engine.training.agreement import Agreed, agree
from segcli.engine.training.auto import epochs_between_validations, is_validated, settled_as, with_val_every
from segcli.engine.training.batches import Batch, open_data
from segcli.engine.training.best_epoch import check_metrics, figure_names, gain, out_of_patience, val_figures
from segcli.engine.training.budget import Clock, with_steps_that_fit
from segcli.engine.training.build import Begun, build_parts
from segcli.engine.training.distributed import ALONE, Processes
from segcli.engine.training.events import Observer, StopRequest
from segcli.engine.training.facts import facts_of
from segcli.engine.training.progress import TrainedEpoch, TrainingProgress
from segcli.engine.training.resume import begun_in, capture, restore
from segcli.engine.training.run_writer import RunWriter
from segcli.engine.training.step import Stepper
from segcli.engine.training.trackers import check_trackers
from segcli.engine.training.validation import validate
from segcli.errors import SegError, Stopped
from segcli.io.checkpoint import load_checkpoint
from segcli.io.rundir import RunDir, create_run
from segcli.nn.plateau import PlateauSchedule

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


def ignore(event: Any) -> None:
    """Watches nothing."""


def train(
    config: RunConfig,
    name: str,
    observe: Observer = ignore,
    processes: Processes = ALONE,
    stop: StopRequest | None = None,
    began: float | None = None,
) -> TrainResult:
    """Trains a new run.

    Args:
        config: what to train.
        name: the run's name; a number is added where a run has it already.
        observe: told what happens.
        processes: those that train together; each calls this.
        stop: asked at every step.
        began: when what `train.budget` is for began, in seconds of `time.perf_counter`; None is now.

    Raises:
        UsageError: if the config asks for what is not there.
        DataError: if the data is wrong.
        Stopped: if it was asked to stop; its state is saved.
    """
    clock = Clock(time.perf_counter() if began is None else began)
    with open_data(config, observe, processes) as dataset:
        trainer = Trainer(config, dataset, observe, processes, stop, clock=clock)
        run = processes.lead(create_run(config.output_dir, name) if processes.leads else None)
        assert run is not None
        return trainer.run(run)


def resume(
    run: RunDir,
    config: RunConfig,
    observe: Observer = ignore,
    processes: Processes = ALONE,
    stop: StopRequest | None = None,
    began: float | None = None,
) -> TrainResult:
    """Goes on with a run from its newest whole state, as if it had never stopped.

    Args:
        run: its folder.
        config: its own, or one in which what may change has changed.
        observe: told what happens.
        processes: those that train together; each calls this.
        stop: asked at every step.
        began: when it went on, in seconds of `time.perf_counter`; None is now.

    Raises:
        UsageError: if the run is finished, or its data, classes or network have changed.
        ModelError: if no state is whole.
        Stopped: if it was asked to stop; its state is saved.
    """
    began = time.perf_counter() if began is None else began
    state = load_checkpoint(run.state)
    config = settled_as(config, RunConfig.model_validate(state["config"]))
    with open_data(config, observe, processes) as dataset:
        clock = Clock(began, before=state["progress"].get("seconds", 0.0))
        trainer = Trainer(config, dataset, observe, processes, stop, begun_in(state), clock)
        trainer.load_state(state, run)
        return trainer.run(run)


class Trainer:
    """One training: everything that the loop needs, built once.

    Args:
        config: what to train.
        dataset: what to train on.
        observe: told what happens.
        processes: those that train together.
        stop: asked at every step.
        begun: of a training that goes on from a state.
        clock: what `train.budget` is held to; None is one that begins now.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        observe: Observer = ignore,
        processes: Processes = ALONE,
        stop: StopRequest | None = None,
        begun: Begun | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock(time.perf_counter())
        check_metrics(config, dataset.task)
        check_trackers(config.tracking)
        self.val_samples = dataset.split("val")
        self.dataset, self.processes, self.stop = dataset, processes, stop or StopRequest()
        self.observe = observe
        self.parts = build_parts(config, dataset, processes, self.say, self._progress, begun)
        self.config = self.parts.config
        self.stepper = Stepper(self.parts, processes, self.observe)
        self.progress = TrainingProgress()

    def _progress(self, what: str, done: int, total: int) -> None:
        self.observe(events.Progressed(what, done, total))

    def say(self, text: str) -> None:
        """Tells a remark."""
        self.observe(events.Said(text))

    def run(self, run: RunDir) -> TrainResult:
        """Trains to the end, epoch by epoch; each leaves the run folder whole."""
        progress = self.progress
        with self._writer(run) as writer:
            self._start(run, writer)
            while not self._is_over():
                trained = self.train_epoch(writer)
                scores, figures = self._validate_safely(writer, trained) if self._is_validated() else (None, {})
                row = progress.row(trained, figures, figure_names(self.dataset.task), self.processes)
                best = self._record(row, scores)
                if writer is not None:
                    kept = progress.epoch % self.config.checkpoint.every_epochs == 0 or self._is_over()
                    writer.epoch(progress.rows, best, kept, scores)
                    if kept:
                        writer.state(self.state(), progress)
                self.observe(events.EpochEnded(row, best, scores))
            if (why := self._out_of_patience()) is not None:
                self.say(why)
            assert progress.best_confusion is not None
            scores = Scores(progress.best_confusion.numpy())
            if writer is not None:
                writer.end(scores, progress.step)
        return TrainResult(run, self.dataset, scores, progress.rows)

    def train_epoch(self, writer: RunWriter | None = None) -> TrainedEpoch:
        """Trains the steps of the epoch that is under way, or of the next one.

        Args:
            writer: takes a state when it is time to save one, or to stop.

        Raises:
            Stopped: when it was asked to; the state is saved.
        """
        progress = self.progress
        self.stepper.begin_epoch(progress.epoch)
        trained = TrainedEpoch.resumed(
            progress.tally, self.dataset.task.num_classes, self.parts.device, self.processes.leads
        )
        batches = self.parts.batches.epoch(progress.epoch, progress.step_in_epoch)
        while progress.step_in_epoch < self._steps_of_epoch():
            micro_batches = trained.waiting(lambda: next(batches))
            agreed = self._agree(micro_batches, writer is not None and writer.is_due())
            if agreed.save or agreed.stop or (agreed.settle and not self.clock.a_validation):
                self._save_within_epoch(writer, trained)
            if agreed.stop:
                raise Stopped(f"stopped behind step {progress.step}")
            if agreed.settle:
                trained.apart(lambda: self._settle_steps(writer))
            outcome = self.stepper.step(micro_batches, agreed.masses, progress.step)
            trained.add(outcome, agreed.images)
            progress.lr = outcome.lr
            progress.step += 1
            progress.step_in_epoch += 1
            steps = self._steps_of_epoch()
            if self.parts.device.type == "cpu" or progress.step_in_epoch % 10 == 0 or progress.step_in_epoch == steps:
                self._tell_step(steps, trained)
            self.clock.stepped(progress.step)
        trained.end()
        return trained

    def _steps_of_epoch(self) -> int:
        """The steps of the epoch that is under way, of which the last one may have fewer."""
        progress = self.progress
        return min(len(self.parts.batches), self.parts.total_steps - progress.step + progress.step_in_epoch)

    def try_step(self, micro_batches: Sequence[Batch], number: int) -> float:
        """Takes one step by itself; gives its loss."""
        self.stepper.begin_epoch(0)
        masses = self._agree(micro_batches, save=False).masses
        return float(self.stepper.step(micro_batches, masses, number).loss)

    def _agree(self, micro_batches: Sequence[Batch], save: bool) -> Agreed:
        settle = self.processes.leads and self._passed_points() > self.progress.settled
        return agree(self.processes, micro_batches, self.stop.asked, save, settle)

    def _passed_points(self) -> int:
        """How many of the points behind which `train.budget` wants the steps settled have been passed."""
        return self.clock.points_passed(self.config.train.budget, self.progress, self.parts.total_steps)

    def _settle_steps(self, writer: RunWriter | None) -> None:
        """Settles how many steps `train.budget` leaves time for; the learning rate goes on over as many."""
        before, progress = self.parts, self.progress
        self.parts, why = with_steps_that_fit(before, progress, self.clock, self.val_samples, self.processes)
        self.stepper.begin_epoch(progress.epoch)  # the network may have been evaluated
        self.config, self.stepper.scheduler = self.parts.config, self.parts.scheduler
        progress.settled = self.processes.lead(self._passed_points())
        if writer is not None:
            writer.write_config(self.config)
            writer.log.info("max_steps=%d", self.parts.total_steps)
        self.observe(events.LengthSettled(self.parts.total_epochs, self.parts.total_steps))
        if self.parts.total_steps != before.total_steps:
            self.say(f"train.max_steps: {self.parts.total_steps}, {before.total_steps} before; {why}")

    def validate(self, samples: Sequence[Sample] | None = None) -> tuple[Scores, float]:
        """Evaluates the network on samples, by default the val split: the scores, and the mean of the losses."""
        samples = self.val_samples if samples is None else samples
        return validate(self.parts, samples, self.processes, self._during_validation)

    def _is_validated(self) -> bool:
        """Whether it is the turn of the epoch that has just been trained."""
        is_last = self.progress.step >= self.parts.total_steps
        return is_validated(self.progress.epoch + 1, self.config.val.every_epochs, is_last)

    def _validate_safely(self, writer: RunWriter | None, trained: TrainedEpoch) -> tuple[Scores, dict[str, float]]:
        """Validates; what the epoch has trained is saved where the validation does not come to its end."""
        tally = trained.state(self.processes)
        started = time.perf_counter()
        try:
            scores, loss = self.validate()
        except Exception as error:
            self.progress.tally = tally
            if writer is not None:
                writer.state(self.state(), self.progress)
            if self.stop.asked and not isinstance(error, Stopped):  # another process was faster to stop
                raise Stopped(f"stopped in the validation of epoch {self.progress.epoch + 1}") from error
            raise
        seconds = time.perf_counter() - started
        self.clock.validated(seconds)
        if self.config.val.every_epochs == "auto":
            self._settle_validations(writer, trained.seconds(), seconds)
        return scores, val_figures(scores, loss, self.dataset.task)

    def _settle_validations(self, writer: RunWriter | None, training: float, validating: float) -> None:
        """Settles how often is validated, from the seconds that an epoch and a validation take."""
        every = self.processes.lead(epochs_between_validations(training, validating))
        self.config = with_val_every(self.config, every)
        self.parts = replace(self.parts, config=self.config)
        if writer is not None:
            writer.write_config(self.config)
        if every > 1:
            took = f"an epoch trains for {training:.1f} s, and a validation takes {validating:.1f} s"
            self.say(f"val.every_epochs: {every}, since {took}")

    def _during_validation(self, what: str, done: int, total: int) -> None:
        self.observe(events.Progressed("validating", done, total))
        if self.stop.asked:
            raise Stopped(f"stopped in the validation of epoch {self.progress.epoch + 1}")

    def _tell_step(self, steps: int, trained: TrainedEpoch) -> None:
        progress = self.progress
        self._look_back(trained)
        self.observe(
            events.Stepped(
                progress.epoch + 1, progress.step_in_epoch, steps, progress.step, trained.last_loss(), progress.lr,
                trained.images_per_second(),
            )
        )  # fmt: skip

    def _look_back(self, trained: TrainedEpoch) -> None:
        """Waits for the steps since the last look; tells of those left out, raises SegError after too many in a row."""
        progress = self.progress
        seen = trained.look_back(self.processes)
        for step, (loss, fault) in enumerate(seen, progress.step - len(seen) + 1):
            progress.left_out = progress.left_out + 1 if fault else 0
            what = "a gradient is no finite number" if isfinite(loss) else f"the loss is {loss:.4g}"
            if progress.left_out >= _MOST_LEFT_OUT:
                raise SegError(
                    f"{what} at step {step}; lower optimizer.lr (now {progress.lr:.3g} here), set "
                    f"train.clip_grad_norm, or look at the images and masks of this run in samples/ "
                    f"({_MOST_LEFT_OUT} steps in a row were left out)"
                )
            if progress.left_out == 1:
                self.say(f"{what} at step {step}; the step is left out")

    def _record(self, row: dict[str, Any], scores: Scores | None) -> bool:
        """Notes an epoch; tells whether it is the best so far."""
        progress, metric = self.progress, self.config.checkpoint.best
        best = scores is not None and (
            not progress.best_epoch or gain(metric, row[metric], progress.rows[progress.best_epoch - 1][metric]) > 0
        )
        progress.rows.append(row)
        progress.epoch += 1
        progress.step_in_epoch, progress.tally = 0, None
        if scores is None:
            return False
        if best:
            progress.best_epoch = progress.epoch
            progress.best_confusion = torch.from_numpy(scores.confusion)
        if isinstance(self.parts.scheduler, PlateauSchedule):
            self.parts.scheduler.epoch_ended(-row[metric] if metric.endswith("_loss") else row[metric])
        return best

    def _out_of_patience(self) -> str | None:
        return out_of_patience(self.progress.rows, self.config.early_stopping, self.config.checkpoint.best)

    def _is_over(self) -> bool:
        trained = self.progress.step >= self.parts.total_steps and not self.progress.step_in_epoch
        return trained or self._out_of_patience() is not None

    @contextmanager
    def _writer(self, run: RunDir) -> Iterator[RunWriter | None]:
        """Who writes to the run folder; None in every process but the leading one."""
        if not self.processes.leads:
            yield None
            return
        with RunWriter.opened(run, self.parts, self.dataset, self.say) as writer:
            yield writer

    def _start(self, run: RunDir, writer: RunWriter | None) -> None:
        facts, progress = facts_of(self.parts, self.dataset, self.processes), self.progress
        if writer is not None:
            writer.begin(facts, is_new=progress.step == 0)
        if progress.step:
            within = f" and {progress.step_in_epoch} steps" if progress.step_in_epoch else ""
            self.say(f"going on with {run.path} behind epoch {progress.epoch}{within}")
        parts = self.parts
        self.observe(
            events.Started(
                run.path, self.dataset.task, facts, progress.epoch + 1, parts.total_epochs, parts.total_steps
            )
        )

    def _save_within_epoch(self, writer: RunWriter | None, trained: TrainedEpoch) -> None:
        self._look_back(trained)
        self.progress.tally = trained.state(self.processes)
        if writer is not None:
            writer.state(self.state(), self.progress)
        self.processes.sum(torch.zeros(1))  # nobody leaves before the state is written
        self.progress.tally = None

    def state(self) -> dict[str, Any]:
        """Everything that decides how the training goes on."""
        self.progress.seconds = self.clock.seconds()
        return capture(self.parts, self.stepper, self.progress, self.dataset, self.processes)

    def load_state(self, state: Mapping[str, Any], run: RunDir) -> None:
        """Takes over a state.

        Raises:
            UsageError: if the run is finished, or its data, classes or network have changed.
        """
        self.progress, remarks = restore(state, run, self.parts, self.stepper, self.dataset, self.processes)
        for remark in remarks:
            self.say(remark)
