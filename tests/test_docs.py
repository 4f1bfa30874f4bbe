import re
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
