"""`stackrun-runtime run` and `exec` in the foreground: this terminal, these signals, that exit code."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stackrun.runtime.container import Event, Handle

_PASSED_ON = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")]


def terminal_size() -> tuple[int, int] | None:
    """(rows, columns) of this process's terminal, if it has one."""
    if not sys.stdin.isatty():
        return None
    columns, rows = os.get_terminal_size(0)
    return rows, columns


class Signals:
    """Signals as something to be read: a handler may interrupt a conversation with the shim and so cannot hold one itself.

    `send` gets those a container is to have, `resize` the terminal's size after each SIGWINCH.
    """

    def __init__(self, send: Callable[[int], None], resize: Callable[[int, int], None]) -> None:
        self._send = send
        self._resize = resize
        self._reader, self._writer = socket.socketpair()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Signals:
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._previous = {signum: signal.signal(signum, lambda *_: None) for signum in (*_PASSED_ON, signal.SIGWINCH)}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, old in self._previous.items():
            signal.signal(signum, old)  # type: ignore[arg-type]
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        return self._reader.fileno()

    def deliver(self) -> None:
        """What has come, in order; call it when `fileno` is readable."""
        for signum in self._reader.recv(256):
            if signum in _PASSED_ON:
                self._send(signum)
            elif size := terminal_size():
                self._resize(*size)


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys go through unchanged meanwhile; without a terminal nothing happens."""
    if not sys.stdin.isatty():
        yield
        return
    saved = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def copy(sock: socket.socket, signals: Signals) -> None:
    """Between this process's streams and an attached socket, until the socket ends."""
    watched: list[int] = [sock.fileno(), 0, signals.fileno()]
    with raw_terminal():
        while True:
            ready = select.select(watched, [], [])[0]
            if signals.fileno() in ready:
                signals.deliver()
            if 0 in ready and not _send_keys(sock):
                watched.remove(0)
            if sock.fileno() in ready and not _print_frame(sock):
                return


def _send_keys(sock: socket.socket) -> bool:
    keys = os.read(0, 65536)
    if keys:
        sock.sendall(keys)
    else:
        sock.shutdown(socket.SHUT_WR)
    return bool(keys)


def _print_frame(sock: socket.socket) -> bool:
    header = sock.recv(8, socket.MSG_WAITALL)
    if len(header) < 8:
        return False
    view = memoryview(sock.recv(int.from_bytes(header[4:], "big"), socket.MSG_WAITALL))
    while view:
        view = view[os.write(2 if header[0] == 2 else 1, view) :]
    return True


def await_event(handle: Handle, signals: Signals, is_wanted: Callable[[Event], bool]) -> Event | None:
    """The first wanted event; None when the shim is gone."""
    while True:
        if signals.fileno() in select.select([handle.events.fileno(), signals.fileno()], [], [])[0]:
            signals.deliver()
            continue
        event = handle.read_event()
        if event is None or is_wanted(event):
            return event
