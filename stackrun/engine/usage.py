"""How much disk a directory tree takes."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def tree_size_bytes(root: Path) -> int:
    """Sum of the files' sizes, each hard-linked file once; what vanishes meanwhile does not count."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, directories, files in os.walk(root):
        for name in (*directories, *files):
            try:
                status = os.lstat(f"{parent}/{name}")
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total
