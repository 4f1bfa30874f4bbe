import gzip
import io
import os
import random
import resource
import shutil
import signal
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from segcli.datasets.download import archives
from segcli.datasets.download.archives import is_archive, unpack
from segcli.errors import DataError
from segcli.parallel import silent

FILES = {"data/images/a.png": b"image a" * 400, "data/images/b.png": b"", "data/läs mig.txt": b"text"}
NOISE = {f"{index}.bin": random.Random(index).randbytes(3000) for index in range(8)}
KINDS = ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]


def pack(path: Path, files: Mapping[str, bytes] | list[tuple[str, bytes]] = FILES) -> Path:
    """Writes an archive of the kind that its name says."""
    entries = list(files.items()) if isinstance(files, Mapping) else files
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that come twice
            for name, data in entries:
                packed.writestr(name, data)
        return path
    return pack_tar(path, [(tarfile.TarInfo(name), data) for name, data in entries])


def pack_tar(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    how = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz", ".tar": "w"}[path.suffix]
    with tarfile.open(path, how) as packed:
        for info, data in entries:
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(archive: Path, match: str) -> None:
    """An archive is refused in one line that names it, and nothing is written but in its folder."""
    around = archive.parent
    before = set(around.rglob("*"))
    with pytest.raises(DataError, match=match) as caught:
        unpack(archive, around / "out" / "deep", silent)
    assert str(archive) in str(caught.value) and "\n" not in str(caught.value)
    shutil.rmtree(around / "out", ignore_errors=True)
    assert set(around.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_their_folders_are_unpacked(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}")
    told: list[tuple[str, int, int]] = []
    unpack(archive, tmp_path / "out" / "deep", lambda *step: told.append(step))
    assert below(tmp_path / "out" / "deep") == FILES
    assert told[-1] == (f"unpacking a.{kind}", 1, 1)
    assert (tmp_path / "out/deep/data/läs mig.txt").stat().st_mode & 0o133 == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_known_by_its_name(tmp_path: Path, kind: str) -> None:
    assert is_archive(pack(tmp_path / f"a.{kind}"))
    assert is_archive((tmp_path / f"a.{kind}").rename(tmp_path / f"B.{kind.upper()}"))
    (tmp_path / f"folder.{kind}").mkdir()
    assert not is_archive(tmp_path / f"folder.{kind}")
    assert not is_archive(pack(tmp_path / f"a.{kind}").rename(tmp_path / "a.csv"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_a_name_that_comes_twice_the_last_counts(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}", [("a.txt", b"old"), ("./a.txt", b"new"), ("b.txt", b"b")])
    unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {"a.txt": b"new", "b.txt": b"b"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_names_may_be_as_long_as_a_disk_allows(tmp_path: Path, kind: str) -> None:
    names = ["n" * 246 + ".png", "n" * 255, "ü" * 127, "deep/" * 20 + "m" * 250]
    unpack(pack(tmp_path / f"a.{kind}", dict.fromkeys(names, b"x")), tmp_path / "fine", silent)
    assert set(below(tmp_path / "fine")) == set(names)
    for name in ["n" * 256, "ü" * 128, "d" * 256 + "/a.png"]:
        refuse(pack(tmp_path / f"b.{kind}", {name: b"x"}), "its member .* has a name of more than 255 bytes")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../evil.txt", "outside the folder"),
        ("data/../../evil.txt", "outside the folder"),
        ("/tmp/evil.txt", "outside the folder"),
        ("//host/share/evil.txt", "outside the folder"),
        ("C:\\evil.txt", "a backslash"),
        ("../" + "evil" * 2000, "outside the folder"),
        ("../folder/", "outside the folder"),
    ],
)
def test_names_that_lead_outside_are_refused(tmp_path: Path, kind: str, name: str, fault: str) -> None:
    archive = pack(tmp_path / f"a.{kind}", {"good.txt": b"good", name: b"", "last.txt": b"good"})
    refuse(archive, f"its member .* {fault}.*; if you trust it, unpack it by hand")


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
    ],
)
def test_tar_members_that_are_no_files_are_refused(tmp_path: Path, kind: bytes, fault: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    info = tarfile.TarInfo("data/evil")
    info.type, info.linkname = kind, "../../secret.txt"
    refuse(pack_tar(tmp_path / "a.tar.gz", [(tarfile.TarInfo("good"), b"good"), (info, b"")]), f"'data/evil' .*{fault}")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_zip_members_that_are_no_files_are_refused(tmp_path: Path, mode: int) -> None:
    info = zipfile.ZipInfo("data/evil")
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("good.txt", b"good")
        packed.writestr(info, "../../secret.txt")
    refuse(tmp_path / "a.zip", "its member 'data/evil' is a link or a device")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_members_that_python_expands_at_one_go_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as packed:
        packed.writestr("a.txt", b"x" * 1000)
    refuse(tmp_path / "a.zip", "'a.txt' is compressed by another method than deflate")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a.txt": b"a" * 100})
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1  # of the local header, and of the directory's entry
    raw[raw.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(raw)
    refuse(archive, "'a.txt' is encrypted; .*unpack it by hand")


def declaring(archive: Path, size: int, data: bytes = b"x") -> Path:
    """An archive whose header declares a size that its only file has not."""
    if archive.suffix == ".zip":
        raw = bytearray(pack(archive, {"bomb.bin": data}).read_bytes())
        struct.pack_into("<I", raw, raw.index(b"PK\1\2") + 24, size)
        archive.write_bytes(raw)
        return archive
    info = tarfile.TarInfo("bomb.bin")
    info.size = size
    header = info.tobuf(tarfile.GNU_FORMAT) + data
    archive.write_bytes(gzip.compress(header) if archive.suffix == ".gz" else header)
    return archive


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_declares_too_much_is_refused(tmp_path: Path, kind: str) -> None:
    archive = declaring(tmp_path / f"a.{kind}", 3 << 30)
    refuse(archive, "'bomb.bin' and those before it come to more than 200 times")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_many_small_files_come_to_a_bomb_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}", {f"{index}.bin": bytes(100_000) for index in range(20)})
    unpack(archive, tmp_path / "fine", silent)  # of less than a GiB any ratio is
    monkeypatch.setattr(archives, "UNSUSPICIOUS", 1_000_000)
    monkeypatch.setattr(archives, "MOST_RATIO", 1)
    refuse(archive, "'10.bin' and those before it come to more than")


def test_a_bomb_behind_the_last_member_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pack(tmp_path / "a.tar", {"a.txt": b"a"}).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain + bytes(5_000_000)))
    unpack(tmp_path / "a.tar.gz", tmp_path / "fine", silent)
    monkeypatch.setattr(archives, "UNSUSPICIOUS", 1_000_000)
    refuse(tmp_path / "a.tar.gz", "what follows its last member")


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_ENTRIES", 3)
    unpack(pack(tmp_path / "a.tar", {f"{index}": b"" for index in range(3)}), tmp_path / "fine", silent)
    refuse(pack(tmp_path / "b.tar", {f"{index}": b"" for index in range(4)}), "member '3' and those before it")


