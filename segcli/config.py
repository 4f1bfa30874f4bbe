"""The run's config: one YAML file, checked as a whole before anything heavy is imported."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from segcli.components.augmentations import AugmentationConfig, Light
from segcli.components.losses import CrossEntropy, LossConfig
from segcli.components.models import ModelOptions, architecture_name, network_problems
from segcli.components.optimizers import AdamW, OptimizerConfig
from segcli.components.schedulers import OneCycle, SchedulerConfig
from segcli.components.section import Duration, Section, field_docs, sections_in
from segcli.components.tracking import TrackingConfig
from segcli.errors import ConfigError, did_you_mean, nearest
from segcli.task import check_classes
from segcli.yamlfile import Keys, YamlFile, dump_yaml, parse_value, read_yaml

Side = Annotated[int, Field(ge=1)]
Size = Side | tuple[Side, Side]
BatchSize = Annotated[int, Field(ge=1)]
Byte = Annotated[int, Field(ge=0, le=255)]
MaskValue = Annotated[int, Field(ge=0, le=65535)]


class DatasetConfig(Section):
    """Where the images and masks are: a prepared folder, the embedded dataset, or explicit folders."""

    root: Path | None = None
    """a folder that `seg dataset prepare` wrote"""
    embedded: Literal["shapes"] | None = None
    """the dataset inside the package, which needs no files"""
    train_images_dir: Path | None = None
    """images to train on"""
    train_masks_dir: Path | None = None
    """their masks, matched by stem"""
    val_images_dir: Path | None = None
    """images to validate on"""
    val_masks_dir: Path | None = None
    """their masks"""
    test_images_dir: Path | None = None
    """images for a last test"""
    test_masks_dir: Path | None = None
    """their masks, if there are any"""
    classes: tuple[str, ...] | Annotated[int, Field(ge=2)] | None = None
    """names of the classes in the order of their indices, or their number; else counted over all masks"""
    palette: tuple[tuple[Byte, Byte, Byte], ...] | None = None
    """an RGB colour a class"""
    ignore_index: MaskValue | None = None
    """the mask value that counts in no loss and no metric; null: 255, or 65535 beyond 255 classes"""
    map: dict[MaskValue, MaskValue] = Field(default_factory=dict)
    """what other mask values mean: `{255: 1}`"""
    cache: Literal["auto", "none", "ram", "disk"] = "auto"
    """where decoded training images stay, so that each is decoded once: in memory, in a temporary file, or nowhere;
    auto: in memory if they fill at most a quarter of what is free there, else likewise on disk, else nowhere"""

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        explicit = ("train_images_dir", "train_masks_dir", "val_images_dir", "val_masks_dir")
        given = [name for name in explicit if getattr(self, name) is not None]
        forms = [self.root is not None, self.embedded is not None, bool(given)]
        if sum(forms) != 1:
            raise ValueError("give one of root, embedded, or train_images_dir with its three companions")
        missing = [name for name in explicit if name not in given]
        if given and missing:
            raise ValueError(f"{', '.join(missing)} missing beside {given[0]}")
        if self.test_masks_dir is not None and self.test_images_dir is None:
            raise ValueError("test_masks_dir needs test_images_dir beside it")
        if not given:
            own = {"test_images_dir", "classes", "palette", "ignore_index", "map"}
            fixed = sorted(name for name in own if getattr(self, name) not in (None, {}))
            if fixed:
                raise ValueError(f"{', '.join(fixed)}: only for explicit folders; root and embedded know theirs")
        if isinstance(self.classes, tuple):
            check_classes(self.classes)
        return self


class TrainConfig(Section):
    """The training loop."""

    epochs: int = Field(50, ge=1)
    """times that every training image is seen"""
    max_steps: int | None = Field(None, ge=1)
    """stop after this many steps, whatever the epochs; with a budget, what it begins with"""
    budget: Duration | None = None
    """time that the training is to take where it runs, validations included, such as 30m or 2h, or in seconds: epochs
    and steps are settled as it goes, by what they take, and kept with the run; those given are what it begins with"""
    batch_size: BatchSize | Literal["auto"] = 8
    """crops that go through the network at once, in each process; auto: the most, by powers of 2 up to 64, that fit
    into an accelerator's memory, else 8"""
    accumulate: int = Field(1, ge=1)
    """batches whose gradients are added up to one step; a step sees batch_size × accumulate × processes crops"""
    image_size: Size = 512
    """the crop that is trained on: a side, or [height, width]"""
    class_balance: float = Field(0.0, ge=0, le=1)
    """share of an epoch's crops that are drawn for a class instead of in turn: for each, one of the classes that occur
    (all equally likely), an image that holds it, and a place that shows it"""
    workers: int | None = Field(None, ge=0)
    """processes that read images; null: one fewer than cores, 8 at most, 16 for each GPU"""
    channels_last: bool | Literal["auto"] = "auto"
    """memory layout of the network; auto: the faster of the two in a short measurement, always this one on GPUs"""
    compile: bool = False
    """compile the network with torch.compile: a slow first step, faster ones behind it"""
    deterministic: bool = False
    """let a GPU repeat a run to the last bit, more slowly; torch warns of what has no such kernel. CPUs do so anyway"""
    sync_batch_norm: bool | Literal["auto"] = "auto"
    """batch norms count over all processes; auto: where there are several, on GPUs"""
    threads: int | None = Field(None, ge=1)
    """threads that torch computes with on a CPU; null: torch's choice"""
    freeze_encoder: int = Field(0, ge=0)
    """first epochs in which the encoder, its norms included, stays as it is"""
    freeze_batch_norm: int = Field(0, ge=0)
    """first epochs in which all batch norms keep their running means, for small batches"""
    clip_grad_norm: float | None = Field(None, gt=0)
    """gradients of a larger norm, over all parameters, are scaled down to it"""
    gradient_checkpointing: bool = False
    """keep few of the encoder's features and compute them again on the way back: less memory, somewhat slower,
    the same result; timm's encoders have it"""


