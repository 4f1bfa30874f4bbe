import re
import tomllib
from dataclasses import fields
from pathlib import Path

from segcli.cli.config_reference import config_reference
from segcli.io.card import ModelCard

ROOT = Path(__file__).parents[1]


def test_the_reference_of_the_config_is_current() -> None:
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert text == config_reference(), "write it anew: seg config reference > docs/config.md"


def test_the_page_of_the_onnx_file_has_every_key_of_a_card() -> None:
    rows = [
        line.split("|")[1]
        for line in (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8").splitlines()
        if "|" in line
    ]
    told = {name.partition(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert told == {"format", *(field.name for field in fields(ModelCard))}


def test_the_images_are_built_of_all_that_the_package_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {*wheel["force-include"], *wheel.get("packages", ["segcli"]), project["project"]["readme"]}
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    common, code = (next(stage for stage in stages if f" AS {name}\n" in stage) for name in ("build", "code"))
    copied = {word for line in re.findall(r"^COPY (.+) \S+$", common + code, re.MULTILINE) for word in line.split()}
    assert wanted <= copied
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name}" for name in copied} <= set(sent) | {"!docker/minimal_root.sh"}
