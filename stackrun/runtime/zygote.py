"""The daemon's side of the zygote: one small preloaded process that forks the shims.

A daemon has threads and an event loop, so it must not fork; and an interpreter started afresh costs more
than a whole container.  So it execs this process once, through an `interpreter` that cannot be written to.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Any

from stackrun.errors import Unavailable
from stackrun.runtime import interpreter, messages

SPAWN_TIMEOUT_S = 30.0


class Zygote:
    """`pid` of the process; `spawn` may be called from any thread."""

    def __init__(self, pid: int, pid_fd: int, connection: socket.socket) -> None:
        self.pid = pid
        self._pid_fd = pid_fd
        self._connection = connection
        self._lock = threading.Lock()
        self._is_lost = False

    @classmethod
    def launch(cls, run_dir: str) -> Zygote:
        """Exec a zygote and wait until it has preloaded everything.  Its errors go to this process's stderr.

        `run_dir` is made when missing (0711: root's sockets below it are 0700).
        """
        os.makedirs(run_dir, mode=0o711, exist_ok=True)
        ours, theirs = messages.pair()
        with theirs:
            pid = interpreter.spawn_zygote(theirs.fileno())
        zygote = cls(pid, os.pidfd_open(pid), ours)
        try:
            zygote._receive()
        except BaseException:
            zygote.close()
            raise
        return zygote

    @property
    def is_alive(self) -> bool:
        """False once it has ended; launch another then, the shims do not depend on it."""
        return not self._is_lost and self._pid_fd >= 0 and not select.select([self._pid_fd], [], [], 0)[0]

    def spawn(self, request: dict[str, Any], fds: Sequence[int]) -> tuple[int, int]:
        """Fork a shim for `request` (`shim.main`), which gets copies of `fds`: (pid, pidfd).  Unavailable when the zygote is gone."""
        with self._lock:
            if self._pid_fd < 0:
                raise Unavailable(f"spawn a shim: the zygote (pid {self.pid}) has been given up")
            try:
                messages.send(self._connection, request, list(fds))
            except OSError as error:
                self._kill()
                raise Unavailable(f"spawn a shim: the zygote (pid {self.pid}) is gone: {error.strerror}") from error
            reply, descriptors = self._receive()
        return reply["pid"], descriptors[0]

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        self._connection.settimeout(SPAWN_TIMEOUT_S)
        try:
            reply, descriptors = messages.receive(self._connection)
        except (ConnectionError, TimeoutError):
            reply, descriptors = None, []
        if reply is None:
            self._kill()  # an answer that came late would be taken for that to the next request
            raise Unavailable(f"the zygote (pid {self.pid}) is gone or does not answer")
        messages.raise_error(reply)
        return reply, descriptors

    def _kill(self) -> None:
        """Its connection is closed a moment before its pidfd tells, if it has been killed: from here on it counts as gone."""
        self._is_lost = True
        try:
            signal.pidfd_send_signal(self._pid_fd, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended before

    def close(self) -> None:
        """End the zygote.  Shims and containers go on.  Idempotent.

        Whoever waits for an answer of it is told first that there is none: a descriptor must not be closed under them.
        """
        if self._pid_fd >= 0:
            self._kill()
        with self._lock:
            if self._pid_fd < 0:
                return
            self._connection.close()
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                pass  # somebody else has reaped it
            os.close(self._pid_fd)
            self._pid_fd = -1