class ValConfig(Section):
    """The validation behind an epoch."""

    image_size: Size | None = None
    """null: as the image is; a number: short side; [height, width]: largest size inside; aspect kept"""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """images in a row of which those of equal size are computed together; auto: as many as suit the device; no figure
    depends on it"""
    every_epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """epochs from one validation to the next; the first and the last epoch are validated in any case. auto: as many as
    keep validations below a quarter of the time, settled behind the first epoch and kept with the run"""


class EarlyStopping(Section):
    """Stops a training that no longer gets better."""

    metric: str | None = None
    """the column of results.csv that is watched, as of checkpoint.best; null: that one"""
    patience: int = Field(10, ge=1)
    """validations without a better figure until the run stops"""
    min_delta: float = Field(0.0, ge=0)
    """gain that counts as better"""


class CheckpointConfig(Section):
    """What a run keeps, to be used and to go on from."""

    best: str = "val_miou"
    """the column of results.csv by which the best epoch is told: val_miou, val_dice, val_accuracy, val_loss (the lower
    the better), or val_iou/CLASS"""
    every_epochs: int = Field(1, ge=1)
    """epochs from one training state and `last` bundle to the next; the last epoch leaves both in any case"""
    every_minutes: float | None = Field(15.0, gt=0)
    """minutes within an epoch after which a state is written in between; null: never"""
    keep: int = Field(2, ge=1)
    """newest training states that are kept"""


class EmaConfig(Section):
    """A moving average of the weights, which validation, bundles and pictures then show."""

    decay: float = Field(0.999, gt=0, lt=1)
    """share of the average that stays in a step; the first steps keep less, (1 + steps) / (10 + steps)"""


