"""What is to be predicted: files and folders of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segcli.errors import DataError, UsageError
from segcli.io.images import SUFFIXES, find_images


class Found(NamedTuple):
    """An image to predict.

    Attributes:
        path: the file.
        name: where its products go below the output folder, without suffix.
    """

    path: Path
    name: str


def find_sources(sources: Sequence[Path]) -> list[Found]:
    """The images that files and folders name; those of a folder keep their place below it.

    Raises:
        UsageError: if a source is missing, or two images would write the same file.
        DataError: if a folder holds no images.
    """
    found: dict[str, Found] = {}
    for source in sources:
        for item in _images_of(source):
            if item.name in found:
                raise UsageError(
                    f"{item.path} and {found[item.name].path} would both write {item.name}; predict them apart"
                )
            found[item.name] = item
    return list(found.values())


def _images_of(source: Path) -> list[Found]:
    if source.is_dir():
        paths = find_images(source)
        if not paths:
            raise DataError(f"{source} holds no images ({', '.join(sorted(SUFFIXES))})")
        return [Found(path, path.relative_to(source).with_suffix("").as_posix()) for path in paths]
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    return [Found(source, source.stem)]
