from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from segcli.datasets.layouts.base import Pair
from segcli.datasets.layouts.splits import Dealt, deal, pick
from segcli.errors import DataError, UsageError


def items(number: int, classes: dict[str, set[int]] | None = None) -> list[Dealt]:
    names = [f"{index:03d}" for index in range(number)]
    return [
        Dealt(Pair(name, Path(f"{name}.jpg"), None), frozenset((classes or {}).get(name, {0})), content=name)
        for name in names
    ]


def names(splits: dict[str, list[Pair]]) -> dict[str, list[str]]:
    return {split: [pair.name for pair in pairs] for split, pairs in splits.items()}


def test_shares_and_seed_decide(tmp_path: Path) -> None:
    dealt = deal(items(20), (0.6, 0.2, 0.2), seed=1)
    assert {split: len(pairs) for split, pairs in dealt.items()} == {"train": 12, "val": 4, "test": 4}
    assert sorted(name for found in names(dealt).values() for name in found) == [f"{index:03d}" for index in range(20)]
    assert deal(items(20), (3, 1, 1), seed=1) == dealt
    assert deal(items(20), (0.6, 0.2, 0.2), seed=2) != dealt
    assert deal(items(20)[::-1], (0.6, 0.2, 0.2), seed=1) == dealt


@pytest.mark.parametrize("ratios", [(1.0, 0.0), (1.0,), (-1.0, 2.0), (0.0, 0.0)])
def test_ratios_that_make_no_splits_are_refused(ratios: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="--ratios"):
        deal(items(20), ratios, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_each_class_comes_to_each_split_by_its_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frequency = [1.0, 0.5, 0.1, 0.04]  # of classes 0…3 in 500 images
    classes = {f"{i:03d}": {c for c in range(4) if rng.random() < frequency[c]} for i in range(500)}
    dealt = deal(items(500, classes), (0.7, 0.2, 0.1), seed)
    total = Counter(index for held in classes.values() for index in held)
    for split, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
        assert len(dealt[split]) == pytest.approx(500 * share, abs=3)
        held = Counter(index for pair in dealt[split] for index in classes[pair.name])
        for index in range(4):
            assert held[index] == pytest.approx(total[index] * share, abs=1.5), (split, index)


@pytest.mark.parametrize("number", range(3, 7))
@pytest.mark.parametrize("seed", range(4))
def test_few_groups_come_to_every_split(number: int, seed: int) -> None:
    frames = [
        Dealt(Pair(f"clip{clip}_{frame}", Path("x"), None), frozenset({0, clip % 2}))
        for clip in range(number)
        for frame in range(4 + clip)
    ]
    dealt = deal(frames, (0.8, 0.1, 0.1), seed, group_by=r"^[^_]+")
    clips = {split: {name.split("_")[0] for name in found} for split, found in names(dealt).items()}
    assert min(len(found) for found in clips.values()) >= 1
    assert len(clips["train"]) == max(len(found) for found in clips.values())
    assert sum(len(found) for found in clips.values()) == number
    assert deal(frames[::-1], (0.8, 0.1, 0.1), seed, group_by=r"^[^_]+") == dealt


def test_a_split_that_would_be_empty_gets_the_group_that_fits_best() -> None:
    sizes = {"a": 30, "b": 2, "c": 40, "d": 28}
    frames = [Dealt(Pair(f"{clip}_{frame}", Path("x"), None)) for clip, size in sizes.items() for frame in range(size)]
    for seed in range(6):
        dealt = names(deal(frames, (0.68, 0.3, 0.02), seed, group_by=r"^[^_]+"))
        assert len(dealt["test"]) == 2, seed


def test_groups_stay_together() -> None:
    frames = [
        Dealt(Pair(f"video{video}_{frame}", Path("x"), None)) for video in range(10) for frame in range(video + 1)
    ]
    dealt = names(deal(frames, (0.7, 0.3), seed=3, group_by=r"^[^_]+"))
    videos = {split: {name.split("_")[0] for name in found} for split, found in dealt.items()}
    assert not videos["train"] & videos["val"]
    assert len(dealt["val"]) == pytest.approx(0.3 * len(frames), abs=5)
    by_group = deal(frames, (0.7, 0.3), seed=3, group_by=r"video(\d)")
    assert names(by_group) == dealt


def test_copies_of_an_image_stay_together() -> None:
    copies = [Dealt(Pair(f"{index:02d}", Path("x"), None), content=str(index // 4)) for index in range(40)]
    dealt = names(deal(copies, (0.5, 0.5), seed=0))
    assert not {int(name) // 4 for name in dealt["train"]} & {int(name) // 4 for name in dealt["val"]}


def test_a_wrong_expression_is_named() -> None:
    with pytest.raises(UsageError, match=r"--group-by \(: no regular expression"):
        deal(items(4), (0.5, 0.5), 0, group_by="(")


def write_lists(folder: Path, **lists: str) -> dict[str, Path]:
    files = {}
    for split, text in lists.items():
        files[split] = folder / f"{split}.txt"
        files[split].write_text(text)
    return files


def test_lists_of_names_decide(tmp_path: Path) -> None:
    pairs = [item.pair for item in items(6)]
    files = write_lists(tmp_path, train="000.jpg 1\n\n002\n", val="images/004.jpg\n")
    assert names(pick(pairs, files)) == {"train": ["000", "002"], "val": ["004"]}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "000\n", "val": "nothing\n"}, "val.txt:1 lists nothing, but there is no such image"),
        ({"train": "000\n", "val": "001\n000\n"}, r"val.txt:2 lists 000, which train \(train.txt\) has already"),
    ],
)
def test_wrong_lists_are_named(tmp_path: Path, lists: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pick([item.pair for item in items(6)], write_lists(tmp_path, **lists))


def test_missing_lists_are_named(tmp_path: Path) -> None:
    pairs = [item.pair for item in items(6)]
    with pytest.raises(UsageError, match="--split-file val=FILE is missing"):
        pick(pairs, write_lists(tmp_path, train="000\n"))
    with pytest.raises(DataError, match="nothing.txt: no such file"):
        pick(pairs, {"train": tmp_path / "nothing.txt"})


def test_lists_may_hold_spaces_and_a_byte_order_mark(tmp_path: Path) -> None:
    pairs = [Pair(name, Path(f"{name}.jpg"), None) for name in ("my cat", "b", "c")]
    (tmp_path / "train.txt").write_text("my cat.jpg\nb extra words\n", encoding="utf-8-sig")
    (tmp_path / "val.txt").write_text("c\n")
    files = {split: tmp_path / f"{split}.txt" for split in ("train", "val")}
    assert names(pick(pairs, files)) == {"train": ["my cat", "b"], "val": ["c"]}


def test_lists_of_nested_names_take_no_image_of_another_folder(tmp_path: Path) -> None:
    pairs = [Pair(name, Path(f"{name}.jpg"), None) for name in ("day/a", "day/b", "a")]
    (tmp_path / "train.txt").write_text("night/a\n")
    with pytest.raises(DataError, match="lists night/a, but there is no such image"):
        pick(pairs, {"train": tmp_path / "train.txt"})


def test_a_split_that_would_be_empty_is_told() -> None:
    frames = [Dealt(Pair(f"clip{index // 20}_{index}", Path("x"), None)) for index in range(40)]
    with pytest.raises(UsageError, match="leaves test empty, of 40 pairs in 2 groups"):
        deal(frames, (0.7, 0.2, 0.1), 0, group_by="clip.")