def _no_word(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() in {"none", "null", "false", ""} else value


class RunConfig(Section):
    """Everything that a run is made from."""

    dataset: DatasetConfig
    """the images and masks"""
    model_name: str = "Unet"
    """the architecture: Unet, Unet++, MAnet, Linknet, FPN, PSPNet, PAN, DeepLabV3, DeepLabV3+, UPerNet,
    Segformer, DPT"""
    encoder: str = "resnet34"
    """the encoder: one of smp's, or any of timm's that gives features"""
    encoder_weights: Annotated[str | None, BeforeValidator(_no_word)] = "imagenet"
    """what the network starts from: imagenet or another set the encoder has (noisy-student, advprop, ssl, swsl, dino,
    dinov2, dinov3, mae, fcmae, clip, or a tag of timm's: `seg list weights ENCODER`), `package:NAME`, a weight file,
    a run or bundle of your own (which fills the whole network, its head class by class), or none"""
    model: ModelOptions = ModelOptions()
    """the network's own options"""
    train: TrainConfig = TrainConfig()
    """the training loop"""
    val: ValConfig = ValConfig()
    """the validation"""
    loss: LossConfig = CrossEntropy()
    """what is minimised"""
    optimizer: OptimizerConfig = AdamW()
    """how it is minimised"""
    scheduler: SchedulerConfig = OneCycle()
    """the learning rate over time"""
    augmentation: AugmentationConfig = Light()
    """how training images are varied"""
    ema: EmaConfig | None = None
    """average the weights over the steps; null: no"""
    early_stopping: EarlyStopping | None = None
    """when to stop early; null: never"""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """what is kept, and which epoch is the best"""
    tracking: TrackingConfig = TrackingConfig()
    """where the figures go"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """number format of the forward pass; auto: bf16 where the device has it natively, else fp32"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to compute; auto: an accelerator if there is one"""
    seed: int = Field(0, ge=0)
    """seed of weights, order and augmentation"""
    output_dir: Path = Path("runs")
    """the folder that holds the runs"""

    @field_validator("model_name")
    @classmethod
    def _check_architecture(cls, value: str) -> str:
        return architecture_name(value)

    @model_validator(mode="after")
    def _check_momentum(self) -> Self:
        cycled = isinstance(self.scheduler, OneCycle) and self.scheduler.cycle_momentum
        if cycled and getattr(self.optimizer, "momentum", None) == 0:
            raise ValueError(
                "scheduler.cycle_momentum: there is none to cycle; leave it out, or raise optimizer.momentum"
            )
        return self

    @model_validator(mode="after")
    def _check_crops(self) -> Self:
        size = self.train.image_size
        side = size if isinstance(size, int) else min(size)
        terms = {f"loss.terms.{place}": term for place, term in enumerate(getattr(self.loss, "terms", ()))}
        for key, loss in {"loss": self.loss, **terms}.items():
            if side < loss.smallest_side:
                raise ValueError(
                    f"train.image_size: {key} ({loss.name}) needs sides of {loss.smallest_side} or more, not {side}; "
                    f"raise it, or lower {key}.pooling"
                )
        return self

    def to_yaml(self) -> str:
        """The resolved config as YAML that gives the same config back."""
        return dump_yaml(self.model_dump(mode="json"))


def config_schema() -> str:
    """The JSON Schema of a config file, for editors."""
    schema = RunConfig.model_json_schema()
    parts = {"RunConfig": schema, **schema["$defs"]}
    for section in _all_sections(RunConfig):
        for name, text in field_docs(section).items():
            parts[section.__name__]["properties"][name]["description"] = text
    return json.dumps(schema, indent=2)


def _all_sections(section: type[Section]) -> set[type[Section]]:
    inner = [part for field in section.model_fields.values() for part in sections_in(field.annotation)]
    return {section}.union(*(_all_sections(part) for part in inner))


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads and checks a config.

    Args:
        path: a YAML file.
        overrides: `key.path=value` each; the value is YAML.

    Raises:
        ConfigError: with a line for every problem: file, line, key, what is wrong and what to do.
    """
    file = read_yaml(path)
    values = _overridden(file.values, overrides)
    found: dict[tuple[int, str], list[str]] = {}
    config = None
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        # A list that is too short only because its items are wrong is no news beside them.
        problems = [problem for problem in error.errors() if problem["type"] != "too_short" or not problem["input"]]
        for problem in problems:
            keys, sections = _keys_of(problem["loc"], values)
            found.setdefault(_place_of(keys, file, overrides), []).append(_message(problem, keys, sections))
    for keys, message in network_problems(values):
        found.setdefault(_place_of(keys, file, overrides), []).append(message)
    if config is None or found:
        # What may be one of several types is told once, with the alternatives.
        lines = [f"{place}: {' or '.join(dict.fromkeys(messages))}" for (_, place), messages in sorted(found.items())]
        raise ConfigError("\n".join(lines)) from None
    return config


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    values = _copy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override}: expected key=value, as in --set train.epochs=3")
        _set(values, key.split("."), parse_value(text), override)
    return values


def _copy(values: Any) -> Any:
    """A deep copy of nested dicts and lists."""
    if isinstance(values, dict):
        return {key: _copy(value) for key, value in values.items()}
    return [_copy(value) for value in values] if isinstance(values, list) else values


def _set(container: Any, keys: list[str], value: Any, override: str) -> None:
    *parents, last = keys
    for key in parents:
        place: Any = _place(container, key, override) if isinstance(container, list) else key
        inner = container[place] if isinstance(container, list) else container.get(key)
        if not isinstance(inner, dict | list):
            # A section given by its name alone (`loss: dice`) stays that section.
            inner = {"name": inner} if isinstance(inner, str) else {}
            container[place] = inner
        container = inner
    if isinstance(container, list):
        container[_place(container, last, override)] = value
    else:
        container[last] = value


def _place(items: list[Any], key: str, override: str) -> int:
    if not key.isdigit() or int(key) >= len(items):
        raise ConfigError(f"--set {override}: {key} is no place in a list of {len(items)}")
    return int(key)


def _place_of(keys: Keys, file: YamlFile, overrides: Sequence[str]) -> tuple[int, str]:
    """The place of a problem: its line, for sorting, and its text."""
    dotted = ".".join(str(key) for key in keys)
    override = next((text for text in overrides if text.partition("=")[0] == dotted), None)
    place = f"--set {override}" if override else f"{file.where(keys)}: {dotted}" if dotted else str(file.path)
    return file.lines.get(keys, 0), place


def _keys_of(location: Keys, values: Any) -> tuple[Keys, tuple[str, ...]]:
    """Splits pydantic's location into the keys of the file and the union members it went through."""
    keys: list[str | int] = []
    sections: list[str] = []
    for place, step in enumerate(location):
        last = place == len(location) - 1
        inside = (isinstance(values, dict) and step in values) or (
            isinstance(values, list) and isinstance(step, int) and step < len(values)
        )
        if inside:
            values = values[step]
            keys.append(step)
        elif last and isinstance(values, dict) and _is_field(step, keys, sections):
            keys.append(step)
        else:
            sections.append(str(step))
    return tuple(keys), tuple(sections)


def _is_field(step: str | int, keys: Sequence[str | int], sections: Sequence[str]) -> bool:
    return any(step in section.model_fields for section in _sections_at(keys))


def _message(problem: ErrorDetails, keys: Keys, sections: Sequence[str]) -> str:
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"unknown key; {_hint(str(keys[-1]), keys[:-1], sections)}"
    if kind == "missing":
        return "missing; it must be given"
    text = problem["msg"].removeprefix("Value error, ")
    if kind in {"unknown_name", "value_error"}:
        return text
    shown = repr(problem["input"])
    return f"{text[0].lower()}{text[1:]}, not {shown if len(shown) < 60 else shown[:57] + '…'}"


def _hint(word: str, keys: Keys, names: Sequence[str]) -> str:
    """Others of the section's kind that have the key, else a close key, else the section that has it, else all keys."""
    if others := [part.model_fields["name"].default for part in _sections_at(keys) if word in part.model_fields]:
        return f"taken by {', '.join(others)}, not by {names[-1]}"
    known = {name for section in _sections_at(keys, names) for name in section.model_fields}
    for name, field in RunConfig.model_fields.items() if nearest(word, known) is None else ():
        if any(word in section.model_fields for section in sections_in(field.annotation)):
            return f"did you mean {name}.{word}?"
    return did_you_mean(word, known)


def _sections_at(keys: Sequence[str | int], names: Sequence[str] = ()) -> list[type[Section]]:
    """The section classes that may stand at a key path; those called by one of the names, if any is."""
    found: list[type[Section]] = [RunConfig]
    for key in keys:
        if isinstance(key, str):
            annotations = [part.model_fields[key].annotation for part in found if key in part.model_fields]
            found = [inner for annotation in annotations for inner in sections_in(annotation)]
    named = [part for part in found if "name" in part.model_fields and part.model_fields["name"].default in names]
    return named or found
