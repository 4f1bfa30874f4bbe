import json
from pathlib import Path

import pytest

from segcli.components.tracking import WandBTracking
from segcli.config import RunConfig, config_schema, load_config
from segcli.errors import ConfigError

ORIGIN = """\
dataset: {train_images_dir: a, train_masks_dir: b, val_images_dir: c, val_masks_dir: d}
model_name: DeepLabV3Plus
encoder: resnet34
encoder_weights: imagenet
"""


def load(tmp_path: Path, text: str, *overrides: str) -> RunConfig:
    path = tmp_path / "run.yml"
    path.write_text(text)
    return load_config(path, overrides)


def problems(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_the_origins_yaml_is_valid_with_the_defaults_of_the_design(tmp_path: Path) -> None:
    config = load(tmp_path, ORIGIN)
    assert (config.optimizer.name, config.scheduler.name, config.loss.name) == ("adamw", "onecycle", "cross_entropy")
    assert config.precision == "auto"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("UNet", "Unet"), ("Unet++", "UnetPlusPlus"), ("unet_plus_plus", "UnetPlusPlus"), ("DeepLabV3+", "DeepLabV3Plus"),
        ("deeplab-v3-plus", "DeepLabV3Plus"), ("MANet", "MAnet"), ("SegFormer", "Segformer"), ("pspnet", "PSPNet"),
    ],
)  # fmt: skip
def test_usual_spellings_of_architectures(tmp_path: Path, spelling: str, name: str) -> None:
    assert load(tmp_path, ORIGIN, f"model_name={spelling}").model_name == name


@pytest.mark.parametrize("spelling", ["OneCycleLR", "onecycle", "{name: one_cycle}", "{rise: 0.2}"])
def test_a_choice_may_be_spelt_as_people_do(tmp_path: Path, spelling: str) -> None:
    assert load(tmp_path, ORIGIN, f"scheduler={spelling}").scheduler.name == "onecycle"


def test_all_problems_are_told_at_once_with_line_and_cure(tmp_path: Path) -> None:
    text = ORIGIN + (
        "train:\n  epoch: 3\n  batch_size: 0\n  image_size: [256, big]\n"
        "optimizer: {lr: 1e-3, weigth_decay: 0.1}\nloss: {name: diec}\nbatch_size: 4\nmodell: x\n"
    )
    found = problems(tmp_path, text, "train.max_steps=ten")
    assert found[0].startswith("--set train.max_steps=ten: train.max_steps:") or "--set train.max_steps=ten" in found[0]
    assert "run.yml:6: train.epoch: unknown key; did you mean epochs?" in found
    assert any(line.startswith("run.yml:7: train.batch_size:") and line.endswith("not 0") for line in found)
    assert any(line.startswith("run.yml:8: train.image_size") for line in found)
    assert "run.yml:9: optimizer.weigth_decay: unknown key; did you mean weight_decay?" in found
    assert "run.yml:10: loss: unknown loss 'diec'; did you mean dice?" in found
    assert "run.yml:11: batch_size: unknown key; did you mean train.batch_size?" in found
    assert "run.yml:12: modell: unknown key; did you mean model?" in found


def test_an_unknown_architecture_is_answered_with_a_near_one(tmp_path: Path) -> None:
    assert problems(tmp_path, ORIGIN, "model_name=DeepLapV3") == [
        "--set model_name=DeepLapV3: unknown architecture 'DeepLapV3'; did you mean DeepLabV3?"
    ]


def test_terms_of_a_sum_are_checked_like_losses(tmp_path: Path) -> None:
    text = ORIGIN + "loss:\n  name: sum\n  terms:\n    - {name: dice, weight: 0.5}\n    - {name: lovasz, wieght: 2}\n"
    assert problems(tmp_path, text) == ["run.yml:9: loss.terms.1.wieght: unknown key; did you mean weight?"]


def test_a_key_of_another_choice_names_those_that_take_it(tmp_path: Path) -> None:
    text = "augmentation:\n  name: light\n  blur: 0.5\noptimizer:\n  name: sgd\n  betas: [0.9, 0.99]\n"
    assert problems(tmp_path, ORIGIN + text) == [
        "run.yml:7: augmentation.blur: unknown key; taken by medium, strong, road, aerial, not by light",
        "run.yml:10: optimizer.betas: unknown key; taken by adamw, adam, radam, lion, lamb, not by sgd",
    ]


