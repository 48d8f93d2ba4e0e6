"""How much disk a directory tree takes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def tree_size_bytes(root: Path) -> int:
    """Sum of the files' sizes, each hard-linked file once; what vanishes meanwhile, or is too deep for a path, does not count."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = [str(root)]
    while waiting:
        for path, status in _entries(waiting.pop()):
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)
            elif stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total


def _entries(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield entry.path, entry.stat(follow_symlinks=False)
    except OSError:
        return
