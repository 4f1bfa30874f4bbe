import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import full_disk

from segcli.errors import DataError, SegError, UsageError
from segcli.io.files import only_one, replacing, replacing_folder, walk, write_text


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ValueError, match="midway"), replacing(tmp_path / "a.txt") as staged:
        staged.write_text("half")
        raise ValueError("midway")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "f", durable=True) as staged:
        (staged / "a").write_text("old")
    with pytest.raises(ValueError, match="midway"), replacing_folder(tmp_path / "f") as staged:
        (staged / "b").write_text("half")
        raise ValueError("midway")
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["a"]
    with replacing_folder(tmp_path / "f") as staged:
        (staged / "c").write_text("new")
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["c"]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    message = r"a.txt cannot be written: File too large. What was there before is kept."
    with full_disk(1024), pytest.raises(SegError, match=message):
        write_text(tmp_path / "a.txt", "x" * 5000)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_the_writing_needs_and_misses_is_named(tmp_path: Path) -> None:
    said = "a.txt cannot be written: No such file or directory"
    with pytest.raises(SegError, match=rf"{said} \(lacking/tool\)"), replacing(tmp_path / "a.txt"):
        Path("lacking/tool").read_text()
    with pytest.raises(SegError, match=rf"{said}\. What"), replacing(tmp_path / "a.txt") as staged:
        (staged.parent / "lacking" / "c.txt").write_text("c")


def test_a_stop_between_the_two_renames_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replacing_folder(tmp_path / "f") as staged:
        (staged / "a").write_text("old")
    renames = []
    rename = Path.replace

    def stop_at_the_second(self: Path, target: Path) -> Path:
        renames.append(target)
        if len(renames) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "f") as staged:
        (staged / "b").write_text("new")
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


HOLD = """
import sys
from pathlib import Path
from segcli.io.files import only_one

with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_one_process_writes_a_folder_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "new" / "f"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        refused = f"another seg is writing {re.escape(str(place))} at this moment; wait for it, or stop it"
        with pytest.raises(UsageError, match=refused), only_one(place):
            pass
        with only_one(place.with_name("g")):  # another folder beside it
            pass
        holder.kill()
    with only_one(place):  # what a killed process leaves is no hindrance
        assert place.parent.is_dir()
    assert list(place.parent.iterdir()) == []


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="midway"), only_one(tmp_path / "new" / "f"):
        raise ValueError("midway")
    assert list(tmp_path.iterdir()) == []
    with only_one(tmp_path / "new" / "f"):
        (tmp_path / "new" / "kept").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kept"]


def test_all_readers_pass_over_what_is_hidden_and_follow_links_but_in_no_circle(tmp_path: Path) -> None:
    for name in ("b/2.json", "a.json", "b/.hidden.json", ".v7/x.json", "b/c/3.txt"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "4.json").touch()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "b" / "circle").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "itself").symlink_to(tmp_path / "root" / "itself")
    found = [path.relative_to(tmp_path / "root").as_posix() for path in walk(tmp_path / "root")]
    assert found == ["a.json", "b", "b/2.json", "b/c", "b/c/3.txt", "itself", "linked", "linked/4.json"]
    with pytest.raises(DataError, match="nothing: no such folder"):
        list(walk(tmp_path / "nothing"))
