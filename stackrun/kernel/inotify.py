"""inotify(7): told about a file's changes instead of looking again and again."""

from __future__ import annotations

import ctypes
import os
import struct

from stackrun.errors import KernelError

IN_MODIFY = 0x2
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_IGNORED = 0x8000
_HEADER = struct.Struct("iIII")
_READ_BYTES = 65_536

_libc = ctypes.CDLL(None, use_errno=True)
_libc.inotify_init1.argtypes = (ctypes.c_int,)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_libc.inotify_rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)


class Inotify:
    """Watches directories; `fileno()` is readable when there is something to `read()`."""

    def __init__(self) -> None:
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise KernelError("inotify_init1", ctypes.get_errno(), hint="raise fs.inotify.max_user_instances with sysctl(8)")

    def fileno(self) -> int:
        return int(self._fd)

    def watch(self, path: str, mask: int) -> int:
        """Returns the watch descriptor; KernelError when the path is missing or the user's watches are used up."""
        descriptor = _libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if descriptor < 0:
            raise KernelError(f"inotify_add_watch {path}", ctypes.get_errno())
        return int(descriptor)

    def unwatch(self, descriptor: int) -> None:
        """Nothing happens when what it watched is gone, and the watch with it."""
        _libc.inotify_rm_watch(self._fd, descriptor)

    def read(self) -> list[tuple[int, str]]:
        """Pending events as (mask, name inside the watched directory); empty when there are none."""
        return [(mask, name) for _, mask, name in self.read_watches()]

    def read_watches(self) -> list[tuple[int, int, str]]:
        """The same with the watch descriptor first; -1: events were lost."""
        try:
            raw = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return []
        events, offset = [], 0
        while offset < len(raw):
            descriptor, mask, _cookie, length = _HEADER.unpack_from(raw, offset)
            name = raw[offset + _HEADER.size : offset + _HEADER.size + length].rstrip(b"\0")
            events.append((descriptor, mask, os.fsdecode(name)))
            offset += _HEADER.size + length
        return events

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
