"""The Python that processes on their way into a container run.

It is the host's, but through a read-only file system of its own: whatever gets hold of /proc/PID/exe of such a process can
neither write to that file nor find the host's (CVE-2019-5736).  Light: `stackrun-runtime` starts one each time.
"""

from __future__ import annotations

import fcntl
import os
import sys

from stackrun.errors import KernelError
from stackrun.kernel import mounts, signals
from stackrun.runtime import trace

_START = "import sys; sys.path.append({package_root!r}); from stackrun.runtime.{module} import main; main({fd}{trace})"


def sealed() -> int:
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


def execute(module: str, connection: int) -> int:
    """Run `main` of a module of this package on `connection`, in a process and session of its own; the pid."""
    opened = sealed()
    # Above the numbers that its process is given.
    interpreter = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, trace.INHERITED_FD + 1)
    os.close(opened)
    try:
        return _spawn(interpreter, module, connection)
    finally:
        os.close(interpreter)


def _spawn(interpreter: int, module: str, connection: int) -> int:
    """posix_spawn rather than fork, which is not safe in a process with threads."""
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    python = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    inherited = 3
    is_traced = trace.fd >= 0
    code = _START.format(package_root=package_root, module=module, fd=inherited, trace=f", {trace.INHERITED_FD}" if is_traced else "")
    argv = [python, "-I", "-S", "-X", "utf8", "-c", code]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    # The child opens /proc/self/fd/N while the descriptor, though close-on-exec, is still there.
    return os.posix_spawn(
        f"/proc/self/fd/{interpreter}",
        argv,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, connection, inherited),
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            *([(os.POSIX_SPAWN_DUP2, trace.fd, trace.INHERITED_FD)] if is_traced else []),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signals.SIGPIPE, signals.SIGINT, signals.SIGTERM, signals.SIGHUP, signals.SIGCHLD],
    )
