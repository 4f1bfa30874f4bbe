import contextlib
import math
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import read_rows, write_pairs

from benchmarks.plain_loop import seg_losses
from segcli.config import DatasetConfig, RunConfig, load_config
from segcli.datasets.open import open_dataset
from segcli.engine.evaluation.evaluate import evaluate
from segcli.engine.evaluation.scores import Scores
from segcli.engine.prediction.load import load_predictor
from segcli.engine.training.events import EpochEnded, Event, Said, Stepped
from segcli.engine.training.loop import Trainer, TrainResult, resume, train
from segcli.engine.training.precision import Precision
from segcli.errors import ModelError, SegError, UsageError
from segcli.io.bundle import load_bundle
from segcli.io.rundir import RunDir


def test_the_loop_equals_one_written_by_hand() -> None:
    ours, plain = seg_losses(50)
    assert len(ours) == 50
    assert ours == pytest.approx(plain, rel=1e-4)
    assert np.mean(ours[-5:]) < 0.8 * np.mean(ours[:5])


def test_a_run_leaves_what_the_design_says(tiny: Callable[..., RunConfig]) -> None:
    result = train(tiny(tracking={"tensorboard": True}), "a")
    names = {path.name for path in result.run.path.iterdir()}
    assert names == {
        "config.yml", "best", "last", "state", "results.csv", "results.png", "train.log", "tensorboard", "samples",
        "confusion.png",
    }  # fmt: skip
    rows = read_rows(result.run.results)
    assert list(rows[0]) == [
        "epoch", "step", "train_loss", "val_loss", "train_miou", "val_miou", "val_accuracy", "lr", "images_per_second",
        "data_wait", "left_out_steps", "val_dice", "val_iou/class_0", "val_iou/class_1", "val_iou/class_2",
    ]  # fmt: skip
    assert [row["step"] for row in rows] == ["3", "6"]
    assert any(file.stat().st_size > 100 for file in (result.run.path / "tensorboard").iterdir())


