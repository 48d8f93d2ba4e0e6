"""Another executable file for a process that runs: /proc/self/exe and all memory that is mapped from it.

The kernel lets go of the old file only when nothing of it is mapped any more (prctl(2), PR_SET_MM).  Code and constants
are mapped anew, from a file of the same content, which is one system call a segment.  What the program writes to is copied, and the
copy moved into the original's place.  Between these two no instruction of the interpreter may run, which writes to its own data all the
time: the C library's contexts (makecontext(3)) run memcpy and mremap one after the other.
"""

from __future__ import annotations

import ctypes
import errno
import os

from stackrun.errors import KernelError, Unsupported
from stackrun.kernel import syscalls

_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS, _MAP_POPULATE = 0x02, 0x10, 0x20, 0x8000
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_FAILED = 2**64 - 1

_CONTEXT_BYTES = 8192
"""Of ucontext_t, generously: 968 on x86-64, 4560 on aarch64.  It begins with uc_flags, uc_link, uc_stack on both."""
_STACK_BYTES = 32768
_LINK, _STACK, _STACK_SIZE = 1, 2, 4
"""As indices of 64-bit words."""

_HEAP_END = 5
_PAGE = ~4095
_PT_LOAD, _PF_W = 1, 2


class _Segment:
    """A line of /proc/self/maps."""

    __slots__ = ("end", "offset", "protection", "start")

    def __init__(self, start: int, end: int, protection: int, offset: int) -> None:
        self.start = start
        self.end = end
        self.protection = protection
        self.offset = offset


def replace(fd: int) -> None:
    """Let this process, which has one thread, go on from `fd`: a file with the content of its executable.

    Unsupported where the C library has no contexts; KernelError, EBUSY for instance, when the kernel does not allow it: the
    process then runs on as before, from either file.
    """
    libc = syscalls.libc
    if not hasattr(libc, "makecontext") or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise Unsupported("change the executable file: this C library has no contexts")
    for name in ("mmap", "mremap", "memcpy"):
        getattr(libc, name).restype = ctypes.c_void_p
    segments = _segments()
    written = _written_ranges(segments[0].start)
    for segment in segments:
        if any(start < segment.end and segment.start < end for start, end in written):
            _copy(segment)
        else:
            _map(segment.start, segment.end - segment.start, segment.protection, _MAP_PRIVATE | _MAP_FIXED, fd, segment.offset)
    _name(fd)


def _name(fd: int) -> None:
    """PR_SET_MM_EXE_FILE takes a capability that many a root has not; PR_SET_MM_MAP does not, and sets the rest to what it is.

    Its structure: start and end of code, of data, of the heap, the stack, arguments, environment; no auxiliary vector; the file.
    """
    with open("/proc/self/stat", "rb", buffering=0) as file:  # noqa: PTH123
        fields = [b""] * 3 + file.readall().rpartition(b")")[2].split()  # so that the indices are those of proc(5)
    values = (ctypes.c_uint64 * 13)(*(int(fields[index]) for index in (26, 27, 45, 46, 47, 47, 28, 48, 49, 50, 51)), 0, fd << 32)
    syscalls.libc.sbrk.restype = ctypes.c_void_p
    values[_HEAP_END] = syscalls.libc.sbrk(0)
    syscalls.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.addressof(values), ctypes.sizeof(values))


def _segments() -> list[_Segment]:
    path = os.readlink("/proc/self/exe").encode()
    with open("/proc/self/maps", "rb", buffering=0) as file:  # noqa: PTH123
        text = file.readall()
    found = []
    for line in text.splitlines():
        if line.endswith(path):
            addresses, letters, offset = line.split(None, 3)[:3]
            start, _, end = addresses.partition(b"-")
            protection = _PROT_READ * (letters[0] == 114) | _PROT_WRITE * (letters[1] == 119) | _PROT_EXEC * (letters[2] == 120)
            found.append(_Segment(int(start, 16), int(end, 16), protection, int(offset, 16)))
    return found


def _written_ranges(first: int) -> list[tuple[int, int]]:
    """Addresses of what is written to, by the loader at least (elf(5), 64 bits); `first` is where the file's first byte is."""
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(fd, 4096, 0)
    finally:
        os.close(fd)

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "little")

    table, size, count = number(32, 8), number(54, 2), number(56, 2)
    if head[:6] != b"\x7fELF\2\1" or table + size * count > len(head):
        raise Unsupported("change the executable file: it is no 64-bit ELF file that begins with its table of segments")
    loaded = [at for at in range(table, table + size * count, size) if number(at, 4) == _PT_LOAD]
    moved = first - (number(loaded[0] + 16, 8) & _PAGE)
    found = []
    for at in loaded:
        if number(at + 4, 4) & _PF_W:
            start = number(at + 16, 8) + moved
            found.append((start & _PAGE, start + number(at + 40, 8)))
    return found


def _map(address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
    found: int = syscalls.libc.mmap(ctypes.c_void_p(address), ctypes.c_size_t(length), protection, flags, fd, ctypes.c_long(offset))
    if found == _FAILED:
        raise KernelError("mmap the executable file", ctypes.get_errno())
    return found


def _copy(segment: _Segment) -> None:
    length = segment.end - segment.start
    new = _map(0, length, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_POPULATE, -1, 0)
    where, old, size = ctypes.c_void_p(new), ctypes.c_void_p(segment.start), ctypes.c_size_t(length)
    moving = (where, size, size, _MREMAP_MAYMOVE | _MREMAP_FIXED, old)
    if segment.protection & _PROT_WRITE:
        _in_a_row((syscalls.libc.memcpy, (where, old, size)), (syscalls.libc.mremap, moving))
        return
    syscalls.libc.memcpy(where, old, size)
    if syscalls.libc.mprotect(where, size, segment.protection) < 0 or syscalls.libc.mremap(*moving) == _FAILED:
        raise KernelError("move the copy of a segment", ctypes.get_errno() or errno.EIO)


def _in_a_row(*calls: tuple[object, tuple[object, ...]]) -> None:
    """Call functions of C, one after the other and nothing in between.  What they return is lost."""
    libc = syscalls.libc
    here = ctypes.create_string_buffer(_CONTEXT_BYTES)
    following, kept = here, [here]
    for function, arguments in reversed(calls):
        context, stack = ctypes.create_string_buffer(_CONTEXT_BYTES), ctypes.create_string_buffer(_STACK_BYTES)
        kept += [context, stack]
        libc.getcontext(context)
        words = (ctypes.c_uint64 * 5).from_buffer(context)
        words[_LINK], words[_STACK], words[_STACK_SIZE] = ctypes.addressof(following), ctypes.addressof(stack), _STACK_BYTES
        libc.makecontext(context, function, len(arguments), *arguments)
        following = context
    libc.swapcontext(here, following)