def test_a_zip_that_declares_too_little_is_refused(tmp_path: Path) -> None:
    refuse(declaring(tmp_path / "a.zip", 10, data=bytes(5_000_000)), "cannot be unpacked: Bad CRC-32 .*'bomb.bin'")


def test_a_header_cannot_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 500 << 20
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    refuse(tmp_path / "a.tar.gz", "claims a length of 524288000 bytes")


@pytest.mark.parametrize("size", [-512, -513, -(1 << 40)])
def test_a_negative_size_does_not_read_the_archive_for_ever(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("a.bin")
    info.size = size
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    refuse(tmp_path / "a.tar", "'a.bin' has no proper size")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_what_does_not_fit_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}", {"a.bin": bytes(6000), "b.bin": bytes(5000)})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=20_000, used=10_000, free=10_000))
    refuse(archive, r"its files need more than .* GiB, but the disk of .* has .* free; make room")


def test_a_full_disk_is_not_taken_for_damage(tmp_path: Path) -> None:
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for kind in ("zip", "tar.gz"):
        archive = pack(tmp_path / f"a.{kind}", {"a.txt": b"a", "long.bin": bytes(5000)})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                unpack(archive, tmp_path / "out", silent)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_an_archive_cut_short_is_never_taken_for_whole(tmp_path: Path, kind: str, share: float) -> None:
    archive = pack(tmp_path / f"a.{kind}", NOISE)
    os.truncate(archive, int(share * archive.stat().st_size))
    refuse(archive, "cannot be unpacked: .*; if it is damaged, fetch it anew")


@pytest.mark.parametrize("blocks", [0, 1, 2, 7, 8, 9, 20])
def test_a_tar_cut_between_or_in_its_headers_is_refused(tmp_path: Path, blocks: int) -> None:
    archive = pack(tmp_path / "a.tar", NOISE)  # 7 blocks each: a header and 6 of data
    for length in (blocks * 512 + 100, blocks * 512):
        os.truncate(archive, length)
        refuse(archive, "fetch it anew")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar", NOISE)
    raw = bytearray(archive.read_bytes())
    raw[7 * 512] ^= 1
    archive.write_bytes(raw)
    refuse(archive, "breaks off before its end")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_flipped_bytes_are_noticed(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}", NOISE)
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    archive.write_bytes(raw)
    refuse(archive, "fetch it anew")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
@pytest.mark.parametrize("content", [b"", b"<html>log in first</html>" * 50, bytes(100)])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refuse(tmp_path / name, "cannot be unpacked")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_without_files_is_refused(tmp_path: Path, kind: str) -> None:
    """Damage to the end of a zip file can make it look empty."""
    refuse(pack(tmp_path / f"a.{kind}", {}), "holds no files; if it should, fetch it anew")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_file_that_must_also_be_a_folder_is_refused(tmp_path: Path, kind: str) -> None:
    refuse(pack(tmp_path / f"a.{kind}", {"a": b"", "a/b": b""}), "cannot be unpacked: .*fetch it anew")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    refuse(tmp_path / "a.zip", "a.zip: no such file")
