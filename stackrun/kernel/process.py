"""Processes: forking without Python's ceremony, and what a child must shed before it becomes somebody else's program."""

from __future__ import annotations

import ctypes
import os

from stackrun.kernel import signals, syscalls

_ALL_SIGNALS = frozenset(signals.valid_signals())
_INTERNAL = (32, 33)
"""Those of glibc's threads; its posix_spawn, by which the zygote came to be, leaves them ignored."""
_FORCED = frozenset((signals.SIGKILL, signals.SIGSTOP))


_ARGUMENTS_START = 45
_ARGUMENTS_END = 46
"""Places of arg_start and arg_end among the fields of proc(5) stat that follow the command's closing parenthesis."""


_arguments: list[int] = []
"""Found once, by the zygote: what forks from it has them at the same addresses."""


def _argument_area() -> tuple[int, int]:
    fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    finally:
        os.close(fd)
    return int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])


def set_name(name: str) -> None:
    """What ps shows: /proc/PID/comm (15 bytes of it), and the argument area, which otherwise tells paths of the host."""
    raw = name.encode()
    name_address = ctypes.c_void_p.from_buffer(ctypes.c_char_p(raw)).value or 0
    syscalls.prctl(syscalls.PR_SET_NAME, name_address)
    if not _arguments:
        _arguments.extend(_argument_area())
    start, end = _arguments
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, raw[: end - start - 1], min(len(raw), end - start - 1))


def release_free_memory() -> None:
    """Give what was only needed to load modules back to the kernel (malloc_trim(3); there is none in other C libraries)."""
    trim = getattr(syscalls.libc, "malloc_trim", None)
    if trim:
        trim(0)


def forbid_dump() -> None:
    """PR_SET_DUMPABLE 0: no ptrace, no /proc/PID/{mem,exe,fd} for anyone without CAP_SYS_PTRACE in the host's user namespace.

    Inherited by fork; execve of a readable program sets it back.
    """
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def allow_dump() -> None:
    """Its files in /proc belong to its user again, as does what it may do to it; children inherit that."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)


def in_pid_namespace_of(pid: int) -> tuple[int, ...]:
    """Everybody in the pid namespace of a container's init, by the caller's numbers: who its processes are when no cgroup tells."""
    own = _pid_namespace(str(pid))
    if own == _pid_namespace("self"):
        return (pid,)  # not a container's alone
    return tuple(sorted(int(name) for name in os.listdir("/proc") if name.isdecimal() and own and _pid_namespace(name) == own))


def _pid_namespace(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""  # it has ended, or is somebody else's


def die_with_parent() -> None:
    """PR_SET_PDEATHSIG SIGKILL. A change of credentials clears it, so call it after the last one (prctl(2))."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signals.SIGKILL)


def reset_signals() -> None:
    """Default dispositions and an empty mask, as a new program expects them; Python itself ignores SIGPIPE and SIGXFSZ."""
    for signum in _ALL_SIGNALS - _FORCED:
        if signals.getsignal(signum) != signals.SIG_DFL:
            signals.signal(signum, signals.SIG_DFL)
    for number in _INTERNAL:
        syscalls.default_signal(number)
    signals.pthread_sigmask(signals.SIG_SETMASK, ())


def block_all_signals() -> None:
    signals.pthread_sigmask(signals.SIG_BLOCK, _ALL_SIGNALS)


def exit_code(status: int) -> tuple[int, int]:
    """(code, signal) of a wait(2) status; the code of a death by signal is 128 + signal, as shells and Docker report it."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status)
    return os.WEXITSTATUS(status), 0


def close_all_but(kept: tuple[int, ...]) -> None:
    """Close every descriptor that is not in `kept`; those in it that are no descriptors (-1) do not matter."""
    first = 0
    for fd in sorted({fd for fd in kept if fd >= 0}):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first)


def detach_standard_streams() -> None:
    """Point 0, 1 and 2 at /dev/null."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        for fd in range(3):
            os.dup2(null, fd)
    finally:
        if null > 2:
            os.close(null)
