import pytest

from segcli.components.weights import resolve_weights, restricts_use, weight_sets
from segcli.errors import ConfigError

APACHE, NON_COMMERCIAL = "apache-2.0", "cc-by-nc-4.0"


@pytest.mark.parametrize(
    ("encoder", "word", "resolved", "source", "licence"),
    [
        # smp's own sets where it has them
        ("resnet34", "imagenet", "resnet34", "smp-hub/resnet34.imagenet", "bsd-3-clause"),
        ("vgg16_bn", "imagenet", "vgg16_bn", "smp-hub/vgg16_bn.imagenet", "bsd-3-clause"),
        ("resnet50", "ssl", "resnet50", "smp-hub/resnet50.ssl", NON_COMMERCIAL),
        ("resnet50", "SWSL", "resnet50", "smp-hub/resnet50.swsl", NON_COMMERCIAL),
        ("efficientnet-b3", "imagenet", "efficientnet-b3", "smp-hub/efficientnet-b3.imagenet", APACHE),
        ("efficientnet-b3", "advprop", "efficientnet-b3", "smp-hub/efficientnet-b3.advprop", APACHE),
        ("dpn92", "imagenet", "dpn92", "smp-hub/dpn92.imagenet-5k", APACHE),
        ("mobileone_s0", "imagenet", "mobileone_s0", "smp-hub/mobileone_s0.imagenet", "mobileone-license"),
        ("mit_b0", "imagenet", "mit_b0", "smp-hub/mit_b0.imagenet", "nvidia-noncommercial"),
        # timm's for the same network where smp has none
        ("efficientnet-b3", "noisy-student", "tu-tf_efficientnet_b3.ns_jft_in1k", None, APACHE),
        ("resnet50", "a1_in1k", "tu-resnet50.a1_in1k", None, APACHE),
        ("resnext101_32x4d", "imagenet", "tu-resnext101_32x4d.gluon_in1k", None, APACHE),
        # timm's words, in any spelling
        ("tu-tf_efficientnet_b3", "noisy-student", "tu-tf_efficientnet_b3.ns_jft_in1k", None, APACHE),
        ("tu-tf_efficientnet_b3", "noisy_student", "tu-tf_efficientnet_b3.ns_jft_in1k", None, APACHE),
        ("tu-tf_efficientnet_b3", "noisystudent", "tu-tf_efficientnet_b3.ns_jft_in1k", None, APACHE),
        ("tu-tf_efficientnet_b3", "advprop", "tu-tf_efficientnet_b3.ap_in1k", None, APACHE),
        ("tu-resnet50", "ssl", "tu-resnet50.fb_ssl_yfcc100m_ft_in1k", None, NON_COMMERCIAL),
        ("tu-vit_small_patch16_224", "dino", "tu-vit_small_patch16_224.dino", None, APACHE),
        ("tu-vit_small_patch14_dinov2", "dinov2", "tu-vit_small_patch14_dinov2.lvd142m", None, APACHE),
        ("tu-vit_small_patch16_dinov3", "dino-v3", "tu-vit_small_patch16_dinov3.lvd1689m", None, "dinov3-license"),
        ("tu-convnext_tiny", "dinov3", "tu-convnext_tiny.dinov3_lvd1689m", None, "dinov3-license"),
        ("tu-vit_base_patch16_224", "mae", "tu-vit_base_patch16_224.mae", None, NON_COMMERCIAL),
        ("tu-convnextv2_nano", "fcmae", "tu-convnextv2_nano.fcmae", None, NON_COMMERCIAL),
        ("tu-vit_base_patch16_clip_224", "clip", "tu-vit_base_patch16_clip_224.openai", None, APACHE),
        ("tu-convnext_base", "clip", "tu-convnext_base.clip_laion2b", None, APACHE),
        # imagenet: timm's default if its images are ImageNet-1k's alone, else the first such, else the default
        ("tu-resnet50", "imagenet", "tu-resnet50.a1_in1k", None, APACHE),
        ("tu-mobilenetv3_large_100", "imagenet", "tu-mobilenetv3_large_100.ra_in1k", None, APACHE),
        ("tu-tf_efficientnet_b3", "imagenet", "tu-tf_efficientnet_b3.aa_in1k", None, APACHE),
        ("tu-convnext_base", "imagenet", "tu-convnext_base.fb_in1k", None, APACHE),
        ("tu-vit_tiny_patch16_224", "imagenet", "tu-vit_tiny_patch16_224.augreg_in21k_ft_in1k", None, APACHE),
        ("tu-vit_small_patch14_dinov2", "imagenet", "tu-vit_small_patch14_dinov2.lvd142m", None, APACHE),
        # timm's tags, as the word or in the encoder's name
        ("tu-resnet50", "tv2_in1k", "tu-resnet50.tv2_in1k", None, "bsd-3-clause"),
        ("tu-resnet50.tv2_in1k", "imagenet", "tu-resnet50.tv2_in1k", None, "bsd-3-clause"),
        ("tu-vit_small_patch16_224.dino", "dino", "tu-vit_small_patch16_224.dino", None, APACHE),
    ],
)
def test_a_word_means_one_set_of_weights(
    encoder: str, word: str, resolved: str, source: str | None, licence: str
) -> None:
    weights = resolve_weights(encoder, word)
    hub = source or resolved.replace("tu-", "timm/")
    assert (weights.encoder, weights.source, weights.licence) == (resolved, hub, licence)
    assert weights.file == "model.safetensors"
    assert (weights.revision is None) == resolved.startswith("tu-")


