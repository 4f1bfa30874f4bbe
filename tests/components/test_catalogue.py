import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from segcli.components.catalogue import entries
from segcli.components.losses import Loss
from segcli.config import DatasetConfig, RunConfig
from segcli.errors import UsageError


def test_parameters_and_strides_are_those_of_the_networks() -> None:
    facts = {entry.name: entry.facts for entry in entries("encoders", "resnet18")}
    assert facts["resnet18"] == {"parameters": "11.2 M", "stride": "32"}


def test_a_pattern_narrows_names() -> None:
    assert [entry.name for entry in entries("encoders", "tf_efficientnet_lite[01]*")] == [
        "tf_efficientnet_lite0",
        "tf_efficientnet_lite1",
    ]
    with pytest.raises(UsageError, match="no losses match 'xyz'"):
        entries("losses", "xyz")


def test_weights_come_with_word_source_and_licence() -> None:
    timms = {entry.name: entry.facts for entry in entries("weights", "tf_efficientnet_b3")}
    assert timms["ns_jft_in1k"] == {
        "word": "noisy-student", "source": "timm/tf_efficientnet_b3.ns_jft_in1k", "licence": "apache-2.0"
    }  # fmt: skip
    own = {entry.name: entry.facts for entry in entries("weights", "resnet50")}
    assert list(own)[:4] == ["imagenet", "ssl", "swsl", "a1_in1k"]
    assert own["imagenet"] == {
        "word": "imagenet", "source": "smp-hub/resnet50.imagenet", "licence": "bsd-3-clause"
    }  # fmt: skip
    assert own["bamboo"]["licence"] == "not stated"
    with pytest.raises(UsageError, match="wants an encoder"):
        entries("weights")
    with pytest.raises(UsageError, match="unknown encoder 'resnet5'"):
        entries("weights", "resnet5")


@pytest.mark.parametrize(
    ("kind", "key"),
    [("losses", "loss"), ("optimizers", "optimizer"), ("schedulers", "scheduler"), ("augmentations", "augmentation")],
)
def test_everything_listed_can_be_chosen(kind: str, key: str) -> None:
    for entry in entries(kind):
        extra = {"terms": [{"name": "dice"}]} if entry.name == "sum" else {}
        config = RunConfig.model_validate(
            {"dataset": DatasetConfig(embedded="shapes"), key: {"name": entry.name, **extra}}
        )
        assert getattr(config, key).name == entry.name
        assert set(entry.facts["keys"].split(", ")) - {""} <= type(getattr(config, key)).model_fields.keys()


def test_every_loss_is_listed() -> None:
    def below(kind: type) -> set[type]:
        return {kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))}

    named = {kind.model_fields["name"].default for kind in below(Loss) - {Loss}}
    assert named == {entry.name for entry in entries("losses")}


def test_every_architecture_takes_the_options_listed() -> None:
    facts = {entry.name: entry.facts["model options"] for entry in entries("architectures")}
    assert len(facts) == 12
    assert "attention" in facts["Unet"]
    assert "attention" not in facts["FPN"]
    assert "output_stride" in facts["DeepLabV3Plus"]


def test_the_command_prints_names_or_a_table_or_json(seg: Callable[..., Result]) -> None:
    names = seg("list", "encoders")
    assert (names.exit_code, "resnet34\n" in names.stdout) == (0, True)
    assert "with a pattern that leaves 40" in names.stderr
    assert "Falls to 0 along half a cosine" in seg("list", "schedulers").stdout
    values = json.loads(seg("list", "losses", "tv", "--json").stdout)
    assert [value["name"] for value in values] == ["tversky"]
    wrong = seg("list", "encoder")
    assert (wrong.exit_code, "did you mean encoders?" in wrong.stderr) == (2, True)
