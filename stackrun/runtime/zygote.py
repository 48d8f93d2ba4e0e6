"""The daemon's side of the zygote: one small preloaded process that forks the shims.

A daemon has threads and an event loop, so it must not fork; and an interpreter started afresh costs more
than a whole container.  So it execs this process once.  The interpreter it runs is the host's, but through
a read-only file system of its own: whatever gets hold of /proc/PID/exe of a process on its way into a
container can neither write to that file nor find the host's (CVE-2019-5736).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

from stackrun.errors import KernelError, Unavailable
from stackrun.kernel import mounts
from stackrun.runtime import messages

SPAWN_TIMEOUT_S = 30.0
_START = "import sys; sys.path.append({package_root!r}); from stackrun.runtime.{module} import main; main({fd})"


class Zygote:
    """`pid` of the process; `spawn` may be called from any thread."""

    def __init__(self, pid: int, pid_fd: int, connection: socket.socket) -> None:
        self.pid = pid
        self._pid_fd = pid_fd
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def launch(cls, run_dir: str) -> Zygote:
        """Exec a zygote and wait until it has preloaded everything.  Its errors go to this process's stderr.

        `run_dir` is made when missing (0711: root's sockets below it are 0700).
        """
        os.makedirs(run_dir, mode=0o711, exist_ok=True)
        ours, theirs = messages.pair()
        interpreter = sealed_interpreter()
        try:
            pid = execute(interpreter, "nursery", theirs.fileno())
        finally:
            os.close(interpreter)
            theirs.close()
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
        return self._pid_fd >= 0 and not select.select([self._pid_fd], [], [], 0)[0]

    def spawn(self, request: dict[str, Any], fds: Sequence[int]) -> tuple[int, int]:
        """Fork a shim for `request` (`shim.main`), which gets copies of `fds`: (pid, pidfd).  Unavailable when the zygote is gone."""
        with self._lock:
            try:
                messages.send(self._connection, request, list(fds))
            except OSError as error:
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
        try:
            signal.pidfd_send_signal(self._pid_fd, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended before

    def close(self) -> None:
        """End the zygote.  Shims and containers go on.  Idempotent."""
        if self._pid_fd < 0:
            return
        self._connection.close()
        self._kill()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # somebody else has reaped it
        os.close(self._pid_fd)
        self._pid_fd = -1


def sealed_interpreter() -> int:
    """A descriptor of the Python interpreter through which the host's own file cannot be written.

    A detached read-only overlay costs no memory, since its pages are the host file's; where overlayfs is
    missing a sealed memfd serves, at the price of a copy.
    """
    path = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    try:
        return mounts.open_through_overlay(path)
    except KernelError:
        return _sealed_copy(path)


def _sealed_copy(path: str) -> int:
    import fcntl

    fd = os.memfd_create("python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(source).st_size
        while size > 0:
            size -= os.sendfile(fd, source, None, size) or size
    finally:
        os.close(source)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


def execute(interpreter: int, module: str, connection: int) -> int:
    """Run `main` of a module of this package on `connection`; the pid.

    posix_spawn rather than fork, which is not safe in a process with threads.
    """
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    python = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    inherited = 3
    code = _START.format(package_root=package_root, module=module, fd=inherited)
    argv = [python, "-I", "-S", "-X", "utf8", "-c", code]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    # The child opens /proc/self/fd/N while the descriptor, though close-on-exec, is still there.
    return os.posix_spawn(
        f"/proc/self/fd/{interpreter}",
        argv,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, connection, inherited), (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
    )
