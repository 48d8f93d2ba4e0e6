"""Layers unpack faithfully, and hostile ones do not get out. What takes root is in tests/integration/test_image_layer.py."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stackrun.errors import InvalidArgument, KernelError, StackrunError, Unsupported
from stackrun.image.layer import unpack_layer


def member(name: str, data: bytes | None = None, *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644, mtime: float = 1e3,
           pax: dict[str, str] | None = None) -> tuple[tarfile.TarInfo, bytes]:  # fmt: skip
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, link, mode, mtime
    info.uid, info.gid = os.getuid(), os.getgid()
    info.size = len(data or b"")
    info.pax_headers = pax or {}
    return info, data or b""


def directory(name: str, mode: int = 0o755, mtime: float = 1_000.0) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.DIRTYPE, mode=mode, mtime=mtime)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.SYMTYPE, link=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.LNKTYPE, link=target)


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The layer's directory, with something worth reaching beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("untouched")
    inside = tmp_path / "root"
    inside.mkdir()
    return inside


def unpack(root: Path, data: bytes) -> tuple[str, int]:
    return unpack_layer(io.BytesIO(data), root)


def assert_untouched(root: Path) -> None:
    outside = root.parent / "outside"
    assert sorted(os.listdir(root.parent)) == ["outside", "root"]
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_text() == "untouched"
    assert (outside / "secret").stat().st_nlink == 1


# --- faithful ---


def test_files_directories_and_links(root: Path) -> None:
    data = tar(
        directory("d", 0o750, mtime=5.0),
        member("d/f", b"hello", mode=0o4755, mtime=7.0),
        hard_link("d/same", "d/f"),
        symlink("to-f", "d/f"),
        symlink("absolute", "/d"),
        member("implied/parent/f", b"x"),
        member("fifo", kind=tarfile.FIFOTYPE, mode=0o600),
    )
    digest, size = unpack(root, data)
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert size == 6
    file = root / "d/f"
    assert file.read_bytes() == b"hello"
    assert stat.S_IMODE(file.stat().st_mode) == 0o4755
    assert file.stat().st_mtime == 7.0
    assert file.stat().st_nlink == 2
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750
    assert (root / "d").stat().st_mtime == 5.0  # although files were made in it afterwards
    assert os.readlink(root / "to-f") == "d/f"
    assert (root / "to-f").lstat().st_mtime == 1000.0
    assert stat.S_ISFIFO((root / "fifo").lstat().st_mode)
    assert (root / "implied/parent/f").exists()


def test_times_keep_their_nanoseconds(root: Path) -> None:
    unpack(root, tar(member("f", b"", pax={"mtime": "1700000000.123456789"}), member("old", b"", pax={"mtime": "-5"})))
    assert (root / "f").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert (root / "old").stat().st_mtime_ns == 0


def test_names_of_any_bytes(root: Path) -> None:
    name = b"caf\xe9 \xff\n".decode("utf-8", "surrogateescape")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        info, data = member(name, b"1")
        archive.addfile(info, io.BytesIO(data))
    unpack(root, buffer.getvalue())
    assert os.listdir(os.fsencode(root)) == [b"caf\xe9 \xff\n"]


def test_long_names(root: Path) -> None:
    path = "/".join(["n" * 200] * 3)
    unpack(root, tar(member(path, b"1")))
    assert (root / path).read_bytes() == b"1"
    with pytest.raises(InvalidArgument, match="longer than"):
        unpack(root, tar(member("n" * 300, b"1")))


def test_a_later_member_replaces_an_earlier_one(root: Path) -> None:
    data = tar(
        member("a", b"1"), member("a", b"2"),
        directory("b"), member("b/x", b""), member("b", b"now a file"),
        member("c", b""), directory("c"), member("c/y", b""),
        symlink("d", "a"), member("d", b"not through the link"),
    )  # fmt: skip
    unpack(root, data)
    assert (root / "a").read_bytes() == b"2"
    assert (root / "b").read_bytes() == b"now a file"
    assert (root / "c/y").exists()
    assert (root / "d").read_bytes() == b"not through the link"


def test_a_parent_may_be_a_link_inside(root: Path) -> None:
    unpack(root, tar(directory("usr"), directory("usr/lib"), symlink("lib", "usr/lib"), member("lib/x", b"1"), member("lib/y", b"2")))
    assert sorted(os.listdir(root / "usr/lib")) == ["x", "y"]
    assert (root / "lib").is_symlink()


def test_the_root_itself_can_be_a_member(root: Path) -> None:
    unpack(root, tar(directory("./", 0o700, mtime=9.0), member("./f", b"")))
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert root.stat().st_mtime == 9.0


def test_whiteouts(root: Path) -> None:
    unpack(root, tar(directory("d"), member("d/.wh.gone", b""), member(".wh.top", b""), member(".wh..wh.plnk", b"")))
    for path in (root / "d/gone", root / "top"):
        status = path.lstat()
        assert stat.S_ISCHR(status.st_mode)
        assert status.st_rdev == 0
    assert sorted(os.listdir(root)) == ["d", "top"]


def test_a_whiteout_does_not_hide_its_own_layer(root: Path) -> None:
    unpack(root, tar(member("f", b"mine"), member(".wh.f", b""), member(".wh.g", b""), member("g", b"mine too")))
    assert (root / "f").read_bytes() == b"mine"
    assert (root / "g").read_bytes() == b"mine too"


@pytest.mark.parametrize("compress", [gzip.compress, lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + b"\0" * 64])
def test_gzip(root: Path, compress: Callable[[bytes], bytes]) -> None:
    data = tar(member("f", b"x" * 5000))
    assert unpack(root, compress(data))[0] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert (root / "f").stat().st_size == 5000


@pytest.mark.skipif(not shutil.which("zstd"), reason="no zstd program here")
def test_zstd(root: Path) -> None:
    data = tar(member("f", b"x" * 500_000))
    compressed = subprocess.run(["zstd", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    assert unpack(root, compressed)[0] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    with pytest.raises(InvalidArgument, match="zstd stream is damaged"):
        unpack(root, compressed[:-6])


def test_without_a_zstd_program_it_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match="zstd"):
        unpack(root, b"\x28\xb5\x2f\xfd" + b"\0" * 20)


@pytest.mark.parametrize("data", [b"", b"\0" * 1024, b"\0" * 10240])
def test_empty_layers(root: Path, data: bytes) -> None:
    assert unpack(root, data) == (f"sha256:{hashlib.sha256(data).hexdigest()}", 0)
    assert os.listdir(root) == []


def test_padding_after_the_end_counts_for_the_digest(root: Path) -> None:
    data = tar(member("f", b"")) + b"\0" * 100_000
    assert unpack(root, data)[0] == f"sha256:{hashlib.sha256(data).hexdigest()}"


# --- damaged ---


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:700],
        lambda data: data[:1024],
        lambda data: data[:1024] + b"garbage" * 100 + data[1724:],
        lambda data: b"this is no tar at all" * 50,
        lambda data: gzip.compress(data)[:-20],
        lambda data: gzip.compress(data)[:40] + b"\xff" * 40,
        lambda data: gzip.compress(data) + b"trailing",
    ],
)
def test_damage_is_noticed(root: Path, damage: Callable[[bytes], bytes]) -> None:
    data = tar(member("f", b"x" * 600), member("g", os.urandom(600)))
    with pytest.raises(InvalidArgument):
        unpack(root, damage(data))


@pytest.mark.parametrize("magic", [b"BZh91AY", b"\xfd7zXZ\x00\x00"])
def test_other_compressions_are_named(root: Path, magic: bytes) -> None:
    with pytest.raises(Unsupported, match="compressed images are not supported"):
        unpack(root, magic + b"\0" * 100)


# --- hostile ---


@pytest.mark.parametrize("name", ["../outside/evil", "a/../../outside/evil", "d/..", "..", "/../outside/evil", "./../x"])
def test_dot_dot_is_refused(root: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="leads out of the image"):
        unpack(root, tar(member(name, b"evil")))
    assert_untouched(root)


def test_absolute_names_stay_inside(root: Path) -> None:
    unpack(root, tar(member(f"{root.parent}/outside/secret", b"evil")))
    assert_untouched(root)
    assert (root / str(root.parent).lstrip("/") / "outside/secret").read_bytes() == b"evil"


@pytest.mark.parametrize("target", ["ABSOLUTE", "../outside", "./../outside", "../../../../../../../../ABSOLUTE"])
def test_nothing_is_written_through_a_link_that_leads_out(root: Path, target: str) -> None:
    target = target.replace("ABSOLUTE", f"{root.parent}/outside")
    for evil in (
        member("x/evil", b"evil"),
        member("x/secret", b"evil"),
        directory("x/dir"),
        member("x/.wh.secret", b""),
        symlink("x/s", "y"),
    ):
        shutil.rmtree(root)
        root.mkdir()
        with pytest.raises(StackrunError):
            unpack(root, tar(symlink("x", target), evil))
        assert_untouched(root)


def test_the_last_component_is_never_followed(root: Path) -> None:
    secret = f"{root.parent}/outside/secret"
    unpack(root, tar(symlink("x", secret), member("x", b"evil"), symlink("y", f"{root.parent}/outside"), directory("y", 0o777)))
    assert_untouched(root)
    assert (root / "x").read_bytes() == b"evil"
    assert not (root / "y").is_symlink()


def test_chained_links_do_not_help(root: Path) -> None:
    data = tar(directory("a"), symlink("a/up", ".."), symlink("b", "a/up/.."), symlink("c", "b/../outside"), member("c/evil", b"evil"))
    with pytest.raises(StackrunError):
        unpack(root, data)
    assert_untouched(root)


@pytest.mark.parametrize("target", ["../outside/secret", "ABSOLUTE/outside/secret", "x/secret", "missing", ""])
def test_hard_links_reach_nothing_outside(root: Path, target: str) -> None:
    target = target.replace("ABSOLUTE", str(root.parent))
    with pytest.raises(InvalidArgument):
        unpack(root, tar(symlink("x", f"{root.parent}/outside"), hard_link("h", target)))
    assert_untouched(root)


def test_a_hard_link_to_a_link_is_the_link(root: Path) -> None:
    unpack(root, tar(symlink("x", f"{root.parent}/outside/secret"), hard_link("h", "x")))
    assert (root / "h").is_symlink()
    assert_untouched(root)


def test_writing_through_a_hard_linked_symlink_replaces_it(root: Path) -> None:
    unpack(root, tar(symlink("x", f"{root.parent}/outside/secret"), hard_link("h", "x"), member("h", b"evil")))
    assert_untouched(root)
    assert (root / "h").read_bytes() == b"evil"


@pytest.mark.parametrize("name", [".wh...", ".wh..", ".wh.", "d/.wh..."])
def test_whiteouts_of_nothing(root: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="names nothing"):
        unpack(root, tar(member(name, b"")))


def test_xattrs_of_overlayfs_are_not_taken(root: Path) -> None:
    pax = {"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.mine": "1"}
    unpack(root, tar(member("f", b"", pax=pax)))
    assert [name for name in os.listxattr(root / "f") if "overlay" in name] == []


def test_unknown_member_types(root: Path) -> None:
    with pytest.raises(InvalidArgument, match="unknown type"):
        unpack(root, tar(member("f", kind=b"Z")))


def test_a_link_loop_is_an_error(root: Path) -> None:
    with pytest.raises(KernelError):
        unpack(root, tar(symlink("a", "b"), symlink("b", "a"), member("a/f", b"")))


# --- what would have to be held in memory ---


def described(kind: bytes, size: int, name: str = "header") -> bytes:
    """One block that announces `size` bytes of description."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_description_of_gigabytes_is_refused_before_it_is_read(root: Path, kind: bytes) -> None:
    with pytest.raises(InvalidArgument, match="a header of"):
        unpack_layer(io.BytesIO(described(kind, 1 << 32)), root)


