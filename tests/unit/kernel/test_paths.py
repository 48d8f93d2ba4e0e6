"""Look-ups that must not leave the directory they start in."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackrun.errors import KernelError
from stackrun.kernel import paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "etc").mkdir(parents=True)
    (made / "etc/file").write_text("inside")
    (tmp_path / "outside").mkdir()
    return made


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def place(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_dots_and_absolute_links_stay_inside(root: Path, root_fd: int) -> None:
    (root / "up").symlink_to("../../../../etc")
    (root / "absolute").symlink_to("/etc/file")
    assert place(paths.open_in_root(root_fd, "/../../etc/file")) == f"{root}/etc/file"
    assert place(paths.open_in_root(root_fd, "up/file")) == f"{root}/etc/file"
    assert place(paths.open_in_root(root_fd, "/absolute")) == f"{root}/etc/file"
    assert place(paths.open_in_root(root_fd, "/")) == str(root)


def test_a_link_can_be_refused(root: Path, root_fd: int) -> None:
    (root / "link").symlink_to("etc/file")
    with pytest.raises(KernelError, match="ELOOP"):
        paths.open_in_root(root_fd, "link", os.O_RDONLY, follow=False)


def test_magic_links_are_refused(root: Path, root_fd: int) -> None:
    (root / "proc").symlink_to("/proc")
    with pytest.raises(KernelError):
        paths.open_in_root(root_fd, f"proc/self/fd/{root_fd}")


def test_directories_are_made_inside(root: Path, root_fd: int, tmp_path: Path) -> None:
    (root / "etc/away").symlink_to("/../../../made")
    assert place(paths.make_directory(root_fd, "/a/b//./c/")) == f"{root}/a/b/c"
    (root / "made").mkdir()
    assert place(paths.make_directory(root_fd, "/etc/away/here")) == f"{root}/made/here"
    assert place(paths.make_directory(root_fd, "/a/b")) == f"{root}/a/b"
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize(
    ("path", "number"), [("/new/../x", errno.EINVAL), ("/etc/file/x", errno.ENOTDIR), ("/" + "d/" * 300, errno.EINVAL)]
)
def test_directories_that_cannot_be_made(root_fd: int, path: str, number: int) -> None:
    with pytest.raises(KernelError) as raised:
        os.close(paths.make_directory(root_fd, path))
    assert raised.value.errno == number


def test_files_are_made_or_found(root: Path, root_fd: int) -> None:
    assert place(paths.make_file(root_fd, "/run/x/file")) == f"{root}/run/x/file"
    assert place(paths.make_file(root_fd, "/etc/file")) == f"{root}/etc/file"
    assert (root / "etc/file").read_text() == "inside"


def test_a_dangling_link_is_not_written_through(root: Path, root_fd: int, tmp_path: Path) -> None:
    (root / "dangling").symlink_to(tmp_path / "outside/made")
    with pytest.raises(KernelError):
        paths.make_file(root_fd, "/dangling")
    assert os.listdir(tmp_path / "outside") == []


def test_reading_is_for_regular_files_of_a_size(root: Path, root_fd: int) -> None:
    assert paths.read_regular_file(root_fd, "/etc/file", 6) == b"inside"
    assert paths.read_regular_file(root_fd, "/etc/none", 6) is None
    for path, number in (("/etc/file", errno.EFBIG), ("/etc", errno.EINVAL)):
        with pytest.raises(KernelError) as raised:
            paths.read_regular_file(root_fd, path, 5)
        assert raised.value.errno == number


def test_existence(root_fd: int) -> None:
    assert paths.exists_in_root(root_fd, "/etc/file")
    assert not paths.exists_in_root(root_fd, "/etc/file/below") and not paths.exists_in_root(root_fd, "/none")


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/etc/file", "/etc/file"), ("etc//./file/", "/etc/file"), ("/../..", "/"), ("/link/file", "/etc/file"), ("/up", "/etc/file"),
        ("/dangling", "/no/where"), ("/circle", "/circle"), ("/etc/../link", "/etc"),
    ],
)  # fmt: skip
def test_a_real_path_is_told_as_far_as_it_exists(root: Path, root_fd: int, path: str, real: str) -> None:
    (root / "link").symlink_to("/etc")
    (root / "up").symlink_to("../../link/file")
    (root / "dangling").symlink_to("no/where")
    (root / "circle").symlink_to("circle")
    assert paths.real_path(root_fd, path) == real
