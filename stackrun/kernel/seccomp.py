"""OCI `linux.seccomp` → a BPF program, and the call that puts it on.

The two halves run in different processes.  `compile_filter` runs in the daemon (or the runtime's
command) and needs libseccomp; `install` runs in the container's init right before execve, imports
nothing and allocates next to nothing.  The program between them is opaque bytes.

Sources: runtime-spec config-linux.md "Seccomp", seccomp(2), seccomp_rule_add(3), seccomp_attr_set(3),
include/uapi/linux/{seccomp,audit,bpf_common}.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from stackrun.errors import InvalidArgument, KernelError, Unsupported
from stackrun.kernel.syscalls import libc

TYPE_CHECKING = False  # typing itself is too heavy for the start path; checkers take this name as true
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_HEADER = struct.Struct("=II")  # flags of seccomp(2), number of instructions of 8 bytes that follow
_SYSCALL_NUMBER = {"x86_64": 317, "aarch64": 277, "riscv64": 277, "armv7l": 383, "i686": 354, "ppc64le": 358, "s390x": 348}
_SET_MODE_FILTER = 1
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}

_MACHINE = os.uname().machine
_seccomp = libc["syscall"]
_seccomp.argtypes = (ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_char_p)
_seccomp.restype = ctypes.c_long


def install(program: bytes) -> int:
    """Put a program of `compile_filter` on the calling thread; children inherit it and nothing takes it off again.

    Gives the descriptor of a program that asks somebody else (SCMP_ACT_NOTIFY), close-on-exec, and 0 for all others.

    Takes no_new_privs or CAP_SYS_ADMIN in the thread's user namespace.
    """
    flags, count = _HEADER.unpack_from(program)
    instructions = ctypes.c_char_p(program[_HEADER.size :])
    address = ctypes.c_void_p.from_buffer(instructions).value
    filter_program = ctypes.c_char_p(struct.pack("HxxxxxxP", count, address))
    result: int = _seccomp(_SYSCALL_NUMBER.get(_MACHINE, -1), _SET_MODE_FILTER, flags, filter_program)
    if result < 0:
        error = ctypes.get_errno()
        hint = "it takes no_new_privs or CAP_SYS_ADMIN" if error == errno.EACCES else ""
        raise KernelError(f"seccomp set filter of {count} instructions", error, hint=hint)
    return result


# --- compiling -----------------------------------------------------------------------------------

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
_NEW_LISTENER = 8
_TSYNC = 1
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_OPERATORS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
_ARCHITECTURES = {
    "SCMP_ARCH_NATIVE": 0,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PARISC": 0x0000000F,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
}
_X86_64, _X32 = 0xC000003E, 0x4000003E
_X32_BIT = 0x40000000
_UNIFORM_ARCHITECTURES = frozenset({0x40000003, _X86_64, 0x40000028, 0xC00000B7, 0xC0000015, 0x80000016, 0xC00000F3})
"""Where a system call newer than 424 has the number of asm-generic/unistd.h (MIPS and alpha add an offset)."""
_NEW_SYSCALLS = {
    "quotactl_fd": 443, "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446, "memfd_secret": 447,
    "process_mrelease": 448, "futex_waitv": 449, "set_mempolicy_home_node": 450, "cachestat": 451, "fchmodat2": 452,
    "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "statmount": 457, "listmount": 458,
    "lsm_get_self_attr": 459, "lsm_set_self_attr": 460, "lsm_list_modules": 461, "mseal": 462, "setxattrat": 463, "getxattrat": 464,
    "listxattrat": 465, "removexattrat": 466, "open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469,
}  # fmt: skip
"""Numbers for names that an older libseccomp does not know."""
_ENOSYS = 0x00050000 | errno.ENOSYS


def is_supported() -> bool:
    """Whether a filter can be compiled and installed here."""
    try:
        _library()
    except Unsupported:
        return False
    return _knows_flags(0)


def words() -> dict[str, list[str]]:
    """What a profile may say, by the names that the runtime-spec's features document has for them."""
    supported = [name for name, flag in _FLAGS.items() if _knows_flags(flag | (_NEW_LISTENER if "KILLABLE" in name else 0))]
    return {
        "actions": list(_ACTIONS), "operators": list(_OPERATORS), "archs": list(_ARCHITECTURES),
        "knownFlags": list(_FLAGS), "supportedFlags": supported,
    }  # fmt: skip


