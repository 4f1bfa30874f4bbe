"""A source that has been looked at: its classes and splits are settled, and what is wrong with it is known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from segcli.components.class_weights import ClassFigures
from segcli.datasets.check.alike import nearest_alike
from segcli.datasets.check.ignored import odd_ignored
from segcli.datasets.check.kinds import refuse_errors
from segcli.datasets.check.scan import Look, LookCache, Looks, Seen, inspect, seen_pairs
from segcli.datasets.dataset import SPLITS, FileSample, Sample
from segcli.datasets.encoding import MaskEncoding, MaskValues, infer_encoding, looks_lossy, unknown_values
from segcli.datasets.layouts.base import UNDEALT, Finding, Options, Pair, Source
from segcli.datasets.layouts.splits import DEFAULT_RATIOS, Dealt, deal, pick
from segcli.errors import DataError, FileProblem, UsageError
from segcli.parallel import Progress, silent


@dataclass(frozen=True)
class Survey:
    """A source and what was seen of it."""

    source: Source  # with its splits dealt
    encoding: MaskEncoding | None  # what the values of its masks mean; None where they do not tell
    looks: Looks
    findings: Sequence[Finding]  # everything that is wrong or odd
    dealt: bool = False  # the splits are not the source's own

    @property
    def in_doubt(self) -> bool:
        """Whether values without a class may be one, since nobody named the classes."""
        kinds = {finding.kind for finding in self.findings}
        return self.encoding is not None and self.encoding.guessed and bool({"unknown-values", "lossy-mask"} & kinds)

    def settled(self) -> MaskEncoding:
        """The encoding; raises DataError for the finding that left it open."""
        if self.encoding is None:
            refuse_errors([finding for finding in self.findings if finding.kind in {"ambiguous", "classes"}], "")
            raise DataError(f"{self.source.origin} holds no mask that can be read")
        return self.encoding

    def class_figures(self) -> dict[str, ClassFigures]:
        """For each split that has masks, how often each class occurs in them."""
        encoding = self.settled()
        return {
            split: ClassFigures.of([encoding.count_classes(look.values or {}) for look in looks])
            for split, looks in self.looks.items()
            if any(look.values is not None for look in looks)
        }

    def samples(self) -> dict[str, list[Sample]]:
        """The pairs of each split as samples of a dataset."""
        encoding = self.settled()
        return {split: as_samples(items, encoding) for split, items in self.source.splits.items()}


def as_samples(items: Sequence[Pair | Sample], encoding: MaskEncoding) -> list[Sample]:
    """Pairs as samples of a dataset."""
    return [
        FileSample(item.name, item.image, item.mask, encoding) if isinstance(item, Pair) else item for item in items
    ]


def survey(
    source: Source, options: Options | None = None, progress: Progress = silent, memory: LookCache | None = None
) -> Survey:
    """Looks at every file of a source, settles its classes and splits, and judges what was seen.

    Options say how to deal splits and name classes, where the source leaves it open.

    Raises:
        UsageError: if the options do not fit.
    """
    options = options or Options()
    looks: Looks = inspect(source.splits, progress, memory)
    problems: list[Finding] = []
    encoding = None
    try:
        encoding = _encoding(source, options, looks)
    except FileProblem as problem:
        problems.append(Finding(problem.kind, Path(source.origin), str(problem)))
    undealt = UNDEALT in source.splits
    if undealt:
        try:
            source, looks = _deal(source, options, looks, encoding)
        except UsageError:
            if options.ratios is not None or options.names or options.group_by is not None:
                raise  # what was asked for cannot be; else there are just too few to deal
    findings = [*source.findings, *problems, *_judge(source, encoding, looks, progress)]
    return Survey(source, encoding, looks, findings, undealt and not options.names)


def _encoding(source: Source, options: Options, looks: Looks) -> MaskEncoding | None:
    if source.task is not None:
        return MaskEncoding(source.task, source.value_map, source.colours)
    masks = [seen.mask for seen in seen_pairs(source, looks) if seen.look.values]
    palette = tuple(options.palette.values()) if options.palette else None
    if not masks:
        return None
    return infer_encoding(masks, options.classes, palette, options.ignore_index, options.value_map, options.spelling)


def _deal(source: Source, options: Options, looks: Looks, encoding: MaskEncoding | None) -> tuple[Source, Looks]:
    """Deals the pairs, which lie in no split; what was seen of them goes along."""
    pairs = [item for item in source.splits[UNDEALT] if isinstance(item, Pair)]
    seen = {pair.name: look for pair, look in zip(pairs, looks[UNDEALT], strict=True)}
    if options.names:
        if options.ratios is not None or options.group_by is not None or options.seed:
            raise UsageError(
                "--split-file says which images are in which split; leave out --ratios, --group-by and --seed"
            )
        splits = pick(pairs, options.names)
        source = replace(source, findings=[*source.findings, *_unlisted(source, splits)])
    else:
        items = [Dealt(pair, _classes_in(seen[pair.name], encoding), seen[pair.name].image_digest) for pair in pairs]
        splits = deal(items, options.ratios or DEFAULT_RATIOS, options.seed, options.group_by)
    return replace(source, splits=splits), {
        split: [seen[pair.name] for pair in found] for split, found in splits.items()
    }


def _unlisted(source: Source, splits: Mapping[str, Sequence[Pair]]) -> Iterator[Finding]:
    listed = {pair.name for pairs in splits.values() for pair in pairs}
    names = [item.name for item in source.splits[UNDEALT] if item.name not in listed]
    if names:
        few = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        message = f"{len(names)} of {len(names) + len(listed)} pairs stand in no list of --split-file: {few}"
        yield Finding("unlisted", Path(source.origin), f"{message}; they are left out")


def _classes_in(look: Look, encoding: MaskEncoding | None) -> frozenset[int]:
    return frozenset(encoding.classes_among(look.values or {}) if encoding else ())


def _judge(source: Source, encoding: MaskEncoding | None, looks: Looks, progress: Progress) -> Iterator[Finding]:
    pairs = seen_pairs(source, looks)
    masks = [seen.mask for seen in pairs if seen.look.values]
    for seen in pairs:
        of_values = list(_judge_values(seen.mask, encoding)) if encoding and seen.look.values else []
        lossy = any(finding.kind == "lossy-mask" for finding in of_values)
        yield from (finding for finding in seen.look.findings if not (lossy and finding.kind == "jpeg-mask"))
        yield from of_values
    if source.task is None:
        yield from _odd_among_colours(masks, sum(seen.look.has("colour-mask") for seen in pairs))
    if encoding:
        yield from _unseen_classes(source, encoding, looks)
        yield from odd_ignored(source, encoding, masks)
    yield from _duplicates(pairs)
    yield from _near_duplicates(source, looks, progress)


def _judge_values(mask: MaskValues, encoding: MaskEncoding) -> Iterator[Finding]:
    file, total = mask.file, sum(mask.pixels.values())
    strange = [value for value in mask.pixels if encoding.meaning(value) is None]
    if strange and looks_lossy(mask, strange, encoding):
        share = sum(mask.pixels[value] for value in strange) / total
        number = f"{len(strange)} value{'s' * (len(strange) > 1)}"
        untold = "" if encoding.tells_apart() else ", and what they were cannot be told"
        message = f"{file} holds {number} without a class on {share:.1%} of its pixels; " + (
            f"JPEG changes values{untold}. Save masks as PNG"
            if mask.lossy
            else "its edges look smoothed. Scale masks without smoothing (nearest neighbour)"
        )
        yield Finding("lossy-mask", file, message, detail=tuple(strange))
    elif strange:
        message = unknown_values(file, strange, encoding)
        yield Finding("unknown-values", file, message, detail=tuple(strange))
    elif encoding.count_ignored(mask.pixels) == total:
        yield Finding("all-ignored", file, f"{file} is ignored from corner to corner; nothing can be learned from it")


def _unseen_classes(source: Source, encoding: MaskEncoding, looks: Looks) -> Iterator[Finding]:
    for split, found in looks.items():
        if not any(look.values for look in found):
            continue
        seen = frozenset[int]().union(*(_classes_in(look, encoding) for look in found))
        names = [name for index, name in enumerate(encoding.task.classes) if index not in seen]
        if names:
            listed = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
            message = f"no {split} mask holds {listed} ({len(names)} of {encoding.task.num_classes} classes)"
            yield Finding("unseen-class", Path(source.origin), message)


def _odd_among_colours(masks: Sequence[MaskValues], coloured: int) -> Iterator[Finding]:
    """Masks of indices where most masks hold colours."""
    for file in (mask.file for mask in masks if len(masks) < coloured):
        yield Finding("index-mask", file, f"{file} holds indices, but {coloured} masks hold colours; mend it")


def _duplicates(pairs: Sequence[Seen]) -> Iterator[Finding]:
    """The same image file twice: across splits it is an error, within one a note."""
    first: dict[str, tuple[str, Path]] = {}
    for split, item, look in sorted(pairs, key=lambda seen: _from_test_down(seen.split)):
        if not look.image_digest or not isinstance(item, Pair):
            continue
        other_split, other = first.setdefault(look.image_digest, (split, item.image))
        if other_split != split:
            message = f"{item.image} ({split}) is also {other} ({other_split}); figures on {other_split} would flatter"
            yield Finding("duplicate", item.image, message)
        elif other is not item.image:
            yield Finding("repeated", item.image, f"{item.image} and {other} are the same image, both in {split}")


def _from_test_down(split: str) -> int:
    return -SPLITS.index(split) if split in SPLITS else 1


def _near_duplicates(source: Source, looks: Looks, progress: Progress) -> Iterator[Finding]:
    """Images of two splits that hardly differ: frames of one video, the same photo scaled or stored anew."""
    hashes = {split: [look.likeness for look in found] for split, found in looks.items()}
    for one, other in combinations(sorted(looks, key=_from_test_down), 2):
        for match, (distance, place) in nearest_alike(hashes[other], hashes[one], progress).items():
            a, b = source.splits[other][match], source.splits[one][place]
            same = looks[other][match].image_digest == looks[one][place].image_digest
            if isinstance(a, Pair) and isinstance(b, Pair) and not same:
                message = f"{a.image} ({other}) looks like {b.image} ({one}): {distance} of 256 bits differ"
                yield Finding("near-duplicate", a.image, message)
