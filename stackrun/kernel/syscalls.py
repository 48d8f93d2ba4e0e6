"""System calls that Python 3.11 does not wrap: one thin function a call, no policy.

Each function takes descriptors, paths and flags as the man page of its name does, returns what the
call returns and raises `KernelError` naming the call with its operands.  The module is imported by
the start path of every container, hence no imports beyond ctypes, and no ctypes callback anywhere:
their closures may live in memory that is shared across fork (cpython#69568).

Numbers from 424 up are the same on every architecture (asm-generic/unistd.h); the older ones we need
are listed per machine.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

from stackrun.errors import KernelError, Unsupported

_OLD_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "keyctl": 250, "bpf": 321, "sched_setattr": 314, "ioprio_set": 251, "rt_sigaction": 13},
    "aarch64": {"clone": 220, "pivot_root": 41, "keyctl": 219, "bpf": 280, "sched_setattr": 274, "ioprio_set": 30, "rt_sigaction": 134},
    "riscv64": {"clone": 220, "pivot_root": 41, "keyctl": 219, "bpf": 280, "sched_setattr": 274, "ioprio_set": 30, "rt_sigaction": 134},
}
_MACHINE = os.uname().machine

CLONE_NEWTIME = 0x00000080
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
AT_RECURSIVE = 0x8000

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

CLOSE_RANGE_CLOEXEC = 4
KEYCTL_JOIN_SESSION_KEYRING = 1

IN_MODIFY = 0x002
IN_CLOSE_WRITE = 0x008
IN_MOVED_FROM = 0x040
IN_MOVED_TO = 0x080
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_CLOEXEC = os.O_CLOEXEC
IN_NONBLOCK = os.O_NONBLOCK

SFD_CLOEXEC = os.O_CLOEXEC
SFD_NONBLOCK = os.O_NONBLOCK

PROC_SUPER_MAGIC = 0x9FA0
DEVPTS_SUPER_MAGIC = 0x1CD1
_STATX_MNT_ID = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
"""Nobody on another machine, or in a FUSE server, is asked."""
_STATX_BYTES = 256
_STATX_MNT_ID_OFFSET = 0x90
_STATX_ATTRIBUTES_OFFSET = 0x08
_STATX_ATTR_MOUNT_ROOT = 0x2000

libc = ctypes.CDLL(None, use_errno=True)

_int, _uint, _long, _ulong = ctypes.c_int, ctypes.c_uint, ctypes.c_long, ctypes.c_ulong
_text, _pointer, _size = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t

# Array types are made here: one that nobody holds is made anew by each process, for 30 us and a dozen pages of memory.
_CloneArguments = ctypes.c_uint64 * 11
_OpenHow = ctypes.c_uint64 * 3
_MountAttributes = ctypes.c_uint64 * 4
_CapabilityHeader = ctypes.c_uint32 * 2
_CapabilityData = ctypes.c_uint32 * 6
_SignalAction = ctypes.c_char * 32
_Statx = ctypes.c_char * _STATX_BYTES
_Statfs = ctypes.c_long * 32


def check(call: str, result: int) -> int:
    """`result` unless it is negative, which raises `KernelError(call, errno)`.  `call` names the operands too."""
    if result < 0:
        raise KernelError(call, ctypes.get_errno())
    return result


class _Raw:
    """One system call by number through syscall(2), with its own argument types."""

    __slots__ = ("function", "name", "number")

    def __init__(self, name: str, number: int, *argtypes: type) -> None:
        self.name = name
        self.number = number
        # Indexing (unlike attribute access) gives a fresh function object, so argtypes are not shared.
        self.function = libc["syscall"]
        self.function.argtypes = (_long, *argtypes)
        self.function.restype = _long

    def __call__(self, *args: object) -> int:
        if self.number < 0:
            raise Unsupported(f"{self.name} is not known on {_MACHINE}")
        result: int = self.function(self.number, *args)
        return result


def _old(name: str, *argtypes: type) -> _Raw:
    return _Raw(name, _OLD_NUMBERS.get(_MACHINE, {}).get(name, -1), *argtypes)


_clone = _old("clone", *[ctypes.c_ulong] * 5)
_pivot_root = _old("pivot_root", _text, _text)
_keyctl = _old("keyctl", _int, _text)
_rt_sigaction = _old("rt_sigaction", _int, _pointer, _pointer, _size)
_sched_setattr = _old("sched_setattr", _int, _pointer, _uint)
_ioprio_set = _old("ioprio_set", _int, _int, _int)
_pidfd_send_signal = _Raw("pidfd_send_signal", 424, _int, _int, _pointer, _uint)
_open_tree = _Raw("open_tree", 428, _int, _text, _uint)
_move_mount = _Raw("move_mount", 429, _int, _text, _int, _text, _uint)
_fsopen = _Raw("fsopen", 430, _text, _uint)
_fsconfig = _Raw("fsconfig", 431, _int, _uint, _text, _text, _int)
_fsmount = _Raw("fsmount", 432, _int, _uint, _uint)
_pidfd_open = _Raw("pidfd_open", 434, _int, _uint)
_clone3 = _Raw("clone3", 435, _pointer, _size)
_close_range = _Raw("close_range", 436, _uint, _uint, _uint)
_openat2 = _Raw("openat2", 437, _int, _text, _pointer, _size)
_mount_setattr = _Raw("mount_setattr", 442, _int, _text, _uint, _pointer, _size)

libc.mount.argtypes = (_text, _text, _text, _ulong, _text)
libc.umount2.argtypes = (_text, _int)
libc.personality.argtypes = (_ulong,)
libc.setns.argtypes = (_int, _int)
libc.unshare.argtypes = (_int,)
libc.prctl.argtypes = (_int, _ulong, _ulong, _ulong, _ulong)
libc.capget.argtypes = (_pointer, _pointer)
libc.capset.argtypes = (_pointer, _pointer)
libc.inotify_init1.argtypes = (_int,)
libc.inotify_add_watch.argtypes = (_int, _text, ctypes.c_uint32)
libc.inotify_rm_watch.argtypes = (_int, _int)
libc.signalfd.argtypes = (_int, _pointer, _int)
libc.sethostname.argtypes = (_text, _size)
libc.setdomainname.argtypes = (_text, _size)
libc.fstatfs.argtypes = (_int, _pointer)
libc.statx.argtypes = (_int, _text, _int, _uint, _pointer)


def _bytes(path: str | bytes | None) -> bytes | None:
    return os.fsencode(path) if isinstance(path, str) else path


def clone3(flags: int, exit_signal: int = 0, cgroup_fd: int = 0) -> tuple[int, int]:
    """clone3(2) as fork does it (copied memory, same stack): (0, -1) in the child, (pid, pid_fd) in the parent.

    The child skips what os.fork() does after a fork, so the caller must be single-threaded and the child must
    end in execve or os._exit.  CLONE_PIDFD is always set; the descriptor is close-on-exec.
    """
    pid_fd = ctypes.c_int(-1)
    flags |= CLONE_PIDFD | (CLONE_INTO_CGROUP if cgroup_fd else 0)
    arguments = _CloneArguments(flags, ctypes.addressof(pid_fd), 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup_fd)
    pid = check(f"clone3 {flags:#x}", _clone3(ctypes.byref(arguments), ctypes.sizeof(arguments)))
    return pid, pid_fd.value if pid else -1


def clone(flags: int) -> int:
    """clone(2) as fork does it; 0 in the child.  For who may not call clone3, which seccomp filters cannot look into."""
    return check(f"clone {flags:#x}", _clone(flags, 0, 0, 0, 0))


def pidfd_open(pid: int) -> int:
    return check(f"pidfd_open {pid}", _pidfd_open(pid, 0))


def pidfd_send_signal(pid_fd: int, signum: int) -> None:
    check(f"pidfd_send_signal {signum}", _pidfd_send_signal(pid_fd, signum, None, 0))


def openat2(dir_fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2); O_CLOEXEC is always set."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    return check(f"openat2 {path}", _openat2(dir_fd, _bytes(path), ctypes.byref(how), ctypes.sizeof(how)))


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    return check(f"open_tree {path or dir_fd}", _open_tree(dir_fd, _bytes(path), flags | OPEN_TREE_CLOEXEC))


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    call = f"move_mount {from_path or from_fd} {to_path or to_fd}"
    check(call, _move_mount(from_fd, _bytes(from_path), to_fd, _bytes(to_path), flags))


def fsopen(fs_type: str) -> int:
    return check(f"fsopen {fs_type}", _fsopen(fs_type.encode(), FSOPEN_CLOEXEC))


def fsconfig(fs_fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    call = f"fsconfig {key or command}" + (f"={value}" if value is not None else "")
    check(call, _fsconfig(fs_fd, command, _bytes(key), _bytes(value), 0))


def fsmount(fs_fd: int, attributes: int) -> int:
    """A detached mount of the configured file system; `attributes` are MOUNT_ATTR_* flags."""
    return check("fsmount", _fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes))


def mount_setattr(
    dir_fd: int, path: str, flags: int, attr_set: int, attr_clear: int = 0, propagation: int = 0, user_namespace_fd: int = 0
) -> None:
    """mount_setattr(2); `propagation` is MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE or 0; the namespace is for MOUNT_ATTR_IDMAP."""
    attributes = _MountAttributes(attr_set, attr_clear, propagation, user_namespace_fd)
    result = _mount_setattr(dir_fd, _bytes(path), flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
    check(f"mount_setattr {path or dir_fd}", result)


def mount(source: str | None, target: str, fs_type: str | None, flags: int, options: str | None = None) -> None:
    operands = " ".join(word for word in (fs_type, source, target) if word)
    check(f"mount {operands}", libc.mount(_bytes(source), _bytes(target), _bytes(fs_type), flags, _bytes(options)))


def umount2(target: str, flags: int = 0) -> None:
    check(f"umount2 {target}", libc.umount2(_bytes(target), flags))


def pivot_root(new_root: str, put_old: str) -> None:
    check(f"pivot_root {new_root} {put_old}", _pivot_root(_bytes(new_root), _bytes(put_old)))


def setns(fd: int, flags: int) -> None:
    """Join namespaces: `fd` is one namespace file, or a pidfd with any set of CLONE_NEW* flags (Linux 5.8)."""
    check(f"setns {flags:#x}", libc.setns(fd, flags))


def unshare(flags: int) -> None:
    check(f"unshare {flags:#x}", libc.unshare(flags))


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    return check(f"prctl {option} {a}", libc.prctl(option, a, b, c, d))


def default_signal(signum: int) -> None:
    """SIG_DFL for a signal that libc keeps to itself and does not let sigaction(2) touch."""
    check(f"rt_sigaction {signum}", _rt_sigaction(signum, _SignalAction(), None, 8))


def sched_setattr(policy: int, flags: int, nice: int, priority: int, times_ns: tuple[int, int, int]) -> None:
    """Of the calling thread; `times_ns` are runtime, deadline and period of SCHED_DEADLINE."""
    size = 48
    attributes = ctypes.create_string_buffer(struct.pack("=IIQiIQQQ", size, policy, flags, nice, priority, *times_ns), size)
    check(f"sched_setattr policy {policy}", _sched_setattr(0, attributes, 0))


def ioprio_set(value: int) -> None:
    """Of the calling thread: class << 13 | priority (ioprio_set(2))."""
    check(f"ioprio_set {value:#x}", _ioprio_set(1, 0, value))


def personality(persona: int) -> None:
    check(f"personality {persona:#x}", libc.personality(persona))


_CAPABILITY_VERSION_3 = 0x20080522


def capget() -> tuple[int, int, int]:
    """(effective, permitted, inheritable) of the calling thread, as bit masks."""
    header, data = _CapabilityHeader(_CAPABILITY_VERSION_3, 0), _CapabilityData()
    check("capget", libc.capget(header, data))
    return data[0] | data[3] << 32, data[1] | data[4] << 32, data[2] | data[5] << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    low, high = 0xFFFFFFFF, 32
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    words = (effective & low, permitted & low, inheritable & low, effective >> high, permitted >> high, inheritable >> high)
    check("capset", libc.capset(header, _CapabilityData(*words)))


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    check(f"close_range {first}", _close_range(first, last, flags))


def join_session_keyring(name: str) -> None:
    """keyctl(KEYCTL_JOIN_SESSION_KEYRING): a new session keyring, so that the host's keys are not inherited."""
    check(f"keyctl join_session_keyring {name}", _keyctl(KEYCTL_JOIN_SESSION_KEYRING, name.encode()))


