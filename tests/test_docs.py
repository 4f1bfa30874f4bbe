from pathlib import Path

from segcli.cli.config_reference import config_reference

ROOT = Path(__file__).parents[1]


def test_the_reference_of_the_config_is_current() -> None:
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert text == config_reference(), "write it anew: seg config reference > docs/config.md"
