from pathlib import Path

import pytest

from segcli.errors import ConfigError
from segcli.yamlfile import dump_yaml, parse_value, read_yaml


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E5", 1e5), ("1.5e-3", 1.5e-3), ("-2", -2), ("010", 10), (".5", 0.5), ("true", True),
        ("no", "no"), ("on", "on"), ("null", None), ("~", None), ("", None), ("1.2.3", "1.2.3"), ("[1, 2e-1]", [1, 0.2]),
        ("e5", "e5"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"),
    ],
)  # fmt: skip
def test_scalars_mean_what_people_mean(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_every_value_knows_its_line(tmp_path: Path) -> None:
    file = read_yaml(write(tmp_path, "a: 1\nb:\n  c: 2\n  d:\n    - x: 3\n    - 4\n"))
    assert file.where(("b", "c")).endswith("a.yml:3")
    assert file.where(("b", "d", 0, "x")).endswith("a.yml:5")
    assert file.where(("b", "d", 1)).endswith("a.yml:6")
    assert file.where(("b", "missing")).endswith("a.yml:2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yml:3: 'a' stands twice, here and on line 1"),
        ("a: {b: 1, b: 2}", "'b' stands twice"),
        ("a: [1, 2\nb: 3", "a.yml:2: not valid YAML"),
        ("- 1\n- 2\n", "expected `key: value` lines, found a list"),
        ("a: !!python/object:os.system {}", "not valid YAML"),
        ("? [a, b]\n: 1\n", "not valid YAML"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing.yml: no such file"):
        read_yaml(tmp_path / "nothing.yml")
    (tmp_path / "b.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"b.yml"):
        read_yaml(tmp_path / "b.yml")


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    values = {
        "a": [1, 0.001, "1e-3", "true", None, True],
        "no": "null",
        "12": {"x": "", "y": "é ü", "z": "~"},
        "e": 1e-07,
    }
    assert read_yaml(write(tmp_path, dump_yaml(values))).values == values
