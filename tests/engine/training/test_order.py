from collections import Counter
from itertools import chain

import pytest

from segcli.engine.training.order import ANY, Deal, Order, Turn


def epoch(deal: Deal, num_samples: int, number: int = 0) -> list[list[list[Turn]]]:
    """The micro-batches of each step of an epoch."""
    turns = Order(num_samples, 0).turns(number)
    return [[list(part) for part in deal.micro_batches(turns, step)] for step in range(deal.num_steps(num_samples))]


def sizes(deal: Deal, num_samples: int) -> list[list[int]]:
    return [[len(part) for part in step] for step in epoch(deal, num_samples)]


def test_every_sample_has_its_turn_once_an_epoch() -> None:
    for number in range(3):
        turns = list(chain.from_iterable(chain.from_iterable(epoch(Deal(4), 10, number))))
        assert sorted(turn.index for turn in turns) == list(range(10))
        assert [turn.place for turn in turns] == list(range(10))
    assert [turn.index for turn in Order(10, 0).turns(0)] != [turn.index for turn in Order(10, 0).turns(1)]
    assert [turn.index for turn in Order(10, 0).turns(0)] != [turn.index for turn in Order(10, 1).turns(0)]


@pytest.mark.parametrize(
    ("deal", "num_samples", "expected"),
    [
        (Deal(4), 10, [[4], [4], [2]]),
        (Deal(4), 9, [[4], [4]]),  # a batch of one cannot be normalised
        (Deal(4), 1, [[1]]),  # unless there is no other
        (Deal(1), 3, [[1], [1], [1]]),
        (Deal(4, accumulate=2), 13, [[4, 4], [2, 3]]),
        (Deal(4, accumulate=2), 12, [[4, 4], [4]]),
        (Deal(2, accumulate=2), 7, [[2, 2], [2]]),  # pairs would leave one over
        (Deal(4, rank=0, processes=2), 13, [[4], [2]]),
        (Deal(4, rank=1, processes=2), 13, [[4], [3]]),
        (Deal(4, rank=1, processes=2), 11, [[4]]),  # not two for each
        (Deal(4, 2, 0, 2), 25, [[4, 4], [2, 2]]),
        (Deal(4, 2, 1, 2), 25, [[4, 4], [2, 3]]),  # as many micro-batches as the other process
        (Deal(1, rank=1, processes=3), 5, [[1]]),
        (Deal(4, rank=1, processes=2), 2, [[1]]),
        (Deal(4, processes=2), 1, []),
    ],
)  # fmt: skip
def test_steps_by_hand(deal: Deal, num_samples: int, expected: list[list[int]]) -> None:
    assert sizes(deal, num_samples) == expected


@pytest.mark.parametrize("num_samples", [48, 52, 54, 58])
def test_the_effective_batch_is_the_same_however_it_is_dealt(num_samples: int) -> None:
    whole = [list(chain(*step)) for step in epoch(Deal(12), num_samples)]
    assert [list(chain(*step)) for step in epoch(Deal(3, accumulate=4), num_samples)] == whole
    ranks = [epoch(Deal(3, 2, rank, 2), num_samples) for rank in range(2)]
    assert [list(chain(*first, *second)) for first, second in zip(*ranks, strict=True)] == whole


def test_a_share_of_the_turns_goes_to_classes_alike() -> None:
    order = Order(1000, 0, 0.4, [[3], [], [5, 6]])
    turns = order.turns(0)
    given = [turn for turn in turns if turn.wanted != ANY]
    assert len(given) == 400
    assert all(sum(turn.wanted != ANY for turn in turns[start : start + 10]) == 4 for start in range(0, 1000, 10))
    assert {(turn.wanted, turn.index) for turn in given} == {(0, 3), (2, 5), (2, 6)}
    counts = Counter(turn.wanted for turn in given)
    assert counts[0] == pytest.approx(200, abs=30)
    in_turn = [turn.index for turn in turns if turn.wanted == ANY]
    assert len(set(in_turn)) == 600
    assert order.turns(0) == turns != order.turns(1)