def test_descriptions_without_end_are_refused(root: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        with pytest.raises(InvalidArgument, match="too many headers"):
            unpack_layer(io.BytesIO((described(kind, 512) + bytes(512)) * 2000), root)


def test_sparse_files_are_refused(root: Path) -> None:
    with pytest.raises(InvalidArgument, match="sparse"):
        unpack_layer(io.BytesIO(described(tarfile.GNUTYPE_SPARSE, 0) + bytes(1024)), root)
    for pax in ({"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}):
        with pytest.raises(InvalidArgument, match="sparse"):
            unpack_layer(io.BytesIO(tar(member("file", b"x", pax=pax))), root)


@pytest.mark.parametrize(
    "pax",
    [{"SCHILY.xattr.user.a\0b": "x"}, {"uid": "-5", "gid": "-5"}, {"path": "/".join("a" * 1500)}, {"size": "-512"}],
    ids=["zero byte", "owner", "depth", "size"],
)
def test_records_that_no_system_call_takes_are_the_archives_fault(root: Path, pax: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        unpack_layer(io.BytesIO(tar(member("file", b"", pax=pax), member("next"))), root)


def test_a_time_beyond_all_calendars_is_none(root: Path) -> None:
    unpack_layer(io.BytesIO(tar(member("file", b"", pax={"mtime": "1e99999999"}))), root)
    assert (root / "file").stat().st_mtime == 0
