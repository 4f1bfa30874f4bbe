import gzip
import io
import os
import random
import resource
import signal
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from segcli.datasets.download import archives
from segcli.datasets.download.archives import is_archive, unpack
from segcli.errors import DataError, SegError

FILES = {"data/images/a.png": b"image a" * 400, "data/images/b.png": b"", "data/läs mig.txt": b"text"}
KINDS = ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]


def silent(what: str, done: int, total: int) -> None:
    pass


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
    """The files below a folder that are not hidden."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def refuse(archive: Path, folder: Path, match: str) -> None:
    """An archive is refused in one line that names it, and nothing at all is written."""
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(DataError, match=match) as caught:
        unpack(archive, folder, silent)
    assert str(archive) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_their_folders_are_unpacked(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}")
    told: list[tuple[str, int, int]] = []
    unpack(archive, tmp_path / "out" / "deep", lambda *step: told.append(step))
    assert below(tmp_path / "out" / "deep") == FILES
    assert told[-3:] == [(f"unpacking a.{kind}", done, 3) for done in (1, 2, 3)]
    assert (tmp_path / "out/deep/data/läs mig.txt").stat().st_mode & 0o133 == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_known_by_its_name(tmp_path: Path, kind: str) -> None:
    assert is_archive(pack(tmp_path / f"a.{kind}"))
    assert is_archive((tmp_path / f"a.{kind}").rename(tmp_path / f"B.{kind}"))
    assert not is_archive(tmp_path / f"missing.{kind}")
    (tmp_path / f"folder.{kind}").mkdir()
    assert not is_archive(tmp_path / f"folder.{kind}")
    assert not is_archive(pack(tmp_path / f"a.{kind}").rename(tmp_path / "a.csv"))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_what_is_unpacked_is_not_unpacked_again(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}")
    unpack(archive, tmp_path / "out", silent)
    state = archive.stat()
    assert (tmp_path / f"out/.a.{kind}.unpacked").read_text().split() == [str(state.st_size), str(state.st_mtime_ns)]
    (tmp_path / "out/data/images/a.png").unlink()
    told: list[str] = []
    unpack(archive, tmp_path / "out", lambda what, done, total: told.append(what))
    assert not told and not (tmp_path / "out/data/images/a.png").exists()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_stopped_call_is_gone_on_from(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}")

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("unpacking") and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", stop)
    assert list(below(tmp_path / "out")) == ["data/images/a.png"]
    assert not (tmp_path / f"out/.a.{kind}.unpacked").exists()
    first = (tmp_path / "out/data/images/a.png").stat()
    unpack(archive, tmp_path / "out", silent)
    again = (tmp_path / "out/data/images/a.png").stat()
    assert below(tmp_path / "out") == FILES
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns), "it was kept"
    hidden = {path.name for path in (tmp_path / "out").rglob(".*")}
    assert hidden == {f".a.{kind}.unpacked"}


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(tmp_path / "a.zip", {"long.bin": random.Random(0).randbytes(5000)})
    monkeypatch.setattr(archives, "_CHUNK", 1000)
    chunks: list[bytes] = []
    read = zipfile.ZipExtFile.read

    def stop_at_the_third(self: zipfile.ZipExtFile, size: int = -1) -> bytes:
        chunks.append(read(self, size))
        if len(chunks) == 3:
            raise KeyboardInterrupt
        return chunks[-1]

    monkeypatch.setattr(zipfile.ZipExtFile, "read", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", silent)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".a.zip.unpacking"]


def test_files_of_another_size_are_replaced_and_of_the_same_size_kept(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"same.txt": b"new", "longer.txt": b"new"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/same.txt").write_bytes(b"old")
    (tmp_path / "out/longer.txt").write_bytes(b"older")
    (tmp_path / "out/mine.txt").write_bytes(b"mine")
    unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {"same.txt": b"old", "longer.txt": b"new", "mine.txt": b"mine"}


@pytest.mark.parametrize("stopped", [False, True], ids=["whole", "stopped"])
def test_files_of_an_earlier_archive_of_the_name_are_not_trusted(tmp_path: Path, stopped: bool) -> None:
    archive = pack(tmp_path / "a.tar", {"mask.raw": b"old", "gone.raw": b"kept"})
    unpack(archive, tmp_path / "out", silent)
    if stopped:
        (tmp_path / "out/.a.tar.unpacked").rename(tmp_path / "out/.a.tar.unpacking")
    pack(archive, {"mask.raw": b"new"})
    os.utime(archive, ns=(1, 1))
    unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {"mask.raw": b"new", "gone.raw": b"kept"}


def test_a_newer_archive_that_is_stopped_is_gone_on_from(tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    archive = pack(tmp_path / "a.zip", {"a.raw": b"old"})
    unpack(archive, tmp_path / "out", silent)
    pack(archive, {"a.raw": b"new", "b.raw": b"new"})
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", stop)
    first = (tmp_path / "out/a.raw").stat()
    unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {"a.raw": b"new", "b.raw": b"new"}
    assert (tmp_path / "out/a.raw").stat().st_mtime_ns == first.st_mtime_ns, "it was kept"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_a_name_that_comes_twice_the_last_counts(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}", [("a.txt", b"old"), ("./a.txt", b"new"), ("b.txt", b"b")])
    unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {"a.txt": b"new", "b.txt": b"b"}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../evil.txt", "outside the folder"),
        ("data/../../evil.txt", "outside the folder"),
        ("data/..", "outside the folder"),
        ("/tmp/evil.txt", "outside the folder"),
        ("//host/share/evil.txt", "outside the folder"),
        ("C:/evil.txt", "outside the folder"),
        ("./C:evil.txt", "outside the folder"),
        ("C:\\evil.txt", "a backslash"),
        ("..\\evil.txt", "a backslash"),
        (".", "no name"),
        ("evil\n.txt", "a control character"),
        ("../" + "evil" * 2000, "outside the folder"),
    ],
)
def test_names_that_lead_outside_are_refused_before_anything_is_written(
    tmp_path: Path, kind: str, name: str, fault: str
) -> None:
    archive = pack(tmp_path / f"a.{kind}", {"good.txt": b"good", name: b"evil", "last.txt": b"good"})
    refuse(archive, tmp_path / "out", f"its member .* {fault}.*; if you trust it, unpack it by hand")


@pytest.mark.parametrize("name", ["../out2/", "/tmp/"])
def test_folders_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    refuse(pack(tmp_path / "a.zip", {name: b""}), tmp_path / "out", "outside the folder")
    folder = tarfile.TarInfo(name)
    folder.type = tarfile.DIRTYPE
    refuse(pack_tar(tmp_path / "a.tar", [(folder, b"")]), tmp_path / "out", "outside the folder")


def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"path": "good\0evil"}
    refuse(pack_tar(tmp_path / "a.tar", [(info, b"")]), tmp_path / "out", "a control character")
    raw = pack(tmp_path / "a.zip", {"good_evil": b"data"}).read_bytes()
    (tmp_path / "a.zip").write_bytes(raw.replace(b"good_evil", b"good\0evil"))
    refuse(tmp_path / "a.zip", tmp_path / "out", "a control character")


def test_no_entry_for_the_folder_itself_disturbs(tmp_path: Path) -> None:
    here, data = tarfile.TarInfo("./"), tarfile.TarInfo("./data")
    here.type = data.type = tarfile.DIRTYPE
    archive = pack_tar(tmp_path / "a.tar", [(here, b""), (data, b""), (tarfile.TarInfo("./data/a.txt"), b"a")])
    unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {"data/a.txt": b"a"}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (b"Z", "of an unknown kind"),
    ],
)
def test_tar_members_that_are_no_files_are_refused(tmp_path: Path, kind: bytes, fault: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    info = tarfile.TarInfo("data/evil")
    info.type, info.linkname = kind, "../../secret.txt"
    archive = pack_tar(tmp_path / "a.tar.gz", [(tarfile.TarInfo("good.txt"), b"good"), (info, b"")])
    refuse(archive, tmp_path / "out", f"member 'data/evil' is .*{fault}")


def test_a_sparse_tar_member_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("holes.bin")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000000000000"}
    refuse(pack_tar(tmp_path / "a.tar", [(info, b"x")]), tmp_path / "out", "'holes.bin' is a sparse file")


@pytest.mark.parametrize(
    ("mode", "fault"),
    [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFCHR, "a device"), (stat.S_IFIFO, "a pipe")],
)
def test_zip_members_that_are_no_files_are_refused(tmp_path: Path, mode: int, fault: str) -> None:
    info = zipfile.ZipInfo("data/evil")
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("good.txt", b"good")
        packed.writestr(info, "../../secret.txt")
    refuse(tmp_path / "a.zip", tmp_path / "out", f"member 'data/evil' is .*{fault}")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_members_that_python_expands_at_one_go_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as packed:
        packed.writestr("a.txt", b"x" * 1000)
    refuse(tmp_path / "a.zip", tmp_path / "out", "'a.txt' is compressed by another method than deflate")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a.txt": b"a" * 100})
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1  # of the local header, and of the directory's entry
    raw[raw.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(raw)
    refuse(archive, tmp_path / "out", "'a.txt' is encrypted; .*unpack it by hand")


def test_a_link_in_the_folder_is_not_followed_outside(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "out"
    (folder / "real").mkdir(parents=True)
    outside.mkdir()
    (folder / "data").symlink_to(outside)
    refuse(pack(tmp_path / "a.zip", {"data/sub/a.txt": b"a"}), folder, r"would be written to .*outside/sub.*remove")
    # A link to another place in the folder is; so is the folder itself.
    (folder / "data").unlink()
    (folder / "data").symlink_to(folder / "real")
    (tmp_path / "alias").symlink_to(folder)
    unpack(tmp_path / "a.zip", tmp_path / "alias", silent)
    assert (folder / "real/sub/a.txt").read_bytes() == b"a" and not list(outside.iterdir())


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    files = {"longer.txt": b"1234567", "as long.txt": b"123456", "as long as its path.txt": b"1" * len(str(secret))}
    for name in files:
        (tmp_path / "out" / name).symlink_to(secret)
    unpack(pack(tmp_path / "a.zip", files), tmp_path / "out", silent)
    assert below(tmp_path / "out") == files and secret.read_bytes() == b"secret"
    assert not any((tmp_path / "out" / name).is_symlink() for name in files)


@pytest.mark.parametrize("mark", [".a.zip.unpacking", ".a.zip.unpacked"])
def test_a_link_in_the_place_of_the_mark_is_not_written_through(tmp_path: Path, mark: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / mark).symlink_to(tmp_path / "secret")
    unpack(pack(tmp_path / "a.zip", {"a.txt": b"a"}), tmp_path / "out", silent)
    assert below(tmp_path / "out") == {"a.txt": b"a"} and (tmp_path / "secret").read_bytes() == b"secret"


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
    refuse(archive, tmp_path / "out", "'bomb.bin' and those before it come to more than 200 times")


def test_many_small_files_come_to_a_bomb_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(tmp_path / "a.tar.gz", {f"{index}.bin": bytes(100_000) for index in range(20)})
    unpack(archive, tmp_path / "fine", silent)
    monkeypatch.setattr(archives, "_UNSUSPICIOUS", 1_000_000)
    refuse(archive, tmp_path / "out", "'10.bin' and those before it")
    monkeypatch.setattr(archives, "_MOST_RATIO", 2_000_000 / archive.stat().st_size + 1)
    unpack(archive, tmp_path / "also fine", silent)


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_ENTRIES", 3)
    unpack(pack(tmp_path / "a.tar", {f"{index}": b"" for index in range(3)}), tmp_path / "fine", silent)
    refuse(pack(tmp_path / "b.tar", {f"{index}": b"" for index in range(4)}), tmp_path / "out", "member '3' and")


def test_a_bomb_behind_the_last_member_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pack(tmp_path / "a.tar", {"a.txt": b"a"}).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain + bytes(5_000_000)))
    monkeypatch.setattr(archives, "_UNSUSPICIOUS", 1_000_000)
    refuse(tmp_path / "a.tar.gz", tmp_path / "out", "what follows its last member")


def test_a_zip_that_declares_too_little_writes_no_more_than_it_declares(tmp_path: Path) -> None:
    archive = declaring(tmp_path / "a.zip", 10, data=bytes(5_000_000))
    with pytest.raises(DataError, match=r"a.zip, member 'bomb.bin', cannot be unpacked: Bad CRC-32"):
        unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {}


class Endless(io.BytesIO):
    """A member that never ends."""

    def read(self, size: int | None = -1, /) -> bytes:
        return bytes(1000)


def test_bytes_are_counted_while_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the parser lets through."""
    archive = pack(tmp_path / "a.zip", {"bomb.bin": bytes(5000)})
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, info: Endless())
    with pytest.raises(DataError, match="'bomb.bin' is not of the 5000 bytes that it declares"):
        unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {}


