"""A tar goes into a tree of somebody else's, and a tree becomes a tar."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stackrun.errors import InvalidArgument, KernelError, StackrunError
from stackrun.image.extracting import Rules, extract, remove
from stackrun.image.packing import Packer

PLAIN = Rules(owned=False)
Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", mode: int = 0o644, link: str = "") -> Member:
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.linkname, made.size, made.mtime = kind, mode, link, len(content), 1_000_000_000
    return made, content


def tar_of(*members: Member) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for made, content in members:
            archive.addfile(made, io.BytesIO(content))
    return io.BytesIO(buffer.getvalue())


@pytest.fixture
def into(tmp_path: Path) -> Callable[..., None]:
    """Extracts members into `base` below the folder `root`."""
    (tmp_path / "root").mkdir()

    def put(*members: Member, base: str = "", rules: Rules = PLAIN) -> None:
        fd = os.open(tmp_path / "root", os.O_PATH)
        try:
            extract(tar_of(*members), fd, base, rules)
        finally:
            os.close(fd)

    return put


def test_files_directories_links_and_fifos(into: Callable[..., None], tmp_path: Path) -> None:
    into(
        member("d", tarfile.DIRTYPE, mode=0o750), member("d/f", content=b"x", mode=0o640), member("d/h", tarfile.LNKTYPE, link="d/f"),
        member("d/l", tarfile.SYMTYPE, link="../nowhere"), member("d/p", tarfile.FIFOTYPE), member("far/away/f", content=b"y"),
    )  # fmt: skip
    root = tmp_path / "root"
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750 and (root / "d").stat().st_mtime == 1_000_000_000
    assert ((root / "d" / "f").read_text(), stat.S_IMODE((root / "d" / "f").stat().st_mode)) == ("x", 0o640)
    assert (root / "d" / "h").samefile(root / "d" / "f")
    assert os.readlink(root / "d" / "l") == "../nowhere" and (root / "d" / "p").is_fifo()
    assert (root / "far" / "away" / "f").read_text() == "y"


def test_what_is_there_gives_way_unless_kinds_must_stay(into: Callable[..., None], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d" / "deep").mkdir(parents=True)
    (root / "f").write_text("old")
    with pytest.raises(StackrunError, match=r'cannot overwrite directory "/d" with non-directory "d"'):
        into(member("d"), rules=Rules(owned=False, same_kind=True))
    with pytest.raises(StackrunError, match=r'cannot overwrite non-directory "/f" with directory "f"'):
        into(member("f", tarfile.DIRTYPE), rules=Rules(owned=False, same_kind=True))
    into(member("d", content=b"file"), member("f", tarfile.DIRTYPE, mode=0o755))
    assert (root / "d").read_text() == "file" and (root / "f").is_dir()


def test_links_count_within_the_root_alone(into: Callable[..., None], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "base").mkdir()
    (root / "inside").mkdir()
    (root / "base" / "out").symlink_to("/inside")
    (root / "base" / "up").symlink_to("../../..")
    into(member("out/f", content=b"x"), member("up/g", content=b"y"), base="base")
    assert (root / "inside" / "f").read_text() == "x" and (root / "g").read_text() == "y"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["root"]


@pytest.mark.parametrize("name", ["../f", "a/../../f", ".."])
def test_names_that_lead_out_are_refused(into: Callable[..., None], name: str) -> None:
    with pytest.raises(InvalidArgument, match="is outside of"):
        into(member(name))
    with pytest.raises(InvalidArgument, match="is outside of"):
        into(member("h", tarfile.LNKTYPE, link=name))


def test_an_existing_link_is_replaced_and_not_followed(into: Callable[..., None], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "root" / "f").symlink_to(victim)
    into(member("f", content=b"new", mode=0o600))
    assert victim.read_text() == "untouched" and (tmp_path / "root" / "f").read_text() == "new"


def test_without_owners_there_are_no_set_id_bits_and_no_devices(into: Callable[..., None], tmp_path: Path) -> None:
    into(member("f", mode=0o6755), member("n", tarfile.CHRTYPE))
    assert [one.name for one in (tmp_path / "root").iterdir()] == ["f"]
    assert stat.S_IMODE((tmp_path / "root" / "f").stat().st_mode) == 0o755


def test_the_first_component_is_renamed(into: Callable[..., None], tmp_path: Path) -> None:
    into(
        member("a", tarfile.DIRTYPE, mode=0o755), member("a/f", content=b"x"), member("a/h", tarfile.LNKTYPE, link="a/f"),
        rules=Rules(owned=False, renamed=("a", "b")),
    )  # fmt: skip
    assert sorted(one.name for one in (tmp_path / "root" / "b").iterdir()) == ["f", "h"]


def test_a_check_that_fails_ends_it(into: Callable[..., None], tmp_path: Path) -> None:
    def check() -> None:
        raise KernelError("check", 0)

    with pytest.raises(KernelError):
        into(member("f"), rules=Rules(owned=False, check=check))
    assert not list((tmp_path / "root").iterdir())


def test_garbage_is_no_archive(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    with pytest.raises(InvalidArgument, match="no sound tar archive"):
        extract(io.BytesIO(b"garbage" * 100), fd, "", PLAIN)
    os.close(fd)


def test_what_is_removed_is_below_the_root_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root" / "d" / "deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "up").symlink_to("../outside")
    fd = os.open(tmp_path / "root", os.O_PATH)
    for path in ("/d", "/out", "/up", "/nope", "/nope/deeper"):
        remove(fd, path)
    for path in ("/", "", "/a/../..", "/."):
        with pytest.raises(InvalidArgument, match="no path to remove"):
            remove(fd, path)
    os.close(fd)
    assert not list((tmp_path / "root").iterdir()) and (tmp_path / "outside").is_dir()


def packed(folder: Path, called: str, **options: object) -> dict[str, tarfile.TarInfo]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    packer = Packer(**options)  # type: ignore[arg-type]
    data = b"".join(packer.directory(fd, called)) + packer.end()
    os.close(fd)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: one for one in archive}


def test_a_tree_becomes_a_tar(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x" * 1000)
    os.link(tmp_path / "d" / "f", tmp_path / "d" / "h")
    (tmp_path / "l").symlink_to("d/f")
    os.utime(tmp_path / "d" / "f", ns=(0, 1_500_000_000_123_456_789))
    found = packed(tmp_path, ".", owner=(7, 8))
    assert set(found) == {".", "./d", "./d/f", "./d/h", "./l"}
    assert (found["./d/f"].size, found["./d/f"].uid, found["./d/f"].gid) == (1000, 7, 8)
    assert found["./d/f"].pax_headers["mtime"] == "1500000000.123456789"
    assert (found["./d/h"].islnk(), found["./d/h"].linkname) == (True, "./d/f")
    assert found["./l"].linkname == "d/f"


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("x")
    found = packed(tmp_path, "d")
    assert {os.fsencode(name) for name in found} == {b"d", b"d/caf\xe9"}


def test_what_is_not_wanted_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "no" / "deep").mkdir(parents=True)
    (tmp_path / "yes").write_text("")
    assert set(packed(tmp_path, "d", wanted=lambda name: name != "d/no")) == {"d", "d/yes"}
