"""`stackrun-runtime run` and `exec` in the foreground: this terminal, these signals, that exit code."""

from __future__ import annotations

import errno
import os
import select
import sys

from stackrun.errors import KernelError
from stackrun.kernel import process, signals, sockets, syscalls
from stackrun.runtime import terminal
from stackrun.runtime.birth import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEPT = frozenset(
    (
        signals.SIGCHLD,
        signals.SIGKILL,
        signals.SIGSTOP,
        signals.SIGURG,
        signals.SIGWINCH,
        signals.SIGPIPE,
        signals.SIGTTIN,
        signals.SIGTTOU,
    )
)
"""Signals that are this process's own affair; every other one is passed on."""


def adopt_orphans() -> None:
    """Become the parent of what the container's processes leave behind, as runc does."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)


class Signals:
    """Signals as something to be read, in the order they come; those of `_PASSED_ON` go to `pid_fd`."""

    def __init__(self, child: Process) -> None:
        self._child = child
        self._reader, self._writer = sockets.pair()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Signals:
        self._writer.setblocking(False)
        signals.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for one in signals.valid_signals():
            if one < signals.SIGRTMIN and one not in _KEPT and signals.getsignal(one) is not None:
                self._previous[one] = signals.signal(one, lambda *_: None)
        self._previous[signals.SIGWINCH] = signals.signal(signals.SIGWINCH, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, old in self._previous.items():
            signals.signal(signum, old)  # type: ignore[arg-type]
        signals.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        return self._reader.fileno()

    def deliver(self) -> None:
        """What has come; call it when `fileno` is readable."""
        for signum in self._reader.recv(256):
            if signum == signals.SIGWINCH:
                follow_size(self._child.console_fd)
                continue
            try:
                syscalls.pidfd_send_signal(self._child.pid_fd, signum)
            except KernelError as error:
                if error.errno != errno.ESRCH:
                    raise


def follow_size(console_fd: int) -> None:
    """Give the container's terminal the size of this one."""
    if console_fd >= 0 and sys.stdin.isatty():
        columns, rows = os.get_terminal_size(0)
        terminal.set_size(console_fd, rows, columns)


class _RawTerminal:
    """Keys go through unchanged meanwhile; without a terminal nothing happens."""

    def __init__(self) -> None:
        self._saved: list[Any] = []

    def __enter__(self) -> None:
        if sys.stdin.isatty():
            import termios
            import tty

            self._saved = termios.tcgetattr(0)
            tty.setraw(0)

    def __exit__(self, *_: object) -> None:
        if self._saved:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)


def attend(child: Process, passed: Signals) -> int:
    """Stay until `child` has ended: its exit code."""
    if child.console_fd >= 0:
        with _RawTerminal():
            _copy(child, passed)
    while passed.fileno() in select.select([child.pid_fd, passed.fileno()], [], [])[0]:
        passed.deliver()
    return process.exit_code(os.waitpid(child.pid, 0)[1])[0]


def _copy(child: Process, passed: Signals) -> None:
    """Between this process's streams and the terminal, until nobody holds that any more or the child has ended."""
    watched = [child.console_fd, 0, passed.fileno(), child.pid_fd]
    while True:
        ready = select.select(watched, [], [])[0]
        if passed.fileno() in ready:
            passed.deliver()
        if 0 in ready and not _type(child.console_fd):
            watched.remove(0)
        if child.console_fd in ready:
            if not _print(child.console_fd):
                return
        elif child.pid_fd in ready:
            return


def _type(console_fd: int) -> bool:
    keys = os.read(0, 65536)
    # A terminal's end of input is a character; its settings may say which, and 4 is what they say by default.
    _write(console_fd, keys or b"\4")
    return bool(keys)


def _print(console_fd: int) -> bool:
    try:
        data = os.read(console_fd, 65536)
    except OSError:
        return False  # EIO: the last one who had it open has closed it
    _write(1, data)
    return bool(data)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
