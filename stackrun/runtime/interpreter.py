"""The Python that processes on their way into a container run.

It is the host's, but through a read-only file system of its own: whatever gets hold of /proc/PID/exe of such a process can
neither write to that file nor find the host's (CVE-2019-5736).  Light: each call of `stackrun-runtime` imports it.
"""

from __future__ import annotations

import fcntl
import os
import sys

from stackrun.errors import KernelError, StackrunError
from stackrun.kernel import exe_file, mounts, signals
from stackrun.runtime import trace

_ZYGOTE = "import sys; sys.path.append({root!r}); from stackrun.runtime.nursery import main; main({fd}{trace})"
_VERB = "import gc, sys; gc.disable(); sys.path.append({root!r}); from stackrun.runtime.{module} import finish; finish(sys.argv[1:])"
_FLAGS = ("-I", "-S", "-X", "utf8", "-c")
_INHERITED_FD = 3


def sealed() -> int:
    """A descriptor of the Python interpreter through which the host's own file cannot be written.

    A detached read-only overlay costs no memory, since its pages are the host file's; where overlayfs is
    missing a sealed memfd serves, at the price of a copy.
    """
    path = _python()
    try:
        return mounts.open_through_overlay(path)
    except KernelError:
        return _sealed_copy(path)


def _python() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def _package_root() -> str:
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


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


def is_sealed() -> bool:
    """Whether this very process runs such an interpreter: one that is not the host's file, and cannot be written."""
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mine, hosts = os.fstat(fd), os.stat(_python())
        if (mine.st_dev, mine.st_ino) == (hosts.st_dev, hosts.st_ino):
            return False
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            return True
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE)
    except OSError:
        return False  # EINVAL: a file that cannot be sealed
    finally:
        os.close(fd)


def become_sealed(module: str, words: list[str]) -> None:
    """Go on by the sealed interpreter: comes back where this process could change to it as it runs.

    Else it executes `finish` of a module of this package on `words`, and does not come back: a second start of Python.
    """
    fd = sealed()
    if _goes_on_by(fd):
        os.close(fd)
        return
    code = _VERB.format(root=_package_root(), module=module)
    try:
        os.execve(f"/proc/self/fd/{fd}", [_python(), *_FLAGS, code, *words], os.environ)
    except OSError as error:
        raise KernelError("execute the sealed interpreter", error.errno or 0) from error


def _goes_on_by(fd: int) -> bool:
    """Only what was made of the very file that runs can take its place, and only an interpreter whose words are UTF-8 already."""
    runs, sealed_from = os.stat("/proc/self/exe"), os.stat(_python())
    if (runs.st_dev, runs.st_ino) != (sealed_from.st_dev, sealed_from.st_ino) or sys.getfilesystemencoding() != "utf-8":
        return False
    try:
        exe_file.replace(fd)
    except StackrunError:
        return False
    return is_sealed()


def forbid_imports() -> None:
    """From here on an import fails instead of reading a file: soon the files would be the container's."""
    for place in (sys.path, sys.meta_path, sys.path_hooks, sys.path_importer_cache):
        place.clear()


def spawn_zygote(connection: int) -> int:
    """Run `nursery` on `connection`, in a process and session of its own; the pid."""
    opened = sealed()
    # Above the numbers that its process is given.
    interpreter = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, trace.INHERITED_FD + 1)
    os.close(opened)
    try:
        return _spawn(interpreter, connection)
    finally:
        os.close(interpreter)


def _spawn(interpreter: int, connection: int) -> int:
    """posix_spawn rather than fork, which is not safe in a process with threads."""
    is_traced = trace.fd >= 0
    code = _ZYGOTE.format(root=_package_root(), fd=_INHERITED_FD, trace=f", {trace.INHERITED_FD}" if is_traced else "")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    # The child opens /proc/self/fd/N while the descriptor, though close-on-exec, is still there.
    return os.posix_spawn(
        f"/proc/self/fd/{interpreter}",
        [_python(), *_FLAGS, code],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, connection, _INHERITED_FD),
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            *([(os.POSIX_SPAWN_DUP2, trace.fd, trace.INHERITED_FD)] if is_traced else []),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signals.SIGPIPE, signals.SIGINT, signals.SIGTERM, signals.SIGHUP, signals.SIGCHLD],
    )
