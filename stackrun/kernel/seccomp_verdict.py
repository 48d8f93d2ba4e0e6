"""What a compiled filter says of the calls between its installation and execve: whether it can be installed that early.

A machine for the classic BPF that libseccomp writes (bpf(4) of BSD, linux/filter.h); whatever it does not know counts as refused.
Light: preloaded for a container's start path.
"""

from __future__ import annotations

import os
import struct

from stackrun.kernel import syscalls

_HEADER = struct.Struct("=II")
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_IF_EQUAL, _IF_GREATER, _IF_NOT_LESS, _IF_ANY = 0x15, 0x25, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data (seccomp(2))."""
_ALLOW = 0x7FFF0000
_NEW_LISTENER = 8
_STEPS_MAX = 4096

_CLOSE_RANGE = 436
_GENERIC = (63, 64, 57, 222, 215, 214, 134, 135, 29, 216, 233, 24, 211, 212, 221, 157, 167, 98, 94, 261, 278, _CLOSE_RANGE)
_MACHINES = {
    "x86_64": (0xC000003E, 56, (0, 1, 3, 9, 11, 12, 13, 14, 16, 25, 28, 33, 46, 47, 59, 112, 157, 202, 231, 302, 318, _CLOSE_RANGE)),
    "aarch64": (0xC00000B7, 220, _GENERIC),
    "riscv64": (0xC00000F3, 220, _GENERIC),
}
"""Architecture, clone, and: read write close mmap munmap brk rt_sigaction rt_sigprocmask ioctl mremap madvise dup2 (dup3) sendmsg
recvmsg execve setsid prctl futex exit_group prlimit64 getrandom close_range."""


def allows_execve(program: bytes) -> bool:
    """Whether a process that has `program` on can still clone a sibling, and that one become a session's leader and a program."""
    known = _MACHINES.get(os.uname().machine)
    flags, count = _HEADER.unpack_from(program)
    if not known or flags & _NEW_LISTENER:
        return False
    architecture, clone, others = known
    code = [_INSTRUCTION.unpack_from(program, _HEADER.size + index * _INSTRUCTION.size) for index in range(count)]
    words = {_ARCHITECTURE: architecture}
    flag_words = {_ARGUMENTS + 4 * index: 0 for index in range(12)} | {_ARGUMENTS: syscalls.CLONE_PARENT}
    if not _is_allowed(code, words | flag_words | {_NUMBER: clone}):
        return False
    return all(_is_allowed(code, words | {_NUMBER: number}) for number in others)


def _is_allowed(code: list[tuple[int, int, int, int]], data: dict[int, int]) -> bool:
    """`data` maps offsets of struct seccomp_data to words; a filter that asks for another is not to be relied on."""
    accumulator = position = 0
    for _ in range(_STEPS_MAX):
        opcode, if_true, if_false, value = code[position]
        position += 1
        if opcode == _RETURN:
            return value == _ALLOW
        if opcode == _LOAD:
            if value not in data:
                return False
            accumulator = data[value]
        elif opcode == _AND:
            accumulator &= value
        elif opcode == _JUMP:
            position += value
        elif opcode in (_IF_EQUAL, _IF_GREATER, _IF_NOT_LESS, _IF_ANY):
            position += if_true if _holds(opcode, accumulator, value) else if_false
        else:
            return False
    return False


def _holds(opcode: int, accumulator: int, value: int) -> bool:
    if opcode == _IF_EQUAL:
        return accumulator == value
    if opcode == _IF_ANY:
        return bool(accumulator & value)
    return accumulator > value if opcode == _IF_GREATER else accumulator >= value
