"""Which trained weights an encoder has: by the words people use, with where they lie and their licence."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from segcli.errors import ConfigError, did_you_mean

DEFAULT_WORD = "imagenet"
SHOWN = 12
"""Sets that a message names at most."""

# timm's tags for the words people use, the first that an encoder has; `imagenet` is found by _PLAIN below.
_TAGS = {
    "noisy-student": ("ns_jft_in1k", "ns_jft_in1k_475"),
    "advprop": ("ap_in1k",),
    "ssl": ("fb_ssl_yfcc100m_ft_in1k",),
    "swsl": ("fb_swsl_ig1b_ft_in1k",),
    "instagram": ("fb_wsl_ig1b_ft_in1k",),
    "dino": ("dino", "fb_dino"),
    "dinov2": ("lvd142m",),
    "dinov3": ("lvd1689m", "dinov3_lvd1689m"),
    "mae": ("mae",),
    "fcmae": ("fcmae",),
    "clip": (
        "openai", "clip_laion2b", "laion2b", "clip_laion2b_augreg", "clip_laiona", "laion400m", "laion400m_e32",
        "datacompxl", "datacomp1b_clip", "merged2b", "metaclip_400m", "metaclip_2pt5b", "dfn2b", "dfn5b",
    ),
}  # fmt: skip

# Tags of training on the labels of ImageNet-1k alone: no other images before, none labelled by another network.
_PLAIN = re.compile(r"(?!ap_)(?!.*(_ft_|jft|ssld|swag|in12k|in2[12]k|adv|clip|mae)).*in1k(_\d+)?")

# smp's families whose network goes by another name in timm: how both names begin.
_TWINS = (
    ("efficientnet-", "tf_efficientnet_"), ("mobilenet_v2", "mobilenetv2_100"), ("senet", "legacy_senet"),
    ("se_res", "legacy_seres"), ("xception", "legacy_xception"), ("inceptionv4", "inception_v4"),
    ("inceptionresnetv2", "inception_resnet_v2"),
)  # fmt: skip

_TORCHVISION = ("resnet", "resnext", "vgg", "densenet", "mobilenet_v2")
_RESTRICTED = ("cc-by-nc", "noncommercial", "dinov3", "seer", "amlr")


@dataclass(frozen=True)
class Weights:
    """One set of trained weights of an encoder.

    Attributes:
        encoder: the encoder that takes it, under smp's name: its own, or `tu-` and timm's name and tag.
        name: smp's setting or timm's tag.
        words: what people call it: `imagenet`, `noisy-student` …; most of timm's sets have no such word.
        source: its repository on the hub; the address of the file where it lies elsewhere.
        file: the file's name there.
        revision: the repository's commit; None is its newest.
        licence: as timm states it, or the licence of where smp took it from; None where neither says.
    """

    encoder: str
    name: str
    words: tuple[str, ...]
    source: str
    file: str = "model.safetensors"
    revision: str | None = None
    licence: str | None = None


def resolve_weights(encoder: str, word: str) -> Weights:
    """The one set of weights that a word means for an encoder.

    smp's own set comes first where the encoder is smp's and has it, then timm's for the same network, so the
    encoder may become another (`efficientnet-b3` with noisy-student is `tu-tf_efficientnet_b3.ns_jft_in1k`).
    `imagenet` is training on ImageNet-1k's labels where timm has it, else timm's default.

    Args:
        encoder: under smp's name, with or without one of timm's tags.
        word: `imagenet`, `noisy-student` …, smp's setting or timm's tag, in any spelling.

    Raises:
        ConfigError: if the encoder has no such weights; it tells which it has, and which encoders have these.
    """
    model, _, tag = encoder.partition(".")
    sets = weight_sets(model)
    found = [one for one in sets if _plain(word) in map(_plain, (one.name, *one.words))]
    if not tag:
        if not found:
            raise ConfigError(_no_such_weights(model, word, sets))
        return found[0]
    named = [one for one in sets if one.name == tag]
    if not named:
        raise ConfigError(_no_such_weights(model, tag, sets))
    if _plain(word) != DEFAULT_WORD and named[0] not in found:
        raise ConfigError(f"encoder asks for the weights {tag} and encoder_weights for {word}; leave one of them out")
    return named[0]


def weight_sets(encoder: str) -> tuple[Weights, ...]:
    """All sets of weights of an encoder (under smp's name, without a tag): smp's own, then timm's."""
    if encoder.startswith("tu-"):
        return tuple(_timm_sets(encoder.removeprefix("tu-"), any_default=True))
    own = tuple(_own_sets(encoder))
    taken = {word for one in own for word in one.words}
    timms = _timm_sets(_twin(encoder), any_default=False)
    return (*own, *(replace(one, words=tuple(word for word in one.words if word not in taken)) for one in timms))


def restricts_use(licence: str | None) -> bool:
    """Whether a licence limits what a model may be used for: non-commercial ones, and Meta's for DINOv3."""
    return licence is not None and any(word in licence.lower() for word in _RESTRICTED)


def _own_sets(encoder: str) -> Iterator[Weights]:
    from segmentation_models_pytorch.encoders import encoders

    for name, entry in encoders.get(encoder, {}).get("pretrained_settings", {}).items():
        word = DEFAULT_WORD if name == "imagenet+5k" else name
        licence = _own_licence(encoder, word)
        yield Weights(encoder, name, (word,), entry["repo_id"], revision=entry["revision"], licence=licence)


def _own_licence(encoder: str, word: str) -> str | None:
    """The licence of smp's own weights, which are copies of what others published."""
    if word in {"ssl", "swsl", "instagram"}:
        return "cc-by-nc-4.0"
    if word == DEFAULT_WORD and encoder.startswith(_TORCHVISION):
        return "bsd-3-clause"
    if encoder.startswith("mit_"):
        return "nvidia-noncommercial"  # so say smp's own pages of this encoder
    same = {word: one.licence for one in _timm_sets(_twin(encoder), any_default=True) for word in one.words}
    return same.get(word, same.get(DEFAULT_WORD))


def _twin(encoder: str) -> str:
    """Timm's name for the network of one of smp's encoders."""
    for ours, theirs in _TWINS:
        if encoder.startswith(ours):
            return theirs + encoder.removeprefix(ours)
    return encoder


def _timm_sets(model: str, any_default: bool) -> Iterator[Weights]:
    """Timm's sets for a model.

    Args:
        model: timm's name, without a tag.
        any_default: whether timm's default set is `imagenet` where none comes from ImageNet-1k's labels alone.
    """
    import timm

    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    default = str(timm.models.get_pretrained_cfg(model).tag) if tags else ""
    for tag in tags:
        config = timm.models.get_pretrained_cfg(f"{model}.{tag}")
        hub = config.hf_hub_id
        file = config.hf_hub_filename or ("model.safetensors" if hub else str(config.url).rpartition("/")[2])
        words = tuple(word for word, chosen in _words(tags, default, any_default) if chosen == tag)
        licence = None if config.license == "unknown" else config.license
        yield Weights(f"tu-{model}.{tag}", tag, words, str(hub or config.url), file, licence=licence)


def _words(tags: Sequence[str], default: str, any_default: bool) -> Iterator[tuple[str, str]]:
    """Each word that one of a model's tags stands for, with that tag."""
    plain = [tag for tag in tags if _PLAIN.fullmatch(tag)]
    if default in plain or (any_default and tags and not plain):
        yield DEFAULT_WORD, default
    elif plain:
        yield DEFAULT_WORD, plain[0]
    for word, known in _TAGS.items():
        tag = next((tag for tag in known if tag in tags), None)
        if tag is not None:
            yield word, tag


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


def _no_such_weights(encoder: str, word: str, sets: tuple[Weights, ...]) -> str:
    words = [word for one in sets for word in one.words]
    names = [*dict.fromkeys(words), *(one.name for one in sets if not one.words)]
    more = ", …" if len(names) > SHOWN else ""
    bare = encoder.removeprefix("tu-")
    known = f"encoder_weights: {bare} has no weights {word!r}; it has {', '.join(names[:SHOWN]) or 'none'}{more}"
    others = _encoders_with(word)
    if others:
        near = get_close_matches(bare, others, n=3, cutoff=0)
        return f"{known}; encoders that have {word}: {', '.join(near)}{', …' if len(others) > 3 else ''}"
    guess = did_you_mean(word, [*_TAGS, DEFAULT_WORD, *names])
    return f"{known}; {guess}" if guess.startswith("did") else known


def _encoders_with(word: str) -> list[str]:
    """Names of the encoders that have the weights a word means."""
    import timm
    from segmentation_models_pytorch.encoders import encoders

    plain = _plain(word)
    tags = next((tags for known, tags in _TAGS.items() if _plain(known) == plain), ())
    own = [
        name
        for name, entry in encoders.items()
        if not name.startswith("timm-") and plain in map(_plain, entry.get("pretrained_settings", {}))
    ]
    pairs = [name.split(".", 1) for name in timm.list_pretrained() if "." in name]
    return sorted({*own, *(model for model, tag in pairs if tag in tags or _plain(tag) == plain)})