def sethostname(name: str) -> None:
    raw = name.encode()
    check(f"sethostname {name}", libc.sethostname(raw, len(raw)))


def setdomainname(name: str) -> None:
    raw = name.encode()
    check(f"setdomainname {name}", libc.setdomainname(raw, len(raw)))


def signalfd(signals: frozenset[int]) -> int:
    """A non-blocking signalfd(2) for `signals`, which the caller has blocked; records are 128 bytes each."""
    mask = ctypes.create_string_buffer(128)
    for signum in signals:
        mask[(signum - 1) // 8] = bytes([mask[(signum - 1) // 8][0] | 1 << (signum - 1) % 8])
    return check("signalfd", libc.signalfd(-1, mask, SFD_CLOEXEC | SFD_NONBLOCK))


def inotify_init() -> int:
    """A non-blocking, close-on-exec inotify(7) descriptor."""
    return check("inotify_init1", libc.inotify_init1(IN_CLOEXEC | IN_NONBLOCK))


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    return check(f"inotify_add_watch {path}", libc.inotify_add_watch(fd, _bytes(path), mask))


def inotify_rm_watch(fd: int, watch: int) -> None:
    check(f"inotify_rm_watch {watch}", libc.inotify_rm_watch(fd, watch))


def mount_of(fd: int) -> tuple[int, bool]:
    """The id of the mount that `fd` is on, and whether it is that mount's very root: statx(2) (Linux 5.8)."""
    buffer = _Statx()
    check(f"statx {fd}", libc.statx(fd, b"", AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, _STATX_MNT_ID, buffer))
    found = buffer.raw
    attributes = int.from_bytes(found[_STATX_ATTRIBUTES_OFFSET : _STATX_ATTRIBUTES_OFFSET + 8], sys.byteorder)
    number = int.from_bytes(found[_STATX_MNT_ID_OFFSET : _STATX_MNT_ID_OFFSET + 8], sys.byteorder)
    return number, bool(attributes & _STATX_ATTR_MOUNT_ROOT)


def mount_id(fd: int) -> int:
    return mount_of(fd)[0]


def is_mount_root(fd: int) -> bool:
    return mount_of(fd)[1]


def filesystem_type(fd: int) -> int:
    """statfs(2) f_type, such as PROC_SUPER_MAGIC; the first word of the structure."""
    buffer = _Statfs()
    check(f"fstatfs {fd}", libc.fstatfs(fd, buffer))
    return buffer[0]