@pytest.mark.parametrize(
    ("encoder", "word", "message"),
    [
        ("resnet34", "dino", r"resnet34 has no weights 'dino'; it has imagenet, a1_in1k.*encoders that have dino: res"),
        ("tu-vit_small_patch16_224", "dinov2", "encoders that have dinov2: vit_small_patch14_dinov2, "),
        ("tu-resnet50", "noisy-student", "encoders that have noisy-student: tf_efficientnet_b"),
        ("resnext101_32x48d", "imagenet", "it has instagram; encoders that have imagenet: resnext101_32x8d"),
        ("resnet18", "imagnet", "it has imagenet, ssl, swsl, a1_in1k.*; did you mean imagenet?"),
        ("tu-darknet17", "tv3_in1k", "darknet17 has no weights 'tv3_in1k'; it has none$"),
        ("tu-resnet10t.xyz", "imagenet", "resnet10t has no weights 'xyz'; it has imagenet$"),
        ("tu-resnet50.a1_in1k", "swsl", "encoder asks for the weights a1_in1k and encoder_weights for swsl"),
    ],
)
def test_a_wrong_pair_is_answered_with_what_there_is(encoder: str, word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_weights(encoder, word)


def test_weights_that_lie_on_no_hub_have_an_address() -> None:
    weights = resolve_weights("tu-gcvit_tiny", "imagenet")
    assert weights.source.endswith("/gcvit_tiny_224_nvidia-ac783954.pth")
    assert weights.file == "gcvit_tiny_224_nvidia-ac783954.pth"


@pytest.mark.parametrize("encoder", ["resnet50", "resnext101_32x16d", "efficientnet-b0", "tu-convnext_base"])
def test_every_set_listed_is_found_by_its_name_and_its_words(encoder: str) -> None:
    sets = weight_sets(encoder)
    assert len(sets) > 1
    for weights in sets:
        for word in (weights.name, *weights.words):
            assert resolve_weights(encoder, word) == weights


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("cc-by-nc-4.0", True), ("CC-BY-NC-SA-4.0", True), ("fair-noncommercial-research-license", True),
        ("dinov3-license", True), ("nvidia-noncommercial", True), ("apple-amlr", True), ("apache-2.0", False),
        ("cc-by-4.0", False), ("bsd-3-clause", False), (None, False),
    ],
)  # fmt: skip
def test_licences_that_limit_the_use_are_known(licence: str | None, expected: bool) -> None:
    assert restricts_use(licence) is expected
