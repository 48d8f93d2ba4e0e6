"""Tells that something happened in any of many folders: one inotify(7) descriptor, one thread that sleeps in between."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stackrun.errors import KernelError
from stackrun.kernel import syscalls

_IN_MODIFY, _IN_ATTRIB, _IN_CLOSE_WRITE = 0x2, 0x4, 0x8
_IN_MOVED, _IN_CREATE, _IN_DELETE, _IN_SELF = 0xC0, 0x100, 0x200, 0xC00
_IN_ONLYDIR = 0x01000000
MASK = _IN_MODIFY | _IN_ATTRIB | _IN_CLOSE_WRITE | _IN_MOVED | _IN_CREATE | _IN_DELETE | _IN_SELF | _IN_ONLYDIR
_READ_BYTES = 1 << 16
_GONE = (2, 20)
"""ENOENT, ENOTDIR: the folder has just gone, which its parent tells."""


class FolderNews:
    """`stir` is called, in a thread of its own, whenever something happens in a folder that was noticed last."""

    def __init__(self, stir: Callable[[], None]) -> None:
        self._stir = stir
        self._fd = syscalls.inotify_init()
        self._end, self._ending = os.pipe2(os.O_CLOEXEC)
        self._watches: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="folder-news", daemon=True)
        self._thread.start()

    @contextmanager
    def renewed(self) -> Iterator[Callable[[str], None]]:
        """Gives `notice`, to be called with every folder that counts from now on; those that are not named any more are let go.

        A folder that was renamed keeps its watch, since a watch is the inode's.
        """
        noticed: set[int] = set()

        def notice(folder: str) -> None:
            try:
                noticed.add(syscalls.inotify_add_watch(self._fd, folder, MASK))
            except KernelError as error:
                if error.errno in _GONE:
                    return
                hint = "ignore folders that need not be watched, or raise fs.inotify.max_user_watches with sysctl(8)"
                raise KernelError(error.call, error.errno, hint=hint) from None

        yield notice
        for watch in self._watches - noticed:
            try:
                syscalls.inotify_rm_watch(self._fd, watch)
            except KernelError:
                continue  # its folder was removed, and the watch with it
        self._watches = noticed

    def close(self) -> None:
        os.write(self._ending, b"x")
        self._thread.join()
        for fd in (self._fd, self._end, self._ending):
            os.close(fd)

    def _run(self) -> None:
        while True:
            ready = select.select([self._fd, self._end], [], [])[0]
            if self._end in ready:
                return
            try:
                os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                continue
            self._stir()
