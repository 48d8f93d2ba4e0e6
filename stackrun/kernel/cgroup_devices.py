"""Which device nodes a cgroup may open: cgroup v1's devices controller and its eBPF successor on v2.

Both start from the same folded form of OCI's `linux.resources.devices`, so that a rule list means
the same under either.  Light: imported on a container's start path.

Sources: runtime-spec config-linux.md "Allowed Device list", Documentation/admin-guide/cgroup-v1/devices.rst,
security/device_cgroup.c (matching), bpf(2), include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import struct

from stackrun.errors import InvalidArgument, KernelError
from stackrun.kernel import privileges

TYPE_CHECKING = False  # typing itself is too heavy for the start path; checkers take this name as true
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*
_ALL = MKNOD | READ | WRITE
_LETTERS = (("r", READ), ("w", WRITE), ("m", MKNOD))
_BLOCK, _CHAR = 1, 2  # BPF_DEVCG_DEV_*
WILDCARD = -1

DEFAULT_RULES = (
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},  # null
    {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},  # zero
    {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rwm"},  # full
    {"allow": True, "type": "c", "major": 1, "minor": 8, "access": "rwm"},  # random
    {"allow": True, "type": "c", "major": 1, "minor": 9, "access": "rwm"},  # urandom
    {"allow": True, "type": "c", "major": 5, "minor": 0, "access": "rwm"},  # tty
    {"allow": True, "type": "c", "major": 5, "minor": 2, "access": "rwm"},  # ptmx
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},  # pts
    {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"},  # tun, as Docker and runc allow it
)
"""OCI device rules of an ordinary container: its own /dev works and any node may be made, none other opened.