def test_overrides_reach_into_sections_and_lists(tmp_path: Path) -> None:
    text = ORIGIN + "loss:\n  name: sum\n  terms: [dice, cross_entropy]\noptimizer: sgd\n"
    config = load(tmp_path, text, "optimizer.lr=1e-4", "loss.terms.0=lovasz", "train.image_size=[64, 96]", "seed=7")
    assert (config.optimizer.name, config.optimizer.lr, config.seed) == ("sgd", 1e-4, 7)
    assert [term.name for term in config.loss.terms] == ["lovasz", "cross_entropy"]
    assert config.train.image_size == (64, 96)


@pytest.mark.parametrize("override", ["train.epochs", "=3", "loss.terms.9.weight=1"])
def test_overrides_of_the_wrong_form_are_named(tmp_path: Path, override: str) -> None:
    text = ORIGIN + "loss:\n  name: sum\n  terms: [dice]\n"
    assert problems(tmp_path, text, override)[0].startswith(f"--set {override}: ")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("{}", "give one of root, embedded, or train_images_dir"),
        ("{root: a, embedded: shapes}", "give one of root, embedded"),
        ("{train_images_dir: a, train_masks_dir: b}", "val_images_dir, val_masks_dir missing beside train_images_dir"),
        ("{root: a, classes: [x, y]}", "classes: only for explicit folders"),
        ("{train_images_dir: a, train_masks_dir: b, val_images_dir: c, val_masks_dir: d, classes: [x]}", "at least 2"),
        ("{train_images_dir: a, train_masks_dir: b, val_images_dir: c, val_masks_dir: d, classes: [x, x]}", "twice"),
    ],
)
def test_a_dataset_is_named_in_exactly_one_form(tmp_path: Path, dataset: str, message: str) -> None:
    (found,) = problems(tmp_path, f"dataset: {dataset}\n")
    assert message in found


def test_the_resolved_config_reads_back_as_itself(tmp_path: Path) -> None:
    config = load(tmp_path, ORIGIN + "loss: {name: sum, terms: [dice, {name: ce, weight: 0.5}]}\n", "optimizer.lr=1e-5")
    assert load(tmp_path, config.to_yaml()) == config


def test_the_schema_documents_every_key() -> None:
    schema = json.loads(config_schema())
    undocumented = [
        f"{name}.{key}"
        for name, section in [("RunConfig", schema), *schema["$defs"].items()]
        for key, field in section.get("properties", {}).items()
        if key != "name" and "description" not in field
    ]
    assert undocumented == []


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    assert load_config(path).train.epochs >= 1


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yml")), ids=lambda path: path.stem)
def test_shipped_configs_read_back_when_resolved(tmp_path: Path, path: Path) -> None:
    config = load_config(path)
    assert load(tmp_path, config.to_yaml()) == config


def test_alternatives_of_a_type_are_told_in_one_line(tmp_path: Path) -> None:
    folders = "train_images_dir: a, train_masks_dir: b, val_images_dir: c, val_masks_dir: d"
    (found,) = problems(tmp_path, f"dataset: {{{folders}, classes: 1}}\n")
    assert " or " in found
    assert "greater than or equal to 2" in found


def test_an_override_reaches_into_a_section_given_by_name(tmp_path: Path) -> None:
    text = ORIGIN + "loss: {name: sum, terms: [dice, cross_entropy]}\n"
    assert load(tmp_path, text, "loss.terms.0.weight=2").loss.terms[0].weight == 2


@pytest.mark.parametrize("override", ["model.mean=[123.6,116.2,103.5]", "model.std=[0,0,0]"])
def test_normalisation_in_other_units_is_refused(tmp_path: Path, override: str) -> None:
    assert override.partition("=")[0] in problems(tmp_path, ORIGIN, override)[0]


def test_a_tracker_may_be_switched_on_with_one_word(tmp_path: Path) -> None:
    config = load(tmp_path, ORIGIN + "tracking: {wandb: true, mlflow: false}\n", "tracking.wandb.mode=offline")
    assert (config.tracking.wandb, config.tracking.mlflow) == (WandBTracking(mode="offline"), None)
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config
    assert problems(tmp_path, ORIGIN + "tracking: {wandb: {projekt: x}}\n", "tracking.mlflow=5") == [
        "--set tracking.mlflow=5: input should be a valid dictionary or instance of MLflowTracking, not 5",
        "run.yml:5: tracking.wandb.projekt: unknown key; did you mean project?",
    ]


