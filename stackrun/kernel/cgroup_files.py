"""Reading and writing cgroupfs: errors carry the file, and flat keyed files become dicts.

Light: imported on a container's start path.
"""

from __future__ import annotations

import errno
import os

from stackrun.errors import KernelError


def write(file: str, text: str) -> None:
    """One write(2), as cgroupfs wants it; KernelError names the file and the text."""
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(f"write {text!r} to {file}", error.errno or errno.EIO) from error


def read(file: str) -> str:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(fd, 65536):
                parts.append(part)
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(f"read {file}", error.errno or errno.EIO) from error
    return b"".join(parts).decode(errors="surrogateescape")


def read_or_empty(file: str) -> str:
    """For what this kernel may not have, or what may be gone by now."""
    try:
        return read(file)
    except KernelError:
        return ""


def number(file: str) -> int:
    """The number in a file; 0 when it is missing or says `max`."""
    text = read_or_empty(file).strip()
    return int(text) if text.isdecimal() else 0


def flat_keyed(text: str) -> dict[str, int]:
    """`key number` lines → dict (cgroup-v2.rst calls the format so); lines of another shape are left out."""
    pairs = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in pairs if len(words) == 2 and words[1].isdecimal()}
