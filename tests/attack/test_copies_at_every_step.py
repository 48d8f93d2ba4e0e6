"""CVE-2018-15664 and its kin, won on purpose: names change at each step of a copy into a tree, out of it, and of its removal.

The copies run in this process, and right before the chosen one of their calls a directory becomes a link to the host's, or what was
just made becomes one.  The races themselves are in test_cve_2018_15664_copy_race.py.
"""

from __future__ import annotations

import ctypes
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stackrun.engine.copying import archived
from stackrun.errors import StackrunError
from stackrun.image.extracting import Rules, extract, remove
from stackrun.kernel import syscalls, tree

CALLS = (
    "open", "mkdir", "mknod", "mkfifo", "symlink", "link", "rename", "unlink", "rmdir", "chmod", "chown", "utime", "stat", "lstat",
    "scandir", "listdir", "readlink", "setxattr", "fchown", "fchmod", "fstat",
)  # fmt: skip
STEPS_MAX = 400
libc = ctypes.CDLL(None)


class Steps:
    """Calls of `work` are counted; before number `at` (and, with `back`, again after it) `change` is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.change: Callable[[], None] = lambda: None
        self.at = -1
        self.back = False
        self.count = 0
        self._runs = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))
        monkeypatch.setattr(syscalls, "openat2", self._wrapped(syscalls.openat2))

    def _wrapped(self, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **options: object) -> object:
            if not self._runs:
                return call(*arguments, **options)
            number, self.count = self.count, self.count + 1
            with self._paused():
                if number == self.at:
                    self.change()
            try:
                return call(*arguments, **options)
            finally:
                with self._paused():
                    if number == self.at and self.back:
                        self.change()

        return wrapped

    @contextmanager
    def _paused(self) -> Iterator[None]:
        self._runs = False
        try:
            yield
        finally:
            self._runs = True

    def run(self, work: Callable[[], object], change: Callable[[], None], at: int, back: bool) -> bool:
        """Whether there was such a step."""
        self.change, self.at, self.back, self.count, self._runs = change, at, back, 0, True
        try:
            work()
        except (StackrunError, OSError):
            pass
        finally:
            self._runs = False
        return self.count > at


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's, which stays as it is."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "secret").write_text("untouched")

    def looks() -> list[object]:
        entries = sorted(folder.iterdir())
        return [(one.name, one.read_text(), one.stat().st_mode, one.stat().st_uid, one.stat().st_mtime_ns) for one in entries] + [
            folder.stat().st_mode,
            folder.stat().st_uid,
        ]

    before = looks()
    yield folder
    assert looks() == before


def laid_out(tmp_path: Path, number: int, outside: Path) -> tuple[int, Path, Callable[[], None]]:
    """(root, w, exchange of w/stash, a directory, and w/link, which leads outside)"""
    root = tmp_path / f"root{number}"
    (root / "w/stash/sub").mkdir(parents=True)
    (root / "w/stash/secret").write_text("inside")
    (root / "w/link").symlink_to(outside)
    names = os.fsencode(root / "w/stash"), os.fsencode(root / "w/link")
    return os.open(root, os.O_PATH | os.O_DIRECTORY), root / "w", lambda: libc.renameat2(-100, names[0], -100, names[1], 2)


def archive(*members: tuple[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid = kind, 0o4777, 4711
            member.size = 6 if kind == tarfile.REGTYPE else 0
            made.addfile(member, io.BytesIO(b"broken"))
    buffer.seek(0)
    return buffer


def at_each(steps: Steps, tmp_path: Path, outside: Path, back: bool, work: Callable[[int, Path], object]) -> int:
    """Runs `work` on a new tree for each of its steps; how many there were."""
    for number in range(STEPS_MAX):
        root_fd, folder, exchange = laid_out(tmp_path, number, outside)
        try:
            if not steps.run(lambda: work(root_fd, folder), exchange, number, back):  # noqa: B023 - called at once
                return number
        finally:
            os.close(root_fd)
    raise AssertionError("it never ends")


BACK = pytest.mark.parametrize("back", [False, True], ids=["for good", "for one call"])
INTO = (("stash", tarfile.DIRTYPE), ("stash/secret", tarfile.REGTYPE), ("stash/sub", tarfile.DIRTYPE), ("stash/sub/new", tarfile.REGTYPE),
        ("stash/fifo", tarfile.FIFOTYPE))  # fmt: skip


@BACK
@pytest.mark.parametrize("base", ["w", "w/stash"])
def test_a_copy_into_it(steps: Steps, tmp_path: Path, outside: Path, base: str, back: bool) -> None:
    members = INTO if base == "w" else (("secret", tarfile.REGTYPE), ("new", tarfile.REGTYPE), ("sub/new", tarfile.REGTYPE))
    assert at_each(steps, tmp_path, outside, back, lambda root_fd, _: extract(archive(*members), root_fd, base, Rules())) > 10


@BACK
def test_a_copy_out_of_it(steps: Steps, tmp_path: Path, outside: Path, back: bool) -> None:
    def copied(root_fd: int, _: Path) -> None:
        assert b"untouched" not in b"".join(archived(root_fd, "/w/stash"))
        assert b"untouched" not in b"".join(archived(root_fd, "/w/stash/secret"))

    assert at_each(steps, tmp_path, outside, back, copied) > 4


@BACK
def test_a_removal(steps: Steps, tmp_path: Path, outside: Path, back: bool) -> None:
    assert at_each(steps, tmp_path, outside, back, lambda root_fd, _: remove(root_fd, "w/stash")) > 4


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE], ids=["file", "fifo", "directory"])
def test_what_was_just_made_becomes_a_link(steps: Steps, tmp_path: Path, outside: Path, kind: bytes) -> None:
    """Its owner, mode and times are still to come then."""
    made = 0
    for number in range(STEPS_MAX):
        root_fd, folder, _ = laid_out(tmp_path, number, outside)

        def bait(folder: Path = folder) -> None:
            nonlocal made
            node = folder / "node"
            if os.path.lexists(node):
                made += 1
                os.rename(node, folder / "was")
                node.symlink_to(outside if kind == tarfile.DIRTYPE else outside / "secret")

        went_on = steps.run(lambda: extract(archive(("node", kind)), root_fd, "w", Rules()), bait, number, False)  # noqa: B023 - at once
        os.close(root_fd)
        if not went_on:
            break
    assert made, "there was a step after it was made"


def test_a_volume_that_is_filled_while_what_was_just_made_in_it_becomes_a_link(steps: Steps, tmp_path: Path, outside: Path) -> None:
    source = tmp_path / "image"
    (source / "made/sub").mkdir(parents=True)
    (source / "made/secret").write_text("broken")
    os.chmod(source / "made", 0o4711)
    os.chown(source / "made/secret", 4711, 4711)
    made = 0
    for number in range(STEPS_MAX):
        volume = tmp_path / f"volume{number}"
        volume.mkdir()

        def bait(volume: Path = volume) -> None:
            nonlocal made
            if os.path.lexists(volume / "made"):
                made += 1
                os.rename(volume / "made", volume / "was")
                (volume / "made").symlink_to(outside)

        fds = os.open(source, os.O_RDONLY | os.O_DIRECTORY), os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
        went_on = steps.run(lambda: tree.copy(*fds), bait, number, False)  # noqa: B023 - called at once
        for fd in fds:
            os.close(fd)
        if not went_on:
            break
    assert made > 2, "there were steps after it was made"


def test_the_attempt_works_on_who_copies_by_path(steps: Steps, tmp_path: Path) -> None:
    host = tmp_path / "unguarded"
    host.mkdir()

    def by_path(_: int, folder: Path) -> None:
        os.stat(folder / "stash")
        os.close(os.open(folder / "stash/new", os.O_CREAT | os.O_WRONLY))

    at_each(steps, tmp_path, host, False, by_path)
    assert (host / "new").exists()
