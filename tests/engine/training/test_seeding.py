from collections.abc import Callable, Iterator

import pytest
import torch

from segcli.config import RunConfig
from segcli.engine.training.loop import train
from segcli.engine.training.seeding import repeat_exactly
from segcli.io.bundle import load_bundle


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    repeat_exactly(False)


def test_kernels_that_repeat_themselves_are_asked_for_and_given_up_again() -> None:
    repeat_exactly(True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    repeat_exactly(False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only GPUs need to be asked to repeat themselves")
@pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation")
def test_a_gpu_repeats_a_run_to_the_last_bit(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(device="cuda", train={"deterministic": True})
    first, second = (load_bundle(train(config, name).run.last)[0].state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
