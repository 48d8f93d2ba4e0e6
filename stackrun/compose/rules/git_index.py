"""Whether git keeps a file, read from the repository's index without git."""

from __future__ import annotations

import os
from pathlib import Path

_HIGHEST = 30
"""Folders that are looked through upwards for a repository."""
_LARGEST = 64 << 20


def tracked(path: str) -> bool:
    """Whether the index of the repository around `path` (absolute) has it; False where that cannot be told."""
    folder = os.path.dirname(path)
    for _ in range(_HIGHEST):
        index = os.path.join(folder, ".git", "index")
        if os.path.isfile(index):
            return _has(index, os.path.relpath(path, folder))
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    return False


def _has(index: str, name: str) -> bool:
    """An entry is 62 bytes or more, the last two with the name's length in their lower 12 bits, then the name and a zero.

    Versions 2 and 3; version 4 shortens names.  Source: gitformat-index.
    """
    try:
        content = Path(index).read_bytes() if os.path.getsize(index) <= _LARGEST else b""
        wanted = os.fsencode(name)
    except (OSError, ValueError):
        return False
    if content[:4] != b"DIRC" or content[4:8] not in (b"\0\0\0\2", b"\0\0\0\3"):
        return False
    at = content.find(wanted + b"\0")
    while at > 0:
        length = min(len(wanted), 0xFFF)
        if (
            int.from_bytes(content[at - 2 : at], "big") & 0xFFF == length
            or int.from_bytes(content[at - 4 : at - 2], "big") & 0xFFF == length
        ):
            return True
        at = content.find(wanted + b"\0", at + 1)
    return False
