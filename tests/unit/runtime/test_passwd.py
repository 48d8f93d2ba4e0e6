"""Users by name or number, out of files that nobody vouches for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackrun.errors import InvalidArgument, KernelError
from stackrun.runtime import passwd

PASSWD = "root:x:0:0::/root:/bin/sh\nbroken line\nbad:x:one:two::/:\napp:x:1000:1001::/home/app:/bin/sh\n77:x:78:79::/odd:\n"
GROUP = "root:x:0:\napp:x:1001:\nextra:x:2000:app,other\nmore:x:2001:other\n"


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", (1000, 1001, (2000,), "/home/app")),
        ("1000", (1000, 1001, (2000,), "/home/app")),
        ("app:extra", (1000, 2000, (), "/home/app")),
        ("app:55", (1000, 55, (), "/home/app")),
        ("4242", (4242, 0, (), "")),
        ("4242:43", (4242, 43, (), "")),
        ("77", (78, 79, (), "/odd")),
        ("", (0, 0, (), "/root")),
        (":app", (0, 1001, (), "/root")),
    ],
)
def test_resolution(root_fd: int, text: str, expected: tuple[int, int, tuple[int, ...], str]) -> None:
    user = passwd.resolve_user(root_fd, text)
    assert (user.uid, user.gid, user.groups, user.home) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody-here", "unable to find user nobody-here: no matching entries in passwd file"),
        ("app:none", "unable to find group none: no matching entries in group file"),
        ("bad", "unable to find user bad"),
        ("2147483648", "uids and gids must be in range 0-2147483647"),
        ("99999999999999999999999999", "uids and gids must be in range"),
        ("1:4294967295", "uids and gids must be in range"),
        ("-1", "unable to find user -1"),
    ],
)
def test_refusals_in_dockers_words(root_fd: int, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        passwd.resolve_user(root_fd, text)


def test_group_names(root_fd: int) -> None:
    assert passwd.group_ids(root_fd, ("extra", "5")) == (2000, 5)
    assert passwd.home_of(root_fd, 1000) == "/home/app"


def test_numbers_need_no_files(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    user = passwd.resolve_user(fd, "5:6")
    assert (user.uid, user.gid, user.home) == (5, 6, "")
    os.close(fd)


def test_a_fifo_in_place_of_the_file_holds_nobody_up(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "etc/passwd").unlink()
    os.mkfifo(tmp_path / "etc/passwd")
    with pytest.raises(KernelError, match="EINVAL"):
        passwd.resolve_user(root_fd, "app")


def test_a_link_to_the_hosts_file_stays_inside(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").symlink_to("/../../../../etc/group")
    with pytest.raises(InvalidArgument):
        passwd.resolve_user(root_fd, "daemon")


def test_a_file_without_end_is_refused(tmp_path: Path, root_fd: int) -> None:
    with (tmp_path / "etc/passwd").open("wb") as file:
        file.truncate(passwd.FILE_BYTES_MAX + 1)
    with pytest.raises(KernelError, match="EFBIG"):
        passwd.resolve_user(root_fd, "app")
