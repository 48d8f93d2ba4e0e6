"""Capabilities (capabilities(7)): names, numbers, and the five sets of the calling process."""

from __future__ import annotations

from stackrun.errors import KernelError
from stackrun.kernel import syscalls

NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
"""Index is the kernel's number (linux/capability.h)."""
NUMBERS = {name: number for number, name in enumerate(NAMES)}
SYS_ADMIN = 1 << NUMBERS["CAP_SYS_ADMIN"]
SYS_NICE = 1 << NUMBERS["CAP_SYS_NICE"]
SYS_PTRACE = 1 << NUMBERS["CAP_SYS_PTRACE"]
SYS_RESOURCE = 1 << NUMBERS["CAP_SYS_RESOURCE"]


def mask(names: list[str] | tuple[str, ...] | frozenset[str]) -> int:
    """Bit mask of capability names, which must be known (`NUMBERS`)."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[name]
    return bits


def names(bits: int) -> tuple[str, ...]:
    return tuple(name for number, name in enumerate(NAMES) if bits >> number & 1)


def bounding() -> int:
    """The calling thread's bounding set: the most a program it executes can ever get."""
    bits = 0
    for number in range(len(NAMES)):
        try:
            bits |= syscalls.prctl(syscalls.PR_CAPBSET_READ, number) << number
        except KernelError:
            break  # EINVAL: this kernel knows no capability from here on
    return bits


def effective() -> int:
    return syscalls.capget()[0]


def drop_bounding(keep: int, present: int) -> None:
    """Remove from the bounding set, which holds `present`, everything but `keep`.  Needs CAP_SETPCAP."""
    for number in range(len(NAMES)):
        if (present & ~keep) >> number & 1:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)


def set_ambient(bits: int) -> None:
    """Exactly `bits`, each of which must be both permitted and inheritable."""
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(len(NAMES)):
        if bits >> number & 1:
            syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)
