"""ADE20K SceneParsing: 150 classes, 0 in the masks means none of them."""

from pathlib import Path

from segcli.datasets.layouts.base import Source
from segcli.datasets.layouts.pairing import Folders, list_images, match_splits
from segcli.errors import DataError
from segcli.task import Task

MARK = ("objectInfo150.txt", "ADEChallengeData2016/objectInfo150.txt")


def find(root: Path) -> Source:
    """Finds ADEChallengeData2016 at or below a folder; the classes are those of its objectInfo150.txt.

    The images of `release_test/testing` beside it, whose masks are secret, become the test split.

    Raises:
        DataError: if the folder is not laid out so.
    """
    home = root / "ADEChallengeData2016" if (root / "ADEChallengeData2016").is_dir() else root
    table = home / "objectInfo150.txt"
    if not table.is_file():
        raise DataError(f"{root} holds no ADEChallengeData2016/objectInfo150.txt; give ADE20K's folder with --from")
    task = Task.of(_names(table))
    value_map = {0: task.ignore_index, **{index + 1: index for index in range(task.num_classes)}}
    names = {"train": "training", "val": "validation"}
    folders = {s: [Folders(home / "images" / name, home / "annotations" / name)] for s, name in names.items()}
    splits, findings = match_splits(root, folders, "images/ and annotations/ have a folder for each")
    test = home.parent / "release_test" / "testing"
    if test.is_dir():
        splits["test"], _ = list_images(test)
    return Source("ade20k", str(root), splits, task, value_map, findings=findings)


def _names(table: Path) -> list[str]:
    """The first synonym of each class; the few that share it (as two kinds of screen do) keep all their synonyms."""
    rows = [line.split("\t")[-1].strip() for line in table.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    first = [row.split(",")[0].strip() for row in rows]
    return [short if first.count(short) == 1 else row for short, row in zip(first, rows, strict=True)]
