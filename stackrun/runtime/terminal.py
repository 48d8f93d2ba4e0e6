"""Pseudo-terminals out of a container's own devpts, so that the program inside can name its terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from stackrun.errors import KernelError
from stackrun.kernel import paths, syscalls

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
"""ioctl_tty(2); the same on x86, arm and riscv.  Module termios has two of them, and is a library to load at every start."""


def open_pair(root_fd: int) -> tuple[int, int]:
    """(master, slave) of a new terminal on /dev/pts below `root_fd`, both close-on-exec.

    The slave comes from the master itself (TIOCGPTPEER), not from a path that the container could have changed.
    """
    try:
        master = paths.open_in_root(root_fd, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    except KernelError as error:
        raise KernelError("open terminal /dev/pts/ptmx", error.errno, hint="the container has no devpts at /dev/pts") from error
    try:
        if syscalls.filesystem_type(master) != syscalls.DEVPTS_SUPER_MAGIC:
            raise KernelError("open terminal /dev/pts/ptmx", errno.ENODEV, hint="it is not on a devpts")
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        return master, fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise


def set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, _TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def control(fd: int) -> None:
    """Make `fd` the controlling terminal of the calling session leader."""
    fcntl.ioctl(fd, _TIOCSCTTY, 0)
