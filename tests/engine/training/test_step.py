import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.training.batches import Batch
from segcli.engine.training.events import Event, Said
from segcli.engine.training.loop import Trainer
from segcli.engine.training.precision import Precision
from segcli.engine.training.step import count_pixels
from segcli.errors import SegError

Make = Callable[..., RunConfig]


def trainer_of(config: RunConfig, observe: Callable[[Event], None] = lambda event: None) -> Trainer:
    return Trainer(config, open_dataset(config.dataset), observe)


def batch_of(trainer: Trainer, images: Tensor, masks: Tensor) -> Batch:
    return Batch(images, masks, trainer.parts.loss.masses(masks))


def gradients(trainer: Trainer) -> list[Tensor]:
    """Those of the first step, which frozen batch norms leave a function of the step's crops alone."""
    seen: list[list[Tensor]] = []
    parameters = list(trainer.parts.network.parameters())

    def note(*arguments: object) -> None:
        seen.append([parameter.grad.clone() for parameter in parameters if parameter.grad is not None])

    trainer.parts.optimizer.register_step_pre_hook(note)
    trainer.train_epoch()
    return seen[0]


def test_accumulated_batches_give_the_gradients_of_the_whole(tiny: Make) -> None:
    """With cross-entropy, whose mean is over the step's valid pixels, however they lie in the micro-batches."""
    parts = {
        "epochs": 1, "max_steps": 1, "freeze_batch_norm": 1, "image_size": 64,  # larger than the images: much ignored
    }  # fmt: skip
    augmentation = {"name": "light", "scale": [0.3, 1.0]}
    whole = gradients(trainer_of(tiny(train={**parts, "batch_size": 4}, augmentation=augmentation, precision="fp32")))
    split = gradients(
        trainer_of(tiny(train={**parts, "batch_size": 1, "accumulate": 4}, augmentation=augmentation, precision="fp32"))
    )
    assert len(whole) == len(split) > 20
    for expected, found in zip(whole, split, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def with_room_for(trainer: Trainer, crops: int) -> list[int]:
    """Makes the network run out of memory with more crops at a time; gives the numbers it saw."""
    seen: list[int] = []

    def look(module: object, inputs: tuple[Tensor]) -> None:
        seen.append(len(inputs[0]))
        if len(inputs[0]) > crops:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    trainer.parts.network.register_forward_pre_hook(look)
    return seen


def test_out_of_memory_goes_on_with_smaller_micro_batches_of_the_same_step(tiny: Make) -> None:
    parts = {"epochs": 1, "max_steps": 1, "freeze_batch_norm": 1, "batch_size": 4}
    config = tiny(train=parts, precision="fp32")
    whole = gradients(trainer_of(config))
    said: list[str] = []
    trainer = trainer_of(config, lambda event: said.append(event.text) if isinstance(event, Said) else None)
    seen = with_room_for(trainer, 1)
    split = gradients(trainer)
    assert seen == [4, 2, 1, 1, 1, 1]
    assert said[0].startswith("out of memory with 4 crops at a time; going on with 2")
    assert said[1].startswith("out of memory with 2 crops at a time; going on with 1")
    for expected, found in zip(whole, split, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert trainer.state()["splits"] == 4


def test_where_not_one_crop_fits_the_cure_is_named(tiny: Make) -> None:
    trainer = trainer_of(tiny())
    with_room_for(trainer, 0)
    with pytest.raises(SegError, match="out of memory with one crop at a time; lower train.image_size"):
        trainer.train_epoch()


def test_other_errors_are_not_taken_for_want_of_memory(tiny: Make) -> None:
    trainer = trainer_of(tiny())

    def fail(module: object, inputs: object) -> None:
        raise RuntimeError("shape mismatch")

    trainer.parts.network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        trainer.train_epoch()


def by_a_flag(trainer: Trainer) -> None:
    """Lets a training on a CPU decide as on a GPU: by an optimiser of one kernel, which leaves out a step by itself."""
    for group in trainer.parts.optimizer.param_groups:
        group["fused"] = True


def undone(trainer: Trainer) -> None:
    """Lets a training on a CPU decide as on a GPU with any other optimiser: what it did is undone."""
    trainer.parts.precision.may_wait = False


HOST = pytest.param(lambda trainer: None, id="on the host")
FLAG, UNDONE = pytest.param(by_a_flag, id="by a flag"), pytest.param(undone, id="undone")
decided = pytest.mark.parametrize("decide", [HOST, FLAG, UNDONE])


@decided
def test_an_average_is_never_poisoned(tiny: Make, decide: Callable[[Trainer], None]) -> None:
    """A step without finite numbers moves neither the weights nor their average."""
    trainer = trainer_of(tiny(ema={"decay": 0.5}))
    decide(trainer)
    before = copy.deepcopy(trainer.parts.shown_network.state_dict())
    with torch.no_grad():
        head = trainer.parts.network.model.segmentation_head[0]
        head.bias.fill_(float("nan"))
    trained = trainer.train_epoch()
    assert trained.left_out == 3
    after = trainer.parts.shown_network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@decided
def test_running_means_are_never_poisoned(tiny: Make, decide: Callable[[Trainer], None]) -> None:
    """A weight before the norms overflows for one step: neither the network's nor the average's running means move."""
    trainer = trainer_of(tiny(ema={"decay": 0.5}, train={"batch_size": 6}))
    decide(trainer)
    first = trainer.parts.network.model.encoder.conv1.weight
    good = first.detach().clone()
    with torch.no_grad():
        first[0, 0, 0, 0] = float("inf")
    assert trainer.train_epoch().left_out == 1
    with torch.no_grad():
        first.copy_(good)
    trainer.progress.epoch, trainer.progress.step_in_epoch = 1, 0
    assert trainer.train_epoch().left_out == 0
    for network in (trainer.parts.network, trainer.parts.shown_network):
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    assert trainer.validate()[0].confusion.sum() > 0


@pytest.mark.parametrize(
    ("optimizer", "decide"),
    [
        ("adamw", by_a_flag), ("sgd", by_a_flag), ("adam", by_a_flag),
        ("muon", undone), ("lion", undone), ("sgd", undone), ("muon", lambda trainer: None),
    ],
)  # fmt: skip
def test_a_step_left_out_leaves_no_trace(tiny: Make, optimizer: str, decide: Callable[[Trainer], None]) -> None:
    """The very first step is poisoned, when the optimiser has no state yet: what follows is as if it had not been."""
    states = []
    for poisoned in (True, False):
        trainer = trainer_of(tiny(optimizer=optimizer, scheduler="constant", precision="fp32"))
        decide(trainer)
        trainer.stepper.begin_epoch(0)
        first, second, third = trainer.parts.batches.epoch(0)
        if poisoned:
            poison = trainer.parts.network.model.encoder.conv1.register_forward_hook(
                lambda module, inputs, features: features * float("nan")
            )
            assert trainer.stepper.step(first, first[0].masses, 0).fault
            poison.remove()
        for number, batches in enumerate((second, third), 1):
            assert not trainer.stepper.step(batches, batches[0].masses, number).fault
        states.append(trainer.state())
    torch.testing.assert_close(states[0]["network"], states[1]["network"], rtol=0, atol=0)
    torch.testing.assert_close(states[0]["optimizer"]["state"], states[1]["optimizer"]["state"], rtol=0, atol=0)


def test_what_does_not_fit_is_cut_evenly_and_never_into_single_crops_before_it_must(tiny: Make) -> None:
    def sizes(splits: int, number: int) -> list[int]:
        trainer = trainer_of(tiny(train={"batch_size": 8, "freeze_batch_norm": 1}))
        trainer.stepper.splits = splits
        seen = with_room_for(trainer, 8)
        images = torch.randint(0, 256, (number, 3, 32, 32), dtype=torch.uint8)
        trainer.try_step([batch_of(trainer, images, torch.zeros(number, 32, 32, dtype=torch.uint8))], 0)
        return seen

    found = {(s, n): sizes(s, n) for s, n in ((1, 8), (2, 8), (2, 3), (2, 5), (4, 8), (4, 3), (4, 5), (8, 3))}
    assert found == {
        (1, 8): [8], (2, 8): [4, 4], (2, 3): [3], (2, 5): [3, 2], (4, 8): [2, 2, 2, 2], (4, 3): [3], (4, 5): [3, 2],
        (8, 3): [1, 1, 1],
    }  # fmt: skip


class Full(torch.optim.SGD):
    """An optimiser whose state does not fit into memory."""

    def step(self, closure: object = None) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_memory_that_the_optimiser_lacks_ends_in_one_line(tiny: Make) -> None:
    trainer = trainer_of(tiny())
    trainer.stepper.optimizer = Full(trainer.parts.network.parameters())
    with pytest.raises(SegError, match="out of memory; lower train.batch_size"):
        trainer.train_epoch()


@pytest.mark.parametrize("lanes", [1, 64])
@pytest.mark.parametrize("num_classes", [2, 300])
def test_pixels_are_counted_by_true_and_predicted_class(num_classes: int, lanes: int) -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, num_classes, (2, 5, 70))
    masks[0, 0, :7] = 65535
    logits = rng.normal(size=(2, num_classes, 5, 70)).astype(np.float32)
    expected = np.zeros(num_classes**2 + 1, np.int64)
    for truth, predicted in zip(masks.flat, logits.argmax(1).flat, strict=True):
        expected[-1 if truth == 65535 else truth * num_classes + predicted] += 1
    counted = count_pixels(torch.from_numpy(logits), torch.from_numpy(masks), 65535, lanes)
    assert counted.dtype == torch.int64
    assert np.array_equal(counted.numpy(), expected)


def test_a_batch_without_valid_pixels_is_harmless(tiny: Make) -> None:
    trainer = trainer_of(tiny(loss={"name": "sum", "terms": [{"name": "cross_entropy"}, {"name": "dice"}]}))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    ignored = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    assert trainer.try_step([batch_of(trainer, images, ignored)], 0) == 0.0
    assert all(parameter.isfinite().all() for parameter in trainer.parts.network.parameters())


def test_a_network_that_does_not_compile_trains_as_it_is(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: torch.nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(images: Tensor) -> Tensor:
            raise torch._dynamo.exc.TorchDynamoException("no C++ compiler found")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    said: list[str] = []
    config = tiny(train={"compile": True, "epochs": 1})
    trainer = trainer_of(config, lambda event: said.append(event.text) if isinstance(event, Said) else None)
    plain = trainer_of(tiny(train={"epochs": 1}))
    assert trainer.train_epoch().mean_loss() == plain.train_epoch().mean_loss()
    assert said == [
        "torch.compile failed (no C++ compiler found); going on without it: same figures, at the usual speed"
    ]


def test_the_auxiliary_head_adds_its_weighted_loss(tiny: Make) -> None:
    """The same initial weights: the loss with the head is larger by its share, which a weight of 0 would leave out."""
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    masks = torch.randint(0, 3, (2, 32, 32))
    trainer = trainer_of(tiny(model={"auxiliary": 0.4}))
    network = trainer.parts.network.train()
    with torch.no_grad():
        logits, auxiliary = copy.deepcopy(network)(images.contiguous(memory_format=torch.channels_last))
        expected = trainer.parts.loss(logits, masks) + 0.4 * trainer.parts.loss(auxiliary, masks)
    torch.manual_seed(0)
    assert trainer.try_step([batch_of(trainer, images, masks)], 0) == pytest.approx(
        float(expected), rel=0.05
    )  # dropout in the head


class Overflowing:
    """One weight w, trained in fp16 along the gradient of w · (factor in fp16): scaled by 65536, 2 and more overflow."""

    def __init__(self) -> None:
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1)
        self.precision = Precision("fp16", torch.device("cpu"))

    def step(self, factor: float) -> tuple[bool, bool]:
        """Whether the step was taken, and whether it was a fault."""
        self.optimizer.zero_grad()
        loss = (self.weight.half() * factor).float()
        self.precision.backward(loss)
        taken, fault = self.precision.step(self.optimizer, loss.detach())
        return bool(taken), bool(fault)


@pytest.mark.parametrize("fused", [False, True])
def test_the_back_off_of_the_scaler_is_no_fault(fused: bool) -> None:
    trained = Overflowing()
    trained.optimizer.param_groups[0]["fused"] = fused
    assert trained.step(4.0) == (False, False)  # 4 × 65536 is too much for 16 bits, as are 4 × 32768 and 4 × 16384
    assert trained.step(4.0) == (False, False)
    assert trained.step(4.0) == (False, False)
    assert trained.weight == 1
    assert trained.step(4.0) == (True, False)
    torch.testing.assert_close(trained.weight.detach(), torch.tensor(0.6))


def test_a_loss_that_is_not_finite_is_a_fault_in_fp16_too() -> None:
    trained = Overflowing()
    assert trained.step(float("inf")) == (False, True)
    assert trained.weight == 1


def test_a_scale_that_has_fallen_to_nothing_is_a_fault() -> None:
    trained = Overflowing()
    trained.weight.register_hook(lambda gradient: gradient * float("nan"))  # at any scale
    faults = [trained.step(1.0)[1] for _ in range(20)]
    assert faults == [False] * 16 + [True] * 4  # 65536 halved 17 times is below 1


def test_twelve_back_offs_in_a_row_go_by_without_a_word(tiny: Make) -> None:
    said: list[str] = []
    config = tiny(train={"epochs": 2, "batch_size": 1, "image_size": 16})
    trainer = trainer_of(config, lambda event: said.append(event.text) if isinstance(event, Said) else None)
    scaler = Precision("fp16", torch.device("cpu"))
    scaler.scaler.load_state_dict({**scaler.scaler.state_dict(), "scale": 2.0**60})
    trainer.stepper.precision = scaler
    before = copy.deepcopy(trainer.parts.network.state_dict())
    for _ in range(2):
        trained = trainer.train_epoch()
        trainer.progress.epoch, trainer.progress.step_in_epoch = trainer.progress.epoch + 1, 0
        assert (trained.left_out, trainer.progress.left_out) == (0, 0)
    assert scaler.scaler.get_scale() == 2.0**48
    torch.testing.assert_close(trainer.parts.network.state_dict(), before, rtol=0, atol=0)
    assert said == []
