import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.training.events import Event, Said
from segcli.engine.training.loop import Trainer
from segcli.engine.training.precision import Precision
from segcli.errors import SegError

Make = Callable[..., RunConfig]


def trainer_of(config: RunConfig, observe: Callable[[Event], None] = lambda event: None) -> Trainer:
    return Trainer(config, open_dataset(config.dataset), observe)


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


def test_an_average_is_never_poisoned(tiny: Make) -> None:
    """A step without finite numbers moves neither the weights nor their average."""
    trainer = trainer_of(tiny(ema={"decay": 0.5}))
    before = copy.deepcopy(trainer.parts.shown_network.state_dict())
    with torch.no_grad():
        head = trainer.parts.network.model.segmentation_head[0]
        head.bias.fill_(float("nan"))
    trained = trainer.train_epoch()
    assert trained.left_out == 3
    after = trainer.parts.shown_network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_running_means_are_never_poisoned(tiny: Make) -> None:
    """A weight before the norms overflows for one step: neither the network's nor the average's running means move."""
    trainer = trainer_of(tiny(ema={"decay": 0.5}, train={"batch_size": 6}))
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


def test_what_does_not_fit_is_cut_evenly_and_never_into_single_crops_before_it_must(tiny: Make) -> None:
    stepper = trainer_of(tiny(train={"batch_size": 8})).stepper
    sizes = {
        (splits, number): [len(images) for images, _ in stepper._parts((torch.zeros(number), torch.zeros(number)))]
        for splits, number in ((1, 8), (2, 8), (2, 3), (2, 5), (4, 8), (4, 3), (4, 5), (8, 3))
        if setattr(stepper, "splits", splits) is None
    }
    assert sizes == {
        (1, 8): [8], (2, 8): [4, 4], (2, 3): [3], (2, 5): [3, 2], (4, 8): [2, 2, 2, 2], (4, 3): [3], (4, 5): [3, 2],
        (8, 3): [1, 1, 1],
    }  # fmt: skip


def test_memory_that_the_optimiser_lacks_ends_in_one_line(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> bool:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Precision, "step", full)
    with pytest.raises(SegError, match="out of memory; lower train.batch_size"):
        trainer_of(tiny()).train_epoch()


def test_a_batch_without_valid_pixels_is_harmless(tiny: Make) -> None:
    trainer = trainer_of(tiny(loss={"name": "sum", "terms": [{"name": "cross_entropy"}, {"name": "dice"}]}))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    ignored = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    assert trainer.try_step([(images, ignored)], 0) == 0.0
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
    assert trainer.try_step([(images, masks)], 0) == pytest.approx(float(expected), rel=0.05)  # dropout in the head
