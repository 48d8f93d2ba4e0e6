"""A file that a user names, as bytes, and bytes as text: what can go wrong there, said so that the user can mend it."""

from __future__ import annotations

import os
import re
import stat
from typing import NamedTuple

MAX_BYTES = 20 << 20
"""The biggest file that is read; stack files of thousands of services have a tenth of it."""
_STREAMS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Paths that lead to what the caller has opened: pipes of a shell's `<(…)` among them."""
_NULL_DEVICE = os.makedev(1, 3)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]+")
"""What YAML refuses anywhere."""
_MAX_WRONG = 20
"""Wrong characters that are told one by one; a file with more is no text."""


class Unreadable(Exception):
    """`message` says what the file is or what the system said; `missing` when there is no such file."""

    def __init__(self, message: str, hint: str = "", *, missing: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.missing = message, hint, missing

    @property
    def code(self) -> str:
        """Of the finding that it becomes."""
        return "missing-file" if self.missing else "unreadable-file"


class Wrong(NamedTuple):
    """A place in a text, from 1, and what is wrong there."""

    line: int
    column: int
    message: str
    hint: str


def contents(path: str) -> bytes:
    """A regular file, /dev/null, or what the caller has opened; raises Unreadable. Never waits for a fifo or a device."""
    try:
        _check_kind(path, os.stat(path))
        waiting = 0 if path.startswith(_STREAMS) else os.O_NONBLOCK
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | waiting)
        with os.fdopen(fd, "rb") as file:
            _check_kind(path, os.fstat(fd))
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise Unreadable("no such file or directory", missing=True) from error
    except OSError as error:
        raise Unreadable((error.strerror or "cannot be read").lower()) from error
    except ValueError as error:
        raise Unreadable("no file can have this name", "it has a NUL or a character that is none") from error
    if len(data) > MAX_BYTES:
        raise Unreadable(f"is larger than {MAX_BYTES >> 20} MB", "is it the right file?")
    return data


def _check_kind(path: str, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise Unreadable("is a directory", "name a file in it")
    if stat.S_ISREG(mode) or path.startswith(_STREAMS) or (stat.S_ISCHR(mode) and status.st_rdev == _NULL_DEVICE):
        return
    kind = "a fifo" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise Unreadable(f"is {kind}, not a file", "a stream is read with -f - or as /dev/stdin" if stat.S_ISFIFO(mode) else "")


def decoded(data: bytes) -> tuple[str, tuple[Wrong, ...]]:
    """UTF-8, or UTF-16 with its byte order mark, as Compose reads it; and the bytes that are neither, replaced by U+FFFD."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _utf16(data)
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError as error:
        return data.decode("utf-8", "replace"), (_wrong_byte(data, error),)


def _utf16(data: bytes) -> tuple[str, tuple[Wrong, ...]]:
    try:
        return data.decode("utf-16"), ()
    except UnicodeDecodeError as error:
        text = data[: error.start].decode("utf-16", "replace")
        at = _position(text, len(text))
        return data.decode("utf-16", "replace"), (Wrong(*at, "not valid UTF-16 text", "save the file as UTF-8"),)


def _wrong_byte(data: bytes, error: UnicodeDecodeError) -> Wrong:
    byte = data[error.start]
    before = data[: error.start].decode("utf-8")
    latin = bytes([byte]).decode("latin-1")
    hint = f"in Latin-1 it is {latin}: save the file as UTF-8" if latin.isprintable() else "save the file as UTF-8"
    return Wrong(*_position(before, len(before)), f"not valid UTF-8 text: byte 0x{byte:02X}", hint)


def forbidden(text: str) -> tuple[str, tuple[Wrong, ...]]:
    """The characters that YAML forbids, and the text with U+FFFD in their place."""
    if not _CONTROL.search(text):
        return text, ()
    if text[1:80:2].count("\0") > 20 or text[0:80:2].count("\0") > 20:
        return "", (Wrong(1, 1, "UTF-16 text without a byte order mark", "save the file as UTF-8"),)
    found = list(_CONTROL.finditer(text))
    wrong = tuple(_forbidden(text, match.start()) for match in found[:_MAX_WRONG])
    return ("" if len(found) > _MAX_WRONG else _CONTROL.sub(lambda match: "\ufffd" * len(match[0]), text)), wrong


def _forbidden(text: str, offset: int) -> Wrong:
    code = ord(text[offset])
    if 0xDC80 <= code <= 0xDCFF:  # how Python hands on a byte of stdin that is no UTF-8
        return Wrong(*_position(text, offset), f"not valid UTF-8 text: byte 0x{code - 0xDC00:02X}", "save the file as UTF-8")
    kind = "a lone surrogate" if 0xD800 <= code <= 0xDFFF else "the control character"
    return Wrong(*_position(text, offset), f"{kind} U+{code:04X} is not allowed", "remove it, or write it as an escape in double quotes")


def _position(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset].removeprefix("\ufeff")
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", before)
    return len(lines), len(lines[-1]) + 1