def test_a_member_shorter_than_it_declares_is_refused(tmp_path: Path) -> None:
    archive = declaring(tmp_path / "a.zip", 2000, data=b"x" * 1000)
    with pytest.raises(DataError, match="'bomb.bin' is not of the 2000 bytes that it declares"):
        unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {}


def test_a_header_cannot_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 500 << 20
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    refuse(tmp_path / "a.tar.gz", tmp_path / "out", "claims a length of 524288000 bytes")


@pytest.mark.parametrize("size", [-512, -513, -(1 << 40)])
def test_a_negative_size_does_not_read_the_archive_for_ever(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("a.bin")
    info.size = size
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    refuse(tmp_path / "a.tar", tmp_path / "out", "'a.bin' has no proper size")


def test_what_does_not_fit_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(tmp_path / "a.zip", {"a.bin": bytes(6000), "b.bin": bytes(5000)})
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage)
    refuse(archive, tmp_path / "deep" / "out", r"its 2 files need .* GiB more, .* make room")
    # What is there already needs no room.
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.bin").write_bytes(bytes(6000))
    unpack(archive, tmp_path / "out", silent)
    assert len(below(tmp_path / "out")) == 2


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Lets no file grow beyond 1 kB, as a disk that is full would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_said_plainly(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    archive = pack(tmp_path / "a.zip", {"a.txt": b"a", "long.bin": bytes(5000)})
    request.getfixturevalue("full_disk")
    with pytest.raises(SegError, match=r"long.bin cannot be written: File too large"):
        unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {"a.txt": b"a"}


NOISE = {f"{index}.bin": random.Random(index).randbytes(3000) for index in range(8)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_an_archive_cut_short_is_never_taken_for_whole(tmp_path: Path, kind: str, share: float) -> None:
    archive = pack(tmp_path / f"a.{kind}", NOISE)
    raw = archive.read_bytes()
    archive.write_bytes(raw[: int(share * len(raw))])
    # A zip has its directory at its end, and a tar is read to its end first: nothing is written at all.
    refuse(archive, tmp_path / "out", "cannot be unpacked: .*; if it is damaged, fetch it anew")


@pytest.mark.parametrize("blocks", [0, 1, 2, 7, 8, 9, 20])
def test_a_tar_cut_between_or_in_its_headers_is_refused(tmp_path: Path, blocks: int) -> None:
    archive = pack(tmp_path / "a.tar", NOISE)  # 7 blocks each: a header and 6 of data
    raw = archive.read_bytes()
    for length in (blocks * 512, blocks * 512 + 100):
        archive.write_bytes(raw[:length])
        refuse(archive, tmp_path / "out", "fetch it anew")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar", NOISE)
    raw = bytearray(archive.read_bytes())
    raw[7 * 512] ^= 1
    archive.write_bytes(raw)
    refuse(archive, tmp_path / "out", "breaks off before its end")


def test_flipped_bytes_leave_only_whole_files(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", NOISE)
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"3.bin") + 1000] ^= 0xFF
    archive.write_bytes(raw)
    with pytest.raises(DataError, match=r"a.zip, member '3.bin', cannot be unpacked: .*fetch it anew"):
        unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out") == {name: NOISE[name] for name in ("0.bin", "1.bin", "2.bin")}
    assert not (tmp_path / "out/.a.zip.unpacked").exists()


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_the_check_sum_of_a_compressed_tar_is_looked_at_before_anything_is_written(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / f"a.{kind}", NOISE)
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    archive.write_bytes(raw)
    refuse(archive, tmp_path / "out", "fetch it anew")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
@pytest.mark.parametrize("content", [b"", b"<html>log in first</html>" * 50, bytes(100)])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refuse(tmp_path / name, tmp_path / "out", "cannot be unpacked")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_without_files_is_refused(tmp_path: Path, kind: str) -> None:
    """Damage to the end of a zip file can make it look empty."""
    refuse(pack(tmp_path / f"a.{kind}", {}), tmp_path / "out", "holds no files; if it should, fetch it anew")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    refuse(tmp_path / "a.zip", tmp_path / "out", "a.zip: no such file")


@pytest.mark.parametrize("change", [lambda files: {**files, "c.txt": b"c"}, lambda files: {"x.txt": b"a"}])
def test_an_archive_that_changes_meanwhile_is_not_taken_for_unpacked(
    tmp_path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> None:
    files = {"a.txt": b"a", "b.txt": b"b"}
    archive = pack(tmp_path / "a.tar.gz", files)
    changed = pack(tmp_path / "new.tar.gz", change(files)).read_bytes()

    def tell(what: str, done: int, total: int) -> None:
        if what.startswith("checking"):
            archive.unlink(missing_ok=True)
            archive.write_bytes(changed)

    if b"c" in change(files).values():
        unpack(archive, tmp_path / "out", tell)
        assert below(tmp_path / "out") == files
    else:
        with pytest.raises(DataError, match="was changed while"):
            unpack(archive, tmp_path / "out", tell)
    # The mark is that of the archive as it was: the changed one is unpacked anew.
    unpack(archive, tmp_path / "out", silent)
    assert below(tmp_path / "out").items() >= change(files).items()