def test_a_network_learns_and_eval_gives_the_figures_of_training(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(train={"epochs": 12}, optimizer={"lr": 1e-2}, augmentation={"name": "light", "scale": [0.8, 1.2]})
    result = train(config, "a")
    assert result.scores.miou > 0.8
    predictor = load_predictor(result.run.best, "cpu")
    again = evaluate(predictor, open_dataset(config.dataset).split("val"), batch_size=2).scores
    assert np.array_equal(again.confusion, result.scores.confusion)
    assert predictor.card.metrics["val"]["miou"] == pytest.approx(result.scores.miou)


def test_validation_counts_in_no_figure_of_speed(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(trainer: Trainer) -> tuple[Scores, float]:
        time.sleep(2)
        return plain(trainer)

    plain = Trainer.validate
    monkeypatch.setattr(Trainer, "validate", slow)
    speeds: list[float] = []
    result = train(
        tiny(train={"epochs": 1}), "a", lambda e: speeds.append(e.images_per_second) if isinstance(e, Stepped) else None
    )
    assert result.rows[0]["images_per_second"] == pytest.approx(speeds[-1], rel=0.2)


class Stopped(Exception):
    pass


def losses_of(run: Callable[[Callable[[Event], None]], TrainResult], stop_behind: int | None = None) -> list[float]:
    found: list[float] = []

    def observe(event: Event) -> None:
        if isinstance(event, Stepped):
            found.append(event.loss)
        if isinstance(event, EpochEnded) and event.row["epoch"] == stop_behind:
            raise Stopped

    with contextlib.suppress(Stopped):
        run(observe)
    return found


def test_a_resumed_run_equals_one_that_never_stopped(tiny: Callable[..., RunConfig]) -> None:
    # FPN has dropout, so the generators' state matters too.
    config = tiny(
        model_name="FPN", model={"encoder_depth": 4, "decoder_channels": 32},
        train={"epochs": 3, "workers": 1}, augmentation="medium",
    )  # fmt: skip
    whole = losses_of(lambda observe: train(config, "whole", observe))
    first = losses_of(lambda observe: train(config, "stopped", observe), stop_behind=1)
    torch.manual_seed(123)
    run = RunDir(config.output_dir / "stopped")
    assert run.curves.is_file()  # drawn now and then, and whenever a training ends
    second = losses_of(lambda observe: resume(run, config, observe))
    assert first + second == whole
    weights = [load_bundle(config.output_dir / name / "last")[0].state_dict() for name in ("whole", "stopped")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    rows = [read_rows(config.output_dir / name / "results.csv") for name in ("whole", "stopped")]
    assert [row["val_miou"] for row in rows[0]] == [row["val_miou"] for row in rows[1]]
    with pytest.raises(UsageError, match="is finished"):
        resume(run, config)


def test_resume_is_refused_when_the_data_changed_or_no_state_is_whole(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(train={"epochs": 2})
    losses_of(lambda observe: train(config, "a", observe), stop_behind=1)
    run = RunDir(config.output_dir / "a")
    assert config.dataset.train_images_dir is not None
    write_pairs(config.dataset.train_images_dir.parent, 1, start=50)
    with pytest.raises(UsageError, match="has changed since it stopped"):
        resume(run, config)
    for state in run.state.glob("*/state.pt"):
        os.truncate(state, 10)
    with pytest.raises(ModelError, match="no whole training state"):
        resume(run, config)


def test_two_classes_train_with_one_channel(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    for split, start in (("train", 0), ("val", 50)):
        write_pairs(tmp_path / "two" / split, 4, start=start, values=(0, 255, 255))
    folders = {f"{s}_{k}_dir": str(tmp_path / "two" / s / k) for s in ("train", "val") for k in ("images", "masks")}
    config = tiny(train={"epochs": 20}, optimizer={"lr": 1e-2})
    config = config.model_copy(update={"dataset": type(config.dataset)(**folders, map={255: 1})})
    result = train(config, "two")
    network, card = load_bundle(result.run.best)
    assert network.model.segmentation_head[0].out_channels == 1
    assert card.task.num_classes == 2
    assert result.scores.miou > 0.7


def test_max_steps_cuts_the_schedule_too(tiny: Callable[..., RunConfig]) -> None:
    rates: list[float] = []
    config = tiny(train={"epochs": 9, "max_steps": 4})
    train(config, "a", lambda event: rates.append(event.lr) if isinstance(event, Stepped) else None)
    assert len(rates) == 4
    assert rates[-1] < 1e-6


def test_early_stopping_says_why(tiny: Callable[..., RunConfig]) -> None:
    said: list[str] = []
    config = tiny(train={"epochs": 9}, early_stopping={"patience": 2, "min_delta": 1.0})
    result = train(config, "a", lambda event: said.append(event.text) if isinstance(event, Said) else None)
    assert len(result.rows) == 3
    assert "stopped early" in said[-1]


def test_a_loss_that_is_no_number_stops_the_run(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(optimizer={"name": "sgd", "lr": 1e30}, scheduler="constant", train={"epochs": 5})
    with pytest.raises(SegError, match=r"the loss is (nan|inf) at step \d+; lower optimizer.lr"):
        train(config, "a")


def test_precision_and_device_that_are_not_there_are_refused(tiny: Callable[..., RunConfig]) -> None:
    with pytest.raises(UsageError, match="precision fp16 trains on cuda only"):
        train(tiny(precision="fp16"), "a")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device cuda is not available"):
            train(tiny(device="cuda"), "a")


def test_bf16_trains(tiny: Callable[..., RunConfig]) -> None:
    assert np.isfinite(train(tiny(precision="bf16", train={"epochs": 1}), "a").rows[-1]["train_loss"])


def test_a_batch_of_one_is_refused_where_it_cannot_be_normalised(tiny: Callable[..., RunConfig]) -> None:
    with pytest.raises(UsageError, match=r"cannot train on a batch of 1: set train.batch_size to 2 or more"):
        train(
            tiny(model_name="DeepLabV3", model={"encoder_depth": 5, "decoder_channels": 16}, train={"batch_size": 1}),
            "a",
        )


def test_a_prepared_dataset_resumes_from_its_own_config(tiny: Callable[..., RunConfig]) -> None:
    config = tiny().model_copy(update={"dataset": DatasetConfig(embedded="shapes")})
    config = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 2, "batch_size": 96})})
    losses_of(lambda observe: train(config, "a", observe), stop_behind=1)
    run = RunDir(config.output_dir / "a")
    assert len(resume(run, load_config(run.config)).rows) == 2


def fused(trainer: Trainer) -> None:
    """Lets a training on a CPU decide as on a GPU, on the device: by an optimiser of one kernel."""
    for group in trainer.parts.optimizer.param_groups:
        group["fused"] = True


@pytest.mark.parametrize("decide", [lambda trainer: None, fused], ids=["on the host", "on the device"])
def test_a_step_without_finite_numbers_is_left_out_and_counted(
    tiny: Callable[..., RunConfig], decide: Callable[[Trainer], None]
) -> None:
    """The logits of step 2 are made infinite: the weights stay as they were, and the run goes on."""
    said: list[str] = []
    trainer = Trainer(
        tiny(train={"epochs": 1}), open_dataset(tiny().dataset),
        lambda event: said.append(event.text) if isinstance(event, Said) else None,
    )  # fmt: skip
    decide(trainer)
    weights: list[torch.Tensor] = []

    def spoil(module: torch.nn.Module, inputs: object, logits: torch.Tensor) -> torch.Tensor:
        weights.append(trainer.parts.network.model.segmentation_head[0].weight.detach().clone())
        return logits * (math.inf if len(weights) == 2 else 1)

    trainer.parts.network.register_forward_hook(spoil)
    trained = trainer.train_epoch()
    assert [torch.equal(*pair) for pair in pairwise(weights)] == [False, True]
    assert said == ["the loss is nan at step 2; the step is left out"]
    assert trained.left_out == 1
    assert math.isfinite(trained.mean_loss())


def test_gradients_are_clipped_to_a_norm() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    precision = Precision("fp32", torch.device("cpu"))

    def step(loss: torch.Tensor) -> tuple[bool, bool]:
        optimizer.zero_grad()
        precision.backward(loss)
        taken, fault = precision.step(optimizer, loss.detach(), largest_norm=1.0)
        return bool(taken), bool(fault)

    assert step((weight * weight).sum() / 2) == (True, False)
    torch.testing.assert_close(weight.detach(), torch.tensor([3 - 0.6, 4 - 0.8]))
    assert step((weight * math.nan).sum()) == (False, True)
    torch.testing.assert_close(weight.detach(), torch.tensor([3 - 0.6, 4 - 0.8]))


@pytest.mark.parametrize(
    ("option", "moves", "stays"),
    [
        ("freeze_encoder", "model.decoder", "model.encoder"),
        ("freeze_batch_norm", "weight", "running_mean"),
    ],
)
def test_what_is_frozen_stays_for_the_first_epochs(
    tiny: Callable[..., RunConfig], option: str, moves: str, stays: str
) -> None:
    states: list[dict[str, torch.Tensor]] = []
    config = tiny(train={"epochs": 2, option: 1})
    trainer = Trainer(config, open_dataset(config.dataset), lambda event: None)

    def copy() -> None:
        states.append({name: value.clone() for name, value in trainer.parts.network.state_dict().items()})

    copy()
    for _ in range(2):
        trainer.train_epoch()
        trainer.progress.epoch, trainer.progress.step_in_epoch = trainer.progress.epoch + 1, 0
        copy()

    def moved(part: str, epoch: int) -> list[bool]:
        return [not torch.equal(states[epoch][name], states[epoch + 1][name]) for name in states[0] if part in name]

    assert not any(moved(stays, 0))
    assert any(moved(moves, 0))
    assert any(moved(stays, 1))


def test_a_run_with_frozen_parts_resumes_exactly(tiny: Callable[..., RunConfig]) -> None:
    parts = {"train": {"epochs": 3, "freeze_encoder": 2}}
    whole = train(tiny(**parts), "whole")

    def stop(event: Event) -> None:
        if isinstance(event, EpochEnded):
            raise KeyboardInterrupt

    config = tiny(**parts)
    with contextlib.suppress(KeyboardInterrupt):
        train(config, "broken", stop)
    resumed = resume(RunDir(Path(config.output_dir) / "broken"), config)
    assert [row["train_loss"] for row in resumed.rows] == [row["train_loss"] for row in whole.rows]


def test_epochs_between_validations_are_trained_and_saved_alone(tiny: Callable[..., RunConfig]) -> None:
    result = train(tiny(train={"epochs": 5}, val={"every_epochs": 2}), "a")
    assert [row["val_miou"] is not None for row in result.rows] == [True, True, False, True, True]
    rows = read_rows(result.run.results)
    assert [row["val_loss"] != "" for row in rows] == [True, True, False, True, True]
    assert all(row["train_loss"] for row in rows)
    best = max((row for row in result.rows if row["val_miou"] is not None), key=lambda row: row["val_miou"])
    assert result.scores.miou == best["val_miou"]
    assert result.run.curves.is_file()
