"""Waits until the content of a set of files or trees has changed, however an editor, git or Kubernetes brings that about.

Directories are watched, not files: a file that is replaced by rename is another inode, and one that is not there yet has none.
Every folder counts in which a link of a file's path stands (`..data` of a mounted ConfigMap).  An event only says "look
again"; what counts is the content's digest, so swap files, backups and touched files never trigger.  The one door to watchdog,
which takes two threads a folder: the folders of a tree, which are many, share one inotify(7) descriptor and one thread instead.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from stackrun.stack.foldernews import FolderNews

SETTLE_S = 0.03
"""A burst of writes is over when nothing has come for so long."""
BURST_S = 0.5
"""A burst that does not end is looked at all the same."""
_LINKS_MAX = 40
"""As many as the kernel follows (path_resolution(7))."""


class Tree(Protocol):
    """A tree of files that is one thing to wait for."""

    @property
    def key(self) -> str: ...
    @property
    def root(self) -> str: ...
    def look(self, notice: Callable[[str], None]) -> str:
        """A digest of all that counts in it; `notice` is told each folder before that is looked into."""
        ...


class Watch:
    """`follow` what is to be watched, then wait with `changed`. One thread at a time may call them."""

    def __init__(self, settle_s: float = SETTLE_S) -> None:
        from watchdog.observers import Observer

        self._settle_s = settle_s
        self._stirred = threading.Event()
        self._closed = False
        self._observer = Observer()
        self._watches: dict[str, tuple[Any, tuple[int, int]]] = {}
        """Folder → its watch, and the folder's device and inode when it was made."""
        self._digests: dict[str, str] = {}
        """By file, and by a tree's key."""
        self._trees: dict[str, Tree] = {}
        self._news: FolderNews | None = None
        self._observer.start()

    def follow(self, files: Iterable[str], trees: Iterable[Tree] = ()) -> None:
        """Watch these files (absolute paths, there or not) and trees from now on, and nothing else.

        What they hold at this moment is no change, unless known before.
        """
        wanted = list(dict.fromkeys(files))
        self._trees = {one.key: one for one in trees}
        self._watch_folders(wanted)
        known = self._digests
        self._digests = {file: known[file] if file in known else digest(file) for file in wanted}
        looked = self._looked()
        self._digests.update({key: known.get(key, text) for key, text in looked.items()})

    def changed(self, timeout_s: float | None = None) -> tuple[str, ...]:
        """The files, and trees by key, whose content has changed since they were last told; () after `timeout_s`, or when closed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            found = self._differing()
            if found:
                self._settle()
                every = {*found, *self._differing()}
                return tuple(file for file in self._digests if file in every)
            if self._closed:
                return ()
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not self._stirred.wait(left):
                return ()
            self._stirred.clear()

    def close(self) -> None:
        """Ends a `changed` that waits in another thread, too."""
        self._closed = True
        self._stirred.set()
        self._observer.stop()
        self._observer.join()
        if self._news:
            self._news.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def dispatch(self, event: Any) -> None:
        """watchdog's word for "something happened"; reading a file is nothing."""
        if event.event_type not in ("opened", "closed_no_write"):
            self._stirred.set()

    def _settle(self) -> None:
        end = time.monotonic() + BURST_S
        while time.monotonic() < end and not self._closed:
            self._stirred.clear()
            if not self._stirred.wait(self._settle_s):
                return

    def _differing(self) -> tuple[str, ...]:
        files = [one for one in self._digests if one not in self._trees]
        self._watch_folders(files)  # first, so that what comes after the look below stirs
        now = {file: digest(file) for file in files} | self._looked()
        found = tuple(file for file, text in now.items() if text != self._digests[file])
        self._digests.update(now)
        return found

    def _looked(self) -> dict[str, str]:
        """Each tree's digest now, with all of its folders watched."""
        if not self._trees and not self._news:
            return {}
        if self._news is None:
            from stackrun.stack.foldernews import FolderNews

            self._news = FolderNews(self._stirred.set)
        with self._news.renewed() as notice:
            return {key: tree.look(notice) for key, tree in self._trees.items()}

    def _watch_folders(self, files: Iterable[str]) -> None:
        roots = [tree.root for tree in self._trees.values()]
        wanted = {folder for file in (*files, *roots) for folder in folders(file)}
        for folder, (watch, identity) in list(self._watches.items()):
            if folder not in wanted or _identity(folder) != identity:
                del self._watches[folder]
                self._observer.unschedule(watch)
        for folder in sorted(wanted - set(self._watches)):
            identity = _identity(folder)
            try:
                watch = self._observer.schedule(self, folder, recursive=False)  # type: ignore[arg-type]
            except OSError:  # gone meanwhile: its parent tells, at the next look
                self._stirred.set()
                continue
            self._watches[folder] = (watch, identity)


def digest(file: str) -> str:
    """Of a file's content; empty when there is none to read."""
    try:
        with Path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def folders(file: str) -> Iterator[str]:
    """The folders in which something must happen for `file` to become another: its own, and that of every link on the way."""
    path = os.path.abspath(file)
    for _ in range(_LINKS_MAX):
        link = next((prefix for prefix in _prefixes(path) if os.path.islink(prefix)), None)
        if link is None:
            break
        yield os.path.dirname(link)
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)) + path[len(link) :])
        except OSError:  # it has just been swapped
            break
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    yield folder


def _prefixes(path: str) -> Iterator[str]:
    """`/a`, `/a/b`, `/a/b/c`."""
    position = path.find("/", 1)
    while position > 0:
        yield path[:position]
        position = path.find("/", position + 1)
    yield path


def _identity(folder: str) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)