Not 5:1, which Docker allows: a container's /dev/console is a terminal of its own (136:*), and that number is the host's.
"""


def with_defaults(rules: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """`rules`, or none but the standard devices, which every container may open in the end, as runc and crun have it."""
    return [*(rules or DEFAULT_RULES[:1]), *DEFAULT_RULES[1:]]


class DevicePolicy:
    """The outcome of a rule list: `allow_by_default`, and `exceptions` {(type, major, minor): access bits} to it."""

    __slots__ = ("allow_by_default", "exceptions")

    def __init__(self, allow_by_default: bool, exceptions: dict[tuple[str, int, int], int]) -> None:
        self.allow_by_default = allow_by_default
        self.exceptions = exceptions


def fold(rules: Iterable[dict[str, Any]]) -> DevicePolicy:
    """OCI rules in order → what holds at the end, as the v1 controller would accumulate them."""
    policy = DevicePolicy(True, {})
    for index, rule in enumerate(rules):
        field = f"linux.resources.devices[{index}]"
        allow, access = bool(rule.get("allow")), _access_bits(rule.get("access") or "rwm", field)
        kind, major, minor = rule.get("type") or "a", _number(rule, "major"), _number(rule, "minor")
        if kind not in ("a", "b", "c", "u", "p"):
            raise InvalidArgument(f"{field}.type: unknown device type {kind!r}", hint="it is one of a, b, c, u, p")
        if kind == "a" and major == minor == WILDCARD and access == _ALL:
            policy = DevicePolicy(allow, {})
            continue
        kinds = {"a": ("b", "c"), "u": ("c",)}.get(kind, (kind,))
        for one in kinds:
            if one != "p":  # fifos are files, no controller looks at them
                _add(policy, (one, major, minor), access, allow)
    return policy


def _add(policy: DevicePolicy, key: tuple[str, int, int], access: int, allow: bool) -> None:
    held = policy.exceptions.get(key, 0)
    bits = held | access if allow != policy.allow_by_default else held & ~access
    policy.exceptions.pop(key, None)
    if bits:
        policy.exceptions[key] = bits


def _number(rule: dict[str, Any], name: str) -> int:
    value = rule.get(name)
    return WILDCARD if value is None or value < 0 else int(value)


def _access_bits(text: str, field: str) -> int:
    bits = 0
    for letter in text:
        bit = dict(_LETTERS).get(letter)
        if bit is None:
            raise InvalidArgument(f"{field}.access: {text!r} holds {letter!r}", hint="it is made of r, w and m")
        bits |= bit
    return bits


def v1_writes(policy: DevicePolicy) -> list[tuple[str, str]]:
    """(file, text) in order; the first one replaces whatever the cgroup inherited."""
    inherited, exception = ("devices.allow", "devices.deny") if policy.allow_by_default else ("devices.deny", "devices.allow")
    writes = [(inherited, "a")]
    for (kind, major, minor), access in policy.exceptions.items():
        letters = "".join(letter for letter, bit in _LETTERS if access & bit)
        writes.append((exception, f"{kind} {_v1_number(major)}:{_v1_number(minor)} {letters}"))
    return writes


def _v1_number(value: int) -> str:
    return "*" if value == WILDCARD else str(value)


# --- eBPF (v2) -----------------------------------------------------------------------------------

_LDX_W, _MOV_K, _MOV_X, _AND_K, _RSH_K = 0x61, 0xB4, 0xBC, 0x54, 0x74  # 32-bit ALU class throughout
_JNE_K, _JNE_X, _JEQ_K, _EXIT = 0x56, 0x5E, 0x16, 0x95  # JMP32 class, kernel 5.1
_R0, _R1, _TYPE, _ACCESS, _MAJOR, _MINOR, _SCRATCH = 0, 1, 2, 3, 4, 5, 6


def assemble(policy: DevicePolicy) -> bytes:
    """The BPF_PROG_TYPE_CGROUP_DEVICE program that answers 1 (may) or 0 (may not) as `policy` says.

    The context is {u32 access << 16 | type; u32 major; u32 minor}.
    """
    code = [
        _instruction(_LDX_W, _TYPE, _R1, 0, 0),
        _instruction(_MOV_X, _ACCESS, _TYPE),
        _instruction(_AND_K, _TYPE, immediate=0xFFFF),
        _instruction(_RSH_K, _ACCESS, immediate=16),
        _instruction(_LDX_W, _MAJOR, _R1, 4),
        _instruction(_LDX_W, _MINOR, _R1, 8),
    ]
    for key, access in policy.exceptions.items():
        code += _exception(key, access, policy.allow_by_default)
    code += [_instruction(_MOV_K, _R0, immediate=int(policy.allow_by_default)), _instruction(_EXIT)]
    return b"".join(code)


def _exception(key: tuple[str, int, int], access: int, allow_by_default: bool) -> list[bytes]:
    """An allowing exception must cover every bit asked for, a denying one any of them (security/device_cgroup.c)."""
    kind, major, minor = key
    verdict = [_instruction(_MOV_K, _R0, immediate=int(not allow_by_default)), _instruction(_EXIT)]
    tests: list[tuple[int, int, int, int]] = [(_JNE_K, _TYPE, 0, _BLOCK if kind == "b" else _CHAR)]
    if major != WILDCARD:
        tests.append((_JNE_K, _MAJOR, 0, major))
    if minor != WILDCARD:
        tests.append((_JNE_K, _MINOR, 0, minor))
    before: list[bytes] = []
    if access != _ALL:
        before = [_instruction(_MOV_X, _SCRATCH, _ACCESS), _instruction(_AND_K, _SCRATCH, immediate=access)]
        tests.append((_JEQ_K, _SCRATCH, 0, 0) if allow_by_default else (_JNE_X, _SCRATCH, _ACCESS, 0))
    total = len(tests) + len(before) + len(verdict)
    out: list[bytes] = []
    for position, (opcode, left, right, immediate) in enumerate(tests):
        if access != _ALL and position == len(tests) - 1:
            out += before
        out.append(_instruction(opcode, left, right, total - len(out) - 1, immediate))
    return out + verdict


def _instruction(opcode: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhI", opcode, source << 4 | target, offset, immediate & 0xFFFFFFFF)


_BPF_PROG_LOAD, _BPF_PROG_ATTACH, _BPF_PROG_DETACH = 5, 8, 9
_BPF_PROG_GET_FD_BY_ID, _BPF_PROG_QUERY = 13, 16
_PROG_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI = 15, 6, 2
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}


def attach(directory: str, policy: DevicePolicy) -> None:
    """Put the program on the cgroup2 `directory` and take off those it had before, in this order: never open in between.

    An ordinary user may load none, and does without, as runc: he can make no device nodes, and the modes of those that there are hold.
    """
    if privileges.current().rootless:
        return
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = _attached(directory_fd)
        program_fd = _load(assemble(policy))
        try:
            _bpf(
                "bpf attach device program",
                _BPF_PROG_ATTACH,
                struct.pack("=IIII", directory_fd, program_fd, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI),
            )
        finally:
            os.close(program_fd)
        for program_id in before:
            _detach(directory_fd, program_id)
    finally:
        os.close(directory_fd)


def programs(directory: str) -> tuple[int, ...]:
    """Ids of the device programs on the cgroup2 `directory` itself."""
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return tuple(_attached(directory_fd))
    finally:
        os.close(directory_fd)


def _load(code: bytes) -> int:
    instructions, license_text = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQIIQII",
        _PROG_TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license_text),
        0,
        0,
        0,
        0,
        0,
    )
    return _bpf("bpf load device program", _BPF_PROG_LOAD, attributes)


def _attached(directory_fd: int) -> list[int]:
    ids = (ctypes.c_uint32 * 64)()
    attributes = bytearray(struct.pack("=IIIIQII", directory_fd, _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), len(ids), 0))
    _bpf("bpf query device programs", _BPF_PROG_QUERY, attributes)
    count: int = struct.unpack_from("=I", attributes, 24)[0]
    return list(ids[:count])


def _detach(directory_fd: int, program_id: int) -> None:
    program_fd = _bpf("bpf open device program", _BPF_PROG_GET_FD_BY_ID, struct.pack("=III", program_id, 0, 0))
    try:
        _bpf("bpf detach device program", _BPF_PROG_DETACH, struct.pack("=IIII", directory_fd, program_fd, _ATTACH_CGROUP_DEVICE, 0))
    finally:
        os.close(program_fd)


def _bpf(call: str, command: int, attributes: bytes | bytearray) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * len(attributes)).from_buffer_copy(attributes)
    number = _BPF_SYSCALL.get(os.uname().machine, 280)
    result: int = libc.syscall(ctypes.c_long(number), ctypes.c_long(command), buffer, ctypes.c_long(len(attributes)))
    if result < 0:
        raise KernelError(
            call, ctypes.get_errno(), hint="the device rules of a container on cgroup v2 need CAP_SYS_ADMIN and CONFIG_CGROUP_BPF"
        )
    if isinstance(attributes, bytearray):
        attributes[:] = buffer.raw
    return result
