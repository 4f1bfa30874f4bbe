from pathlib import Path

import pytest
import torch

from segcli.errors import ModelError
from segcli.io.checkpoint import load_checkpoint, save_checkpoint


def test_the_newest_whole_state_wins(tmp_path: Path) -> None:
    for step in (5, 90, 100):
        save_checkpoint(tmp_path, {"step": step, "x": torch.full((3,), step), "rows": [{"a": 1.5, "b": None}]}, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000090", "step-00000100"]
    state = load_checkpoint(tmp_path)
    assert state["step"] == 100
    assert state["rows"] == [{"a": 1.5, "b": None}]
    content = bytearray((tmp_path / "step-00000100" / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "step-00000100" / "state.pt").write_bytes(content)
    assert load_checkpoint(tmp_path)["step"] == 90
    (tmp_path / "step-00000090" / "manifest.json").unlink()
    with pytest.raises(ModelError, match="holds no whole training state"):
        load_checkpoint(tmp_path)