def test_a_bare_list_of_transforms_is_short_for_custom(tmp_path: Path) -> None:
    text = (
        ORIGIN
        + "augmentation:\n  - HorizontalFlip\n  - {name: OneOf, transforms: [Blur, {name: GaussNoise, p: 0.2}]}\n"
    )
    short = load(tmp_path, text, "augmentation.1.p=0.3")
    whole = "augmentation={name: custom, transforms: [{name: HorizontalFlip}, {name: OneOf, p: 0.3, transforms: [Blur, {name: GaussNoise, p: 0.2}]}]}"
    assert load(tmp_path, ORIGIN, whole) == short
    assert load(tmp_path, short.to_yaml()) == short
    assert short.augmentation.scale == (0.5, 2.0)
    assert problems(tmp_path, ORIGIN + "augmentation:\n  - HorizontalFlip\n  - 7\n") == [
        "run.yml:7: augmentation.1: expected a transform, such as {name: HorizontalFlip, p: 0.5}, not 7"
    ]


def test_a_cycle_of_momentum_needs_one(tmp_path: Path) -> None:
    text = ORIGIN + "scheduler: {name: onecycle, cycle_momentum: true}\n"
    assert (
        "scheduler.cycle_momentum: there is none" in problems(tmp_path, text + "optimizer: {name: sgd, momentum: 0}")[0]
    )
    assert load(tmp_path, text + "optimizer: sgd").scheduler.cycle_momentum
    assert load(tmp_path, text).optimizer.name == "adamw"
    assert load(tmp_path, ORIGIN + "optimizer: {name: sgd, momentum: 0}").optimizer.momentum == 0


def test_crops_are_large_enough_for_the_loss(tmp_path: Path) -> None:
    """RMI compares patches of 3×3 on maps of a quarter of the size: a side of 12 gives it just one."""
    assert problems(tmp_path, ORIGIN + "train: {image_size: [64, 12]}\nloss: rmi\n") == [
        "run.yml: train.image_size: loss (rmi) needs sides of 13 or more, not 12; raise it, or lower loss.pooling"
    ]
    text = ORIGIN + "loss: {name: sum, terms: [dice, rmi]}\n"
    assert "lower loss.terms.1.pooling" in problems(tmp_path, text, "train.image_size=12")[0]
    assert load(tmp_path, text, "train.image_size=13").train.image_size == 13
    assert load(tmp_path, text, "train.image_size=12", "loss.terms.1.pooling=2").train.image_size == 12


def test_mistakes_in_the_network_are_told_with_the_others(tmp_path: Path) -> None:
    text = ORIGIN.replace("DeepLabV3Plus", "FPN").replace("resnet34", "resnet43") + (
        "model:\n  attention: scse\n  decoder_channels: [8, 8]\ntrain: {epoch: 3}\n"
    )
    assert problems(tmp_path, text, "model.output_stride=16") == [
        "--set model.output_stride=16: FPN has no such option; leave it out, or choose DeepLabV3 or DeepLabV3Plus or PAN",
        "run.yml:3: encoder: unknown encoder 'resnet43'; did you mean resnet34?",
        "run.yml:6: model.attention: FPN has no such option; leave it out, or choose Unet or UnetPlusPlus",
        "run.yml:7: model.decoder_channels: FPN wants one number, not 2",
        "run.yml:8: train.epoch: unknown key; did you mean epochs?",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{decoder_channels: 16}", "Unet wants a width for each of its 5 stages, not one number"),
        ("{encoder_depth: 3, decoder_channels: [8, 8]}", "Unet wants a width for each of its 3 stages, not 2 numbers"),
    ],
)
def test_decoder_widths_fit_the_architecture(tmp_path: Path, options: str, message: str) -> None:
    text = ORIGIN.replace("DeepLabV3Plus", "Unet") + f"model: {options}\n"
    assert problems(tmp_path, text) == [f"run.yml:5: model.decoder_channels: {message}"]
