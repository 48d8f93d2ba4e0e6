"""The thin wrappers: what fails names the call with its operands."""

from __future__ import annotations

import os
import select
import signal

import pytest

from stackrun.errors import KernelError
from stackrun.kernel import caps, process, syscalls


def test_a_failed_call_names_itself_and_its_operands() -> None:
    with pytest.raises(KernelError, match=r"openat2 /no-such-file: ENOENT \(No such file or directory\)") as raised:
        syscalls.openat2(syscalls.AT_FDCWD, "/no-such-file", os.O_PATH, 0)
    assert raised.value.errno == 2
    with pytest.raises(KernelError, match=r"umount2 /no-such-place: (ENOENT|EPERM)"):
        syscalls.umount2("/no-such-place")


def test_descriptors_are_close_on_exec() -> None:
    for fd in (syscalls.openat2(syscalls.AT_FDCWD, "/", os.O_PATH, 0), syscalls.pidfd_open(os.getpid()), syscalls.inotify_init()):
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_clone_gives_a_child_with_its_pidfd() -> None:
    pid, pid_fd = syscalls.clone3(0, signal.SIGCHLD)
    if not pid:
        os._exit(7)
    assert select.select([pid_fd], [], [], 10)[0] == [pid_fd]
    assert process.exit_code(os.waitpid(pid, 0)[1]) == (7, 0)
    os.close(pid_fd)


def test_exit_codes_of_signals() -> None:
    pid, pid_fd = syscalls.clone3(0, signal.SIGCHLD)
    if not pid:
        signal.pause()
        os._exit(0)
    syscalls.pidfd_send_signal(pid_fd, signal.SIGKILL)
    assert process.exit_code(os.waitpid(pid, 0)[1]) == (137, 9)
    with pytest.raises(KernelError, match="pidfd_send_signal 9: ESRCH"):
        syscalls.pidfd_send_signal(pid_fd, signal.SIGKILL)
    os.close(pid_fd)


def test_inotify_tells_of_changes(tmp_path: object) -> None:
    fd = syscalls.inotify_init()
    watch = syscalls.inotify_add_watch(fd, str(tmp_path), syscalls.IN_CREATE)
    with pytest.raises(BlockingIOError):
        os.read(fd, 4096)
    open(f"{tmp_path}/new", "w").close()  # noqa: PTH123
    assert b"new" in os.read(fd, 4096)
    syscalls.inotify_rm_watch(fd, watch)
    os.close(fd)


def test_the_mount_and_type_of_a_descriptor() -> None:
    root, proc = os.open("/", os.O_PATH), os.open("/proc", os.O_PATH)
    assert syscalls.mount_id(root) != syscalls.mount_id(proc)
    assert syscalls.filesystem_type(proc) == syscalls.PROC_SUPER_MAGIC != syscalls.filesystem_type(root)
    os.close(root)
    os.close(proc)


def test_capability_names_and_masks() -> None:
    assert caps.mask(["CAP_CHOWN", "CAP_SYS_ADMIN"]) == 1 | 1 << 21
    assert caps.names(1 << 21) == ("CAP_SYS_ADMIN",)
    assert caps.effective() & ~caps.bounding() == 0
