"""The default profile on a real process."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable

import pytest

from stackrun.engine.seccomp_profile import default_profile
from stackrun.kernel.seccomp import compile_filter, install

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers here are x86_64's")

ORDINARY = frozenset({"CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_NET_RAW", "CAP_KILL"})
MOUNT, UNSHARE, PERSONALITY, CLONE, KEYCTL, IO_URING_SETUP, CLONE3, FCHMODAT2, UNKNOWN = 165, 272, 135, 56, 250, 425, 435, 452, 4000
libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: int | bytes | None) -> int:
    """The errno of a raw system call; 0 when it succeeds."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *words) < 0 else 0


def under(program: bytes, checks: Callable[[], list[object]]) -> list[str]:
    """What `checks` gives in a child that has put the filter on."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            install(program)
            os.write(write_fd, "\n".join(map(str, checks())).encode())
        except BaseException as error:
            os.write(write_fd, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(pid, 0)
    return lines


def test_default_profile() -> None:
    def checks() -> list[object]:
        return [
            call(MOUNT, None, b"/", None, 0, None),
            call(UNSHARE, 0x20000),
            call(KEYCTL, 0, 0),
            call(IO_URING_SETUP, 1, None),
            call(CLONE, 0x10000000 | 17, 0, 0, 0, 0),
            call(CLONE3, None, 0),
            call(PERSONALITY, 0xFFFFFFFF),
            call(PERSONALITY, 0x0400000),
            call(FCHMODAT2, -100, b"/does/not/exist", 0o600, 0),
            call(UNKNOWN),
        ]

    allowed = call(FCHMODAT2, -100, b"/does/not/exist", 0o600, 0)  # ENOENT, before Linux 6.6 ENOSYS: as without a filter
    expected = [errno.EPERM] * 5 + [errno.ENOSYS, 0, errno.EPERM, allowed, errno.ENOSYS]
    assert under(compile_filter(default_profile(ORDINARY)), checks) == [str(one) for one in expected]


def test_sockets() -> None:
    def attempt(family: int, kind: int) -> str:
        try:
            socket.socket(family, kind).close()
        except PermissionError:
            return "refused"
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "made"

    def checks() -> list[object]:
        return [attempt(socket.AF_INET, socket.SOCK_STREAM), attempt(socket.AF_UNIX, socket.SOCK_STREAM), attempt(40, socket.SOCK_STREAM)]

    assert under(compile_filter(default_profile(ORDINARY)), checks) == ["made", "made", "refused"]


def test_threads_and_children_still_work() -> None:
    def checks() -> list[object]:
        import threading

        done: list[object] = []
        thread = threading.Thread(target=lambda: done.append("thread"))
        thread.start()
        thread.join()
        done.append(os.waitstatus_to_exitcode(os.system("exit 7")))
        return done

    assert under(compile_filter(default_profile(ORDINARY)), checks) == ["thread", "7"]


def test_with_sys_admin_namespaces_are_allowed() -> None:
    program = compile_filter(default_profile(ORDINARY | {"CAP_SYS_ADMIN"}))
    assert under(program, lambda: [call(UNSHARE, 0x20000), call(CLONE3, None, 0)]) == ["0", str(errno.EINVAL)]
