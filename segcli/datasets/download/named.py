"""What a word behind `seg dataset prepare` means: a layout, a folder or an archive."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from segcli.datasets.download.archives import is_archive
from segcli.datasets.download.catalogue import ARCHIVES, BY_HAND, obtain
from segcli.datasets.layouts.base import Layout, Options
from segcli.datasets.layouts.detect import detect, find_layout
from segcli.datasets.layouts.known import LAYOUTS
from segcli.errors import UsageError, did_you_mean
from segcli.parallel import Progress

_OF_ARCHIVE = {archive.remote.file: layout for layout, archives in ARCHIVES.items() for archive in archives} | {
    name: layout for layout, names in BY_HAND.items() for name in names
}


class Native(NamedTuple):
    """A native dataset on disk."""

    layout: Layout
    folder: Path  # the working folder for a layout that needs none

    @property
    def target(self) -> Path:
        """Where it is prepared if nobody says where: a folder of one's own by its name, else by the layout's."""
        return Path("data") / (self.folder.resolve().name if self.layout.open else self.layout.name)


def find_native(
    what: str,
    layout: str | None,
    source: Path | None,
    options: Options,
    progress: Progress,
    say: Callable[[str], None],
) -> Native:
    """Finds a native dataset, after fetching and unpacking what is needed.

    Args:
        what: a layout, or the folder or archive of a dataset.
        layout: that of a folder or archive; None tells it by what lies there.
        source: the folder or archives of a layout; None fetches them.
        options: how it is to be read.
        progress: told of each MiB fetched and unpacked.
        say: told what is fetched.

    Raises:
        UsageError: if nothing is called so, or what lies there looks like no layout.
        DataError: if an archive is not what it should be.
    """
    if what in LAYOUTS and layout is None:
        chosen = find_layout(what)
        if source is not None and not chosen.needs_folder:
            raise UsageError(f"--from {source}: {what} needs no folder; leave it out")
        if source is not None and not source.exists():
            raise UsageError(f"--from: {source}: no such file or folder")
        folder = obtain(chosen, source, options.variant, progress, say) if chosen.needs_folder else Path()
        return Native(chosen, folder)
    path = Path(what)
    if source is not None:
        if not path.exists():
            find_layout(what)  # says that there is none
        raise UsageError(f"{what} and --from {source} both say where the data lies; give one of them")
    if not path.exists():
        if path.parent != Path():
            raise UsageError(f"{what}: no such file or folder")
        there = [other.name for other in Path().iterdir() if other.is_dir() and not other.name.startswith(".")]
        raise UsageError(f"no layout, folder or archive {what!r}; {did_you_mean(what, [*LAYOUTS, *there])}")
    told = find_layout(layout) if layout is not None else _by_archives(path)
    if told is not None:
        return Native(told, obtain(told, path, options.variant, progress, say))
    root = obtain(LAYOUTS["folder"], path, None, progress, say) if path.is_file() else path
    while (found := detect(root, options)) is None:
        inner = [*root.iterdir()]
        if path.is_dir() or len(inner) != 1 or not inner[0].is_dir():
            raise UsageError(
                f"{what} looks like no layout that seg knows; name its folders with --images and --masks, or say "
                f"which layout it is with --layout ({', '.join(LAYOUTS)})"
            )
        root = inner[0]  # an archive of one folder
    return Native(found, root)


def _by_archives(path: Path) -> Layout | None:
    """The layout of an archive, or of those in a folder, by their names."""
    files = [path] if path.is_file() else [other for other in sorted(path.iterdir()) if is_archive(other)]
    return next((LAYOUTS[_OF_ARCHIVE[file.name]] for file in files if file.name in _OF_ARCHIVE), None)
