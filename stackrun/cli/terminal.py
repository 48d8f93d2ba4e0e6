"""Between this terminal and a process in a container: raw mode, window size, and both directions at once."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stackrun.api.wire.frames import STDERR, Frames

CHUNK_BYTES = 65_536


def size() -> tuple[int, int]:
    """(rows, columns) of the terminal on stdout."""
    columns, rows = os.get_terminal_size(1)
    return rows, columns


@contextmanager
def raw(fd: int) -> Iterator[None]:
    """Every key goes to the process in the container, Ctrl-C too; the terminal is as it was afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def on_resize(tell: Callable[[int, int], None]) -> Iterator[None]:
    """Calls `tell(rows, columns)` now and whenever the window changes (SIGWINCH)."""

    def resized(*_: object) -> None:
        tell(*size())

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        resized()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


class Pump:
    """Copies stdin to a hijacked connection and its output to stdout and stderr, until the output ends.

    The connection does not block: whoever only writes while the other side only writes waits for ever.
    """

    def __init__(self, connection: socket.socket, early: bytes, *, framed: bool, stdin: int | None) -> None:
        self._connection = connection
        self._frames = Frames() if framed else None
        self._stdin = stdin
        self._pending = b""
        connection.setblocking(False)
        if early:
            self._show(early)

    def run(self) -> None:
        while True:
            stdin_ready, readable, writable = self._wait()
            if writable and not self._send():
                return
            if readable and not self._receive():
                return
            if stdin_ready:
                self._read_stdin()

    def _wait(self) -> tuple[bool, bool, bool]:
        """poll(2) takes regular files and devices as stdin, which epoll refuses."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._stdin is not None and not self._pending:
            poll.register(self._stdin, select.POLLIN)
        ready = dict(poll.poll())
        events = ready.get(self._connection.fileno(), 0)
        reading = select.POLLIN | select.POLLHUP | select.POLLERR
        return self._stdin is not None and self._stdin in ready, bool(events & reading), bool(events & select.POLLOUT)

    def _receive(self) -> bool:
        try:
            data = self._connection.recv(CHUNK_BYTES)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        self._show(data)
        return bool(data)

    def _show(self, data: bytes) -> None:
        if self._frames is None:
            _write(1, data)
            return
        for stream, part in self._frames.feed(data):
            _write(2 if stream >= STDERR else 1, part)

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        self._pending = os.read(self._stdin, CHUNK_BYTES)
        if not self._pending:
            self._stdin = None
            self._end_input()

    def _end_input(self) -> None:
        """A half-close: the process sees the end of its input while its output goes on."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._pending = b""

    def _send(self) -> bool:
        try:
            sent = self._connection.send(self._pending)
        except BlockingIOError:
            return True
        except (BrokenPipeError, ConnectionResetError):
            self._stdin, self._pending = None, b""
            return True
        self._pending = self._pending[sent:]
        return True


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
