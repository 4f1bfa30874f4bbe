"""The rules that lead from figures to the sections of a config: pure functions, each with where it comes from.

Each gives `Choice`s: a key, its value, and the figure that led to it, as the config says it beside the key. Where a
rule names an ablation, it is that of `benchmarks/README.md`, "seg init".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from segcli.engine.planning.figures import Figures
from segcli.task import begins_with_background

Domain = Literal["generic", "road", "aerial", "medical", "document"]
DOMAINS: tuple[str, ...] = get_args(Domain)

_BATCH = {"cpu": 8, "mps": 8, "cuda": 16}
_STRIDE = 32  # of most encoders; sides are multiples of it

_SEEN_WIDTH = 4.0  # pixels that the thinnest class should be wide where the network sees it
_SEEN_WIDTH_OF_TWO = 5.0  # likewise, where that class is the figure itself
_MOST_ENLARGED = 2.0
_JITTER = (0.5625, 1.6875)  # factors around the scale at which is predicted
_CROP = {"cpu": 256, "mps": 384, "cuda": 512}
_LEAST_SEEN = {"cpu": 480, "mps": 640, "cuda": 768}  # short side below which large images are not shrunk
_MOST_SEEN = {"cpu": 1024, "mps": 1280, "cuda": 2048}  # short side above which none is predicted whole
_UNEVEN = 10.0  # largest share of a class over the smallest, from which rare classes are given weight
_RARE_IMAGES = 0.1  # share of the images that hold a class, below which crops are drawn for it
_FEW_IMAGES = 8
_ENOUGH_TO_TURN = 30  # masks, below which nothing is proved by their looking alike
_OBJECT = 0.25  # share of the pixels below which the smaller of two classes is the object
_FEW_PASSES = 10  # below it, colours are learnt from the images as they are
_STRIP = 3  # long side over the short one, from which crops are strips
_SHRUNK = 0.5  # factor below which a reader is told what is lost
_WILD = 2.0  # largest short side over the smallest, from which sizes are called different
_CROPS_AN_IMAGE, _LEAST_CROPS, _MOST_CROPS = 40, 8_000, 400_000
_MUON_STEPS = 20_000  # up to which Muon's lead over AdamW was seen to last


@dataclass(frozen=True)
class Choice:
    """One value of a config, and why.

    Attributes:
        key: its place, such as `train.batch_size`.
        value: as YAML has it.
        why: the figure that led to it, in a line.
    """

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class Network:
    """What is to be trained and can be had here.

    Attributes:
        architecture: its name.
        encoder: its name.
        weights: as `encoder_weights` takes it; None where none can be had.
        why: what led to it.
    """

    architecture: str
    encoder: str
    weights: str | None
    why: str


def network(chosen: Network) -> tuple[Choice, ...]:
    """What is trained: what can be had here and what the device can carry."""
    weights = "trained weights learn faster and end higher, the more so the fewer the images (Kornblith et al. 2019)"
    none = "no trained weights can be had here (no package, no file in the hub's cache, no hub); it starts from nothing"
    return (
        Choice(
            "model_name", chosen.architecture, "skip connections at every scale keep thin things (Ronneberger 2015)"
        ),
        Choice("encoder", chosen.encoder, chosen.why),
        Choice("encoder_weights", chosen.weights or "none", weights if chosen.weights else none),
    )


def enlargement(figures: Figures, device: str) -> float:
    """The factor by which the network sees images enlarged, or shrunk where less than 1.

    The thinnest class comes to be about four pixels wide: below that the first strides of an encoder lose it, above
    it costs time and the sight of what lies around; five of two classes, where it is all that counts (ablation: size).
    Images are not shrunk below the side that a device computes with ease, and not predicted whole
    above one that it hardly does.
    """
    short = figures.short_side
    least = min(_LEAST_SEEN[device] / short, 1.0)
    return min(max(_wanted(figures), least), _MOST_ENLARGED, _MOST_SEEN[device] / short)


def _wanted(figures: Figures) -> float:
    """The factor that the thinnest class wants."""
    if figures.thinnest is None:
        return 0.0
    width = _SEEN_WIDTH if len(figures.classes) > 2 else _SEEN_WIDTH_OF_TWO
    return width / figures.widths[figures.thinnest]


def seen_side(figures: Figures, device: str) -> int:
    """The short side of the median image as the network sees it: a multiple of the stride, or its own."""
    short, factor = figures.short_side, enlargement(figures, device)
    seen = round(short * factor / _STRIDE) * _STRIDE
    return short if factor == 1 or (factor > 1 and seen <= short) else max(seen, _STRIDE)


def sizes(figures: Figures, device: str) -> tuple[Choice, ...]:
    """Validation size, crop and scale jitter."""
    short, seen = figures.short_side, seen_side(figures, device)
    height, width = figures.size
    jitter = list(_JITTER)
    if seen == short:
        return (
            Choice("val.image_size", None, f"images of {width}×{height} are predicted as they are"),
            _crop(figures, device),
            Choice("augmentation.scale", jitter, "things are met nearer and farther off"),
        )
    return (
        Choice("val.image_size", seen, f"short side, of {short}: {_size_reason(figures, device)}"),
        _crop(figures, device),
        Choice("augmentation.scale", jitter, f"times the scale of validation, {seen / short:.3g} in the median"),
        Choice("augmentation.scale_base", "val", "images of every size are trained as large as they are predicted"),
    )


def _crop(figures: Figures, device: str) -> Choice:
    """A square, or a strip where images are strips."""
    seen, most = seen_side(figures, device), _CROP[device]
    short = max(seen // _STRIDE, 1) * _STRIDE
    if short >= most:
        return Choice("train.image_size", most, f"small crops make many steps; {device} computes them with ease")
    height, width = figures.size
    if max(height, width) < _STRIP * min(height, width):
        return Choice("train.image_size", short, "as much of an image as its short side has")
    long = min(most**2 // short, max(height, width) * seen // figures.short_side) // _STRIDE * _STRIDE
    size = [short, long] if height < width else [long, short]
    return Choice("train.image_size", size, f"images are strips; no more pixels than {most}×{most} has")


def _size_reason(figures: Figures, device: str) -> str:
    """What the size of validation follows from."""
    thin, factor, side = figures.thinnest, enlargement(figures, device), seen_side(figures, device)
    if thin is None:
        return f"nothing thin is in the images, and {device} computes that with ease"
    width = figures.widths[thin]
    seen_width = width * side / figures.short_side
    seen = f"{figures.classes[thin]} is {width:.1f} pixels wide in the median, so seen {seen_width:.1f} wide"
    if factor > _wanted(figures):
        return f"{seen}, which is enough, and {device} computes that with ease"
    if factor < _wanted(figures):
        return f"{seen}; {'no image is enlarged more' if factor == _MOST_ENLARGED else f'the most for {device}'}"
    return seen


def batch(figures: Figures, device: str, fitting: int | None = None) -> tuple[Choice, ...]:
    """Crops in a step.

    Args:
        figures: of the dataset.
        device: cpu, cuda or mps.
        fitting: crops that were found to fit into the memory at a time; None where that is still to be tried.
    """
    size = max(min(_BATCH[device], figures.train_images), 2)
    if fitting is None or fitting >= size:
        why = "batch norm wants a few; more would make fewer steps in the same time"
        if size < _BATCH[device]:
            why = "there are no more images"
        return (Choice("train.batch_size", size, why),)
    return (
        Choice("train.batch_size", fitting, f"{size} do not fit into the memory"),
        Choice(
            "train.accumulate", -(-size // fitting), f"batches a step, so that its gradient is that of {size} crops"
        ),
    )


def wanted_steps(figures: Figures, crops_a_step: float) -> tuple[int, str]:
    """The steps of a training without a budget, and why so many.

    Forty crops an image; few images still need thousands of crops for the new decoder, and of many images a part of
    the passes is enough.
    """
    crops = min(max(_CROPS_AN_IMAGE * figures.train_images, _LEAST_CROPS), _MOST_CROPS)
    why = f"{crops:,} crops: {_CROPS_AN_IMAGE} an image, at least {_LEAST_CROPS:,} and at most {_MOST_CROPS:,}"
    return max(int(crops / crops_a_step), 1), why


def loss(figures: Figures) -> tuple[Choice, ...]:
    """Cross-entropy for every pixel, and the overlap itself (ablation: loss).

    Of two classes Dice (Milletari et al. 2016): where less than half of what looks like the object is the object, the
    Lovász loss is least at a probability of exactly one half, and there a network stays that has not learnt it yet.
    Of many classes Lovász, a surrogate of the IoU that is measured (Berman et al. 2018).
    """
    cross_entropy: dict[str, Any] = {"name": "cross_entropy"}
    if len(figures.occurring) == 2:
        why = "cross-entropy for every pixel, Dice for the overlap of what is rare"
        return (Choice("loss", {"name": "sum", "terms": [cross_entropy, {"name": "dice"}]}, why),)
    least, most = min(figures.shares[index] for index in figures.occurring), max(figures.shares)
    why = "cross-entropy for every pixel, Lovász for the IoU that is measured"
    if most / least > _UNEVEN:
        cross_entropy |= {"class_weights": "log", "class_weight_power": 0.5}
        why += f"; weights, since classes cover {_percent(least)} to {_percent(most)} of the pixels"
    return (Choice("loss", {"name": "sum", "terms": [cross_entropy, {"name": "lovasz"}]}, why),)


def balance(figures: Figures) -> tuple[Choice, ...]:
    """Crops that are drawn for a class (nnU-Net forces foreground into a third; ablation: balance).

    Only where a class is in few images: three sets of two classes, whose rare one is in most images, lost by them.
    """
    occurring = figures.occurring
    rare = min(occurring, key=lambda index: figures.images_with[index])
    images = figures.images_with[rare]
    if images >= _RARE_IMAGES * figures.train_images:
        return ()
    share, crops = (0.5, "half") if len(occurring) == 2 else (0.25, "a quarter")
    why = f"{figures.classes[rare]} is in {images} of {figures.train_images} images: {crops} of the crops seek a class"
    return (Choice("train.class_balance", share, why),)


def optimiser_name(steps: int) -> str:
    """Which one suits a number of steps."""
    return "muon" if steps <= _MUON_STEPS else "adamw"


def optimiser(steps: int, has_weights: bool) -> tuple[Choice, ...]:
    """How it is minimised (Muon: Jordan et al. 2024; ablation: optimiser)."""
    if optimiser_name(steps) == "muon":
        rates: dict[str, Any] = {"name": "muon", "lr": 1e-2}
        why = f"Muon learns more than AdamW in few steps, and these are {steps:,}"
    else:
        rates = {"name": "adamw", "lr": 1e-3}
        why = f"{steps:,} steps are enough for AdamW"
    if has_weights:
        rates["encoder_lr_factor"] = 0.25
        why += "; the encoder is trained already and moves slower"
    average = 1 - min(max(5 / steps, 2e-4), 0.02)
    return (
        Choice("optimizer", rates, why),
        Choice("scheduler", "onecycle", "one rise and one fall over all steps (Smith & Topin 2018)"),
        Choice("ema", {"decay": round(average, 4)}, f"weights averaged over the last fifth of {steps:,} steps or less"),
    )


def augmentation(figures: Figures, domain: str, passes: float) -> tuple[Choice, ...]:
    """How images are varied: what may be flipped is asked of the masks, else of the domain.

    Colours vary where images are seen often: after 24 passes cracks had 0.596 instead of 0.566 by it, after 4 CamVid
    0.532 instead of 0.565 (ablation: augmentation).
    """
    asked, sides = figures.orientation, _sides(figures.classes)
    flips = domain == "generic" and asked.images >= _ENOUGH_TO_TURN and asked.may_be_turned_over and not sides
    still: tuple[Choice, ...] = ()
    if domain == "document":
        still = (Choice("augmentation.hflip", 0.0, "writing is never mirrored"),)
    elif sides:
        still = (Choice("augmentation.hflip", 0.0, f"a mirror makes of {sides[0]} what is called {sides[1]}"),)
    if domain in {"aerial", "medical"}:
        return (Choice("augmentation.name", domain, f"--domain {domain}"), *still)
    if flips and asked.knows_no_side:
        least = min(asked.to_json().values())
        why = f"{asked.images} masks look alike under all flips and turns (p ≥ {least:.2f})"
        return (Choice("augmentation.name", "aerial", why),)
    if passes < _FEW_PASSES:
        name = Choice("augmentation.name", "light", f"each image is seen {passes:.0f} times: colours need not vary")
    else:
        why = f"each image is seen {passes:.0f} times: colours and sharpness vary, lest they are learnt by heart"
        name = Choice("augmentation.name", "road" if domain == "road" else "medium", why)
    if not flips:
        return (name, *still)
    why = f"masks look alike upside down (p = {asked.upside_down:.2f})"
    return (name, Choice("augmentation.vflip", 0.5, why))


def _sides(classes: Sequence[str]) -> tuple[str, str] | None:
    """Two classes that a mirror makes of each other, such as left lung and right lung."""
    known = {name.lower(): name for name in classes}
    other_side = {"left": "right", "right": "left"}
    for name, spelt in known.items():
        mirrored = re.sub("left|right", lambda side: other_side[side[0]], name)
        if mirrored != name and mirrored in known:
            return spelt, known[mirrored]
    return None


def kept(figures: Figures) -> tuple[Choice, ...]:
    """Which epoch is the best, and that all are trained."""
    why = "the rate falls to nothing: the last epochs gain most, and stopping early would lose them"
    never = Choice("early_stopping", None, why)
    if len(figures.classes) != 2:
        return (never,)
    smaller = min((0, 1), key=lambda index: figures.shares[index])
    named = begins_with_background(figures.classes)
    found = 1 if named else smaller if figures.shares[smaller] < _OBJECT else None
    if found is None:
        return (never,)
    name = figures.classes[found]
    if not figures.val_images_with[found]:  # whatever finds nothing would have the best IoU
        why = f"no validation mask holds {name}, so no IoU tells whether it is found"
        return (never, Choice("checkpoint.best", "val_loss", why))
    return (never, Choice("checkpoint.best", f"val_iou/{name}", f"of two classes {name} is the object"))


def doubts(figures: Figures, weights: str | None, device: str) -> tuple[str, ...]:
    """What a reader of the plan should know."""
    found = []
    if figures.train_images < _FEW_IMAGES:
        found.append(f"training images: {figures.train_images}; so few make rough figures, label more if you can")
    if figures.val_images < _FEW_IMAGES:
        found.append(f"validation images: {figures.val_images}; by so few, which epoch is best is partly chance")
    for images_with, number, what in (
        (figures.images_with, 0, "no training mask holds {}: what is never shown cannot be learnt"),
        (figures.images_with, 1, "one training mask alone holds {}: that will hardly be learnt"),
        (figures.val_images_with, 0, "no validation mask holds {}: how well that is learnt will not be seen"),
    ):
        names = [name for name, images in zip(figures.classes, images_with, strict=True) if images == number]
        if names and (number == 0 or figures.train_images > 1):
            found.append(what.format(_some(names)))
    shorts = np.array(figures.sizes).min(axis=1)
    seen = seen_side(figures, device)
    if shorts.max() / shorts.min() > _WILD:
        then = "each is predicted at its own size" if seen == figures.short_side else "validation brings all to one"
        found.append(f"short sides run from {shorts.min()} to {shorts.max()} pixels; {then}")
    factor, thin = seen / figures.short_side, figures.thinnest
    lost = "what is small in them"
    if thin is not None and factor * figures.widths[thin] < _SEEN_WIDTH - 1:
        lost = f"{figures.classes[thin]}, which is seen {factor * figures.widths[thin]:.1f} pixels wide"
    if factor < _SHRUNK or (factor < 1 and lost != "what is small in them"):
        found.append(f"large images are shrunk to {seen} pixels: that may lose {lost}; cut them up first")
    if weights is None:
        found.append("without trained weights expect to need several times as many steps")
    return tuple(found)


def _some(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many there are besides."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def places(choices: Sequence[Choice]) -> dict[str, Any]:
    """The choices as the nested values of a config."""
    values: dict[str, Any] = {}
    for choice in choices:
        *sections, key = choice.key.split(".")
        section = values
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = choice.value
    return values
