"""The folder of a `develop.watch` rule, or a build context, as a Tree: looked at as a whole, with only those files read anew that were
touched.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable

from stackrun.stack.sync import Item, Kind, Rule, Tree

Signature = tuple[int, ...]
"""Device, inode, size and times of a file: as long as they stay, so does its content."""
Signed = dict[str, tuple[Signature, str]]
"""Path → the signature a file had when it was read, and its content's digest."""
DEPTH_MAX = 256
FRESH_NS = 50_000_000
"""What was written so lately may be written again within the same tick of the kernel's clock, and look the same."""
Notice = Callable[[str], None]
"""Called with a folder before what is in it is looked at: changes that come later must stir."""


class SourceTree:
    """`now` is what the last `look` found; a symbolic link in the tree is an entry, one that leads to the rule's path is followed."""

    def __init__(self, rule: Rule, known: Signed | None = None) -> None:
        """`known` is what another look has `signed`."""
        self.rule = rule
        self.now: Tree = {}
        self.signed: Signed = dict(known or {})

    @property
    def key(self) -> str:
        return self.rule.key

    @property
    def root(self) -> str:
        return self.rule.path

    def look(self, notice: Notice) -> str:
        """Looks again; gives a digest of everything found."""
        found: dict[str, Item] = {}
        seen: Signed = {}
        self._enter(os.path.realpath(self.rule.path), ".", found, seen, notice)
        self.now, self.signed = found, seen
        text = "\n".join(f"{path}\0{one.kind}\0{one.mode:o}\0{one.content}" for path, one in sorted(found.items()))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def _enter(self, whole: str, path: str, found: dict[str, Item], seen: Signed, notice: Notice) -> None:
        try:
            status = os.stat(whole, follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode):
                self._list(whole, path, mode, found, seen, notice)
            elif not self.rule.takes_in(os.path.basename(whole) if path == "." else path):
                return
            elif stat.S_ISREG(status.st_mode):
                found[path] = Item(Kind.FILE, mode, self._digest(whole, path, status, seen))
            elif stat.S_ISLNK(status.st_mode):
                found[path] = Item(Kind.LINK, 0, os.readlink(whole))
        except OSError:
            return  # it vanished, or may not be read: it is not there

    def _list(self, whole: str, path: str, mode: int, found: dict[str, Item], seen: Signed, notice: Notice) -> None:
        notice(whole)
        if not self.rule.include:
            found[path] = Item(Kind.FOLDER, mode)
        if path.count("/") >= DEPTH_MAX:
            return
        with os.scandir(whole) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            below = name if path == "." else f"{path}/{name}"
            if not self.rule.leaves_out(below):
                self._enter(f"{whole}/{name}", below, found, seen, notice)
            elif not self.rule.closes(below) and os.path.isdir(f"{whole}/{name}") and not os.path.islink(f"{whole}/{name}"):
                self._enter_left_out(f"{whole}/{name}", below, found, seen, notice)

    def _enter_left_out(self, whole: str, path: str, found: dict[str, Item], seen: Signed, notice: Notice) -> None:
        """A later pattern may take back something below a folder that is left out itself."""
        below: dict[str, Item] = {}
        self._enter(whole, path, below, seen, notice)
        below.pop(path, None)
        found.update(below)

    def _digest(self, whole: str, path: str, status: os.stat_result, seen: Signed) -> str:
        """A file whose inode, size and times are the same has the same content: ctime moves with every write, and nobody can set it."""
        signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self.signed.get(path)
        if known is None or known[0] != signature:
            known = (signature, _content_digest(whole))
        if time.time_ns() - status.st_ctime_ns > FRESH_NS:
            seen[path] = known
        return known[1]


def _content_digest(whole: str) -> str:
    """OSError when it may not be read."""
    with open(os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()