_compiled: dict[str, bytes] = {}


def compile_filter(oci_seccomp: dict[str, Any], cache_directory: str = "", *, listens: bool = False) -> bytes:
    """The program for `install`, or b"" for an empty object.

    Names no kernel of this architecture has are skipped, as every OCI runtime does.  A system call
    newer than the newest one the profile names fails with ENOSYS instead of the default action's
    errno, so that libraries fall back to what they used before it (as runc does since 1.0-rc93).
    Raises InvalidArgument for a malformed profile, Unsupported without libseccomp, or for SCMP_ACT_NOTIFY unless the caller
    `listens`, that is, passes the descriptor of `install` on to listenerPath.
    """
    if not oci_seccomp:
        return b""
    _check_notify(oci_seccomp, listens)
    key = _content_key(oci_seccomp)
    program = _compiled.get(key) or _cached(cache_directory, key)
    if not program:
        program = _compile(oci_seccomp)
        _store(cache_directory, key, program)
    _compiled[key] = program
    return program


def _notifying(profile: dict[str, Any]) -> list[str]:
    """The system calls that somebody else is asked about."""
    return [
        name for entry in profile.get("syscalls") or () if entry.get("action") == "SCMP_ACT_NOTIFY" for name in entry.get("names") or ()
    ]


def _check_notify(profile: dict[str, Any], listens: bool) -> None:
    names, path = _notifying(profile), profile.get("listenerPath")
    if profile.get("defaultAction") == "SCMP_ACT_NOTIFY":
        raise Unsupported("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY would wait for an answer before there is one to give it")
    if not listens and (names or path or profile.get("listenerMetadata")):
        what = "syscalls: nothing here serves SCMP_ACT_NOTIFY" if names else "listenerPath: nothing here serves a notify listener"
        raise Unsupported(f"linux.seccomp.{what}", hint="use SCMP_ACT_ERRNO" if names else "leave it out")
    if names and not path:
        raise InvalidArgument("linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs it")
    if "sendmsg" in names:
        raise Unsupported("linux.seccomp.syscalls: SCMP_ACT_NOTIFY for sendmsg, with which the listener itself is sent")


def _content_key(profile: dict[str, Any]) -> str:
    import hashlib
    import json

    identity = [profile, os.uname().machine, os.uname().release, _library().version]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _cached(directory: str, key: str) -> bytes:
    """The program of an earlier process, or b"" when there is none or it is torn."""
    if not directory:
        return b""
    try:
        fd = os.open(f"{directory}/{key}.bpf", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        if os.fstat(fd).st_uid != os.geteuid():
            return b""
        program = file.read()
    whole = len(program) > _HEADER.size and len(program) == _HEADER.size + 8 * _HEADER.unpack_from(program)[1]
    return program if whole else b""


def _store(directory: str, key: str, program: bytes) -> None:
    if not directory:
        return
    os.makedirs(directory, 0o700, exist_ok=True)
    temporary = f"{directory}/.{key}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(program)
    os.rename(temporary, f"{directory}/{key}.bpf")


class _Library:
    """libseccomp.so.2, the functions used here with their types."""

    __slots__ = ("handle", "version")

    def __init__(self) -> None:
        try:
            handle = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        except OSError as error:
            hint = "install libseccomp (Debian: apt install libseccomp2), or run with --security-opt seccomp=unconfined"
            raise Unsupported("seccomp filters need libseccomp.so.2, which is not installed", hint=hint) from error
        context, word, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
        handle.seccomp_init.argtypes, handle.seccomp_init.restype = (word,), context
        handle.seccomp_release.argtypes, handle.seccomp_release.restype = (context,), None
        handle.seccomp_arch_add.argtypes = (context, word)
        handle.seccomp_arch_native.argtypes, handle.seccomp_arch_native.restype = (), word
        handle.seccomp_attr_set.argtypes = (context, ctypes.c_int, word)
        handle.seccomp_syscall_resolve_name.argtypes = (text,)
        handle.seccomp_syscall_resolve_name_arch.argtypes = (word, text)
        handle.seccomp_rule_add_array.argtypes = (context, word, ctypes.c_int, ctypes.c_uint, context)
        handle.seccomp_export_bpf.argtypes = (context, ctypes.c_int)
        handle.seccomp_version.restype = context
        self.handle = handle
        self.version = list((ctypes.c_uint * 3).from_address(handle.seccomp_version()))


_loaded: list[_Library] = []


def _library() -> _Library:
    if not _loaded:
        _loaded.append(_Library())
    return _loaded[0]


class _Rule:
    """One entry of `syscalls`, checked: `argument_sets` are alternatives, each a list of scmp_arg_cmp values."""

    __slots__ = ("action", "argument_sets", "names")

    def __init__(self, names: list[str], action: int, argument_sets: list[list[tuple[int, int, int, int]]]) -> None:
        self.names = names
        self.action = action
        self.argument_sets = argument_sets


def _compile(profile: dict[str, Any]) -> bytes:
    default = _action(profile, "defaultAction", "defaultErrnoRet", "defaultAction")
    rules = [_rule(entry, f"syscalls[{index}]") for index, entry in enumerate(profile.get("syscalls") or ())]
    flags = _flags(profile)
    library = _library().handle
    context = library.seccomp_init(default)
    if not context:
        raise InvalidArgument(f"linux.seccomp.defaultAction: libseccomp refuses {profile['defaultAction']}")
    try:
        architectures = _add_architectures(context, profile.get("architectures") or ())
        library.seccomp_attr_set(context, 8, 2)  # CTL_OPTIMIZE as a binary tree; an older library keeps its own order
        for rule in rules:
            if rule.action != default:  # libseccomp refuses a rule that says what the default says
                _add_rule(context, rule)
        code = _export(context)
    finally:
        library.seccomp_release(context)
    if default not in (_ACTIONS["SCMP_ACT_ALLOW"], _ACTIONS["SCMP_ACT_LOG"], _ENOSYS):
        code = b"".join(_new_syscalls(architecture, rules) for architecture in architectures) + code
    if len(code) // 8 > 4096:
        raise InvalidArgument(f"linux.seccomp: the program has {len(code) // 8} instructions, the kernel takes 4096")
    return _HEADER.pack(flags, len(code) // 8) + code


def _flags(profile: dict[str, Any]) -> int:
    names = profile.get("flags")
    flags = _NEW_LISTENER if _notifying(profile) else 0
    if names is None:
        # What runc does unasked: without it, kernels before 5.16 slow every filtered process down (Spectre v4).
        allow = _FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
        return flags | (allow if _knows_flags(allow) else 0)
    for name in names:
        if name not in _FLAGS:
            raise InvalidArgument(f"linux.seccomp.flags: unknown flag {name!r}", hint=f"known are {', '.join(_FLAGS)}")
        flags |= _FLAGS[name]
    if flags & _NEW_LISTENER:
        flags &= ~_TSYNC  # the two exclude each other, and the process that takes the filter has one thread
    if not _knows_flags(flags):
        raise Unsupported(f"linux.seccomp.flags: this kernel does not take all of {', '.join(names)}")
    return flags


def _knows_flags(flags: int) -> bool:
    """With a null program the kernel answers EFAULT once it has accepted the flags, EINVAL when it has not."""
    return _seccomp(_SYSCALL_NUMBER.get(os.uname().machine, -1), _SET_MODE_FILTER, flags, None) < 0 and ctypes.get_errno() == errno.EFAULT


def _action(entry: dict[str, Any], key: str, errno_key: str, field: str) -> int:
    name = entry.get(key)
    if name not in _ACTIONS:
        raise InvalidArgument(f"linux.seccomp.{field}: unknown action {name!r}", hint=f"known are {', '.join(_ACTIONS)}")
    number = entry.get(errno_key)
    if name not in _WITH_ERRNO:
        if number:
            raise InvalidArgument(f"linux.seccomp.{field}: {name} takes no errno")
        return _ACTIONS[name]
    return _ACTIONS[name] | ((errno.EPERM if number is None else int(number)) & 0xFFFF)


def _rule(entry: dict[str, Any], field: str) -> _Rule:
    names = entry.get("names")
    if not names:
        raise InvalidArgument(f"linux.seccomp.{field}.names: empty", hint="name at least one system call")
    return _Rule(list(names), _action(entry, "action", "errnoRet", f"{field}.action"), _argument_sets(entry.get("args") or (), field))


def _argument_sets(conditions: Iterable[dict[str, Any]], field: str) -> list[list[tuple[int, int, int, int]]]:
    """All conditions in one rule; but libseccomp wants an argument once a rule, so repeated ones become alternatives (runc's reading)."""
    found = []
    for position, condition in enumerate(conditions):
        operator, index = _OPERATORS.get(condition.get("op", "")), condition.get("index", -1)
        if operator is None or not 0 <= index <= 5:
            raise InvalidArgument(f"linux.seccomp.{field}.args[{position}]: needs an index from 0 to 5 and a known op")
        found.append((index, operator, int(condition.get("value") or 0), int(condition.get("valueTwo") or 0)))
    if len({one[0] for one in found}) == len(found):
        return [found]
    return [[one] for one in found]


def _add_architectures(context: int, names: Iterable[str]) -> list[int]:
    """Add each to the filter; gives the tokens in it, the native one first."""
    library = _library().handle
    native: int = library.seccomp_arch_native()
    tokens = [native]
    for name in names:
        if name not in _ARCHITECTURES:
            raise InvalidArgument(f"linux.seccomp.architectures: unknown architecture {name!r}")
        token = _ARCHITECTURES[name] or native
        result = library.seccomp_arch_add(context, token)
        if result < 0 and result != -errno.EEXIST:
            raise Unsupported(f"linux.seccomp.architectures: libseccomp cannot add {name} here")
        if token not in tokens:
            tokens.append(token)
    return tokens


class _ArgumentCompare(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("datum_a", ctypes.c_uint64), ("datum_b", ctypes.c_uint64))


def _add_rule(context: int, rule: _Rule) -> None:
    library = _library().handle
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:  # __NR_SCMP_ERROR
            continue
        for conditions in rule.argument_sets:
            compares = (_ArgumentCompare * max(1, len(conditions)))(*(_ArgumentCompare(*one) for one in conditions))
            result = library.seccomp_rule_add_array(context, rule.action, number, len(conditions), compares)
            if result < 0 and result not in (-errno.EEXIST, -errno.EDOM):  # said before; not on these architectures
                raise InvalidArgument(f"linux.seccomp: libseccomp refuses the rule for {name}: {os.strerror(-result)}")


def _export(context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        result = _library().handle.seccomp_export_bpf(context, fd)
        if result < 0:
            raise InvalidArgument(f"linux.seccomp: libseccomp cannot compile the profile: {os.strerror(-result)}")
        file.seek(0)
        return file.read()


# --- what libseccomp does not know yet -----------------------------------------------------------

_LOAD, _JUMP, _JUMP_IF_EQUAL, _JUMP_IF_GREATER, _JUMP_IF_NOT_LESS, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4  # in struct seccomp_data


def _new_syscalls(architecture: int, rules: list[_Rule]) -> bytes:
    """A prologue for one architecture: actions for names newer than libseccomp, ENOSYS beyond the newest name, else go on."""
    if architecture not in _UNIFORM_ARCHITECTURES:
        return b""
    resolve = _library().handle.seccomp_syscall_resolve_name_arch
    newest = 0
    actions: dict[int, int] = {}
    for rule in rules:
        for name in rule.names:
            number = resolve(architecture, name.encode())
            if number == -1 and name in _NEW_SYSCALLS:
                number = _NEW_SYSCALLS[name]
                if rule.argument_sets == [[]]:
                    actions.setdefault(number, rule.action)
            newest = max(newest, number)
    body = [_bpf(_LOAD, _OFFSET_NUMBER)]
    for number, action in sorted(actions.items()):
        body += [_bpf(_JUMP_IF_EQUAL, number, 0, 1), _bpf(_RETURN, action)]
    if architecture == _X86_64:  # x32 shares the architecture and sets a high bit in the number
        body += [_bpf(_JUMP_IF_NOT_LESS, _X32_BIT, 2, 0)]
    body += [_bpf(_JUMP_IF_GREATER, newest, 0, 1), _bpf(_RETURN, _ENOSYS)]
    head = [_bpf(_LOAD, _OFFSET_ARCHITECTURE), _bpf(_JUMP_IF_EQUAL, architecture, 1, 0), _bpf(_JUMP, len(body))]
    return b"".join(head + body)


def _bpf(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
