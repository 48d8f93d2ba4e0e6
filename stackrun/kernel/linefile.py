"""Lines added to a file of bounded size: a full one is renamed to `older`, whose content goes, so both hold at most twice `bytes_max`.

Nothing is synced: a machine that loses its power loses the last lines.  A line that was torn, by that or by kill -9, costs itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LineFile:
    """Its owner's alone. One writer at a time: whoever has several must lock."""

    current: Path
    older: Path
    bytes_max: int

    def append(self, lines: Iterable[bytes]) -> None:
        """Each with its newline. OSError; what fits in one file at a time is added whole or not at all."""
        for batch in self._batches(lines):
            self._add(batch)

    def lines(self) -> Iterator[bytes]:
        """Oldest first, without their newlines; torn ones and empty ones too. A file that cannot be read has none."""
        for path in (self.older, self.current):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            yield from content.split(b"\n")

    def _batches(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """As many lines at a time as a file can hold."""
        batch: list[bytes] = []
        size = 0
        for line in lines:
            if batch and size + len(line) > self.bytes_max:
                yield b"".join(batch)
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            yield b"".join(batch)

    def _add(self, batch: bytes) -> None:
        """After a line that was torn it begins a new one."""
        self._make_room(len(batch))
        file = os.open(self.current, _FLAGS, 0o600)
        try:
            size = os.fstat(file).st_size
            torn = size and os.pread(file, 1, size - 1) != b"\n"
            _write_whole(file, size, (b"\n" if torn else b"") + batch)
        finally:
            os.close(file)

    def _make_room(self, more_bytes: int) -> None:
        try:
            size = os.stat(self.current).st_size
        except FileNotFoundError:
            return
        if size and size + more_bytes > self.bytes_max:
            os.rename(self.current, self.older)


def _write_whole(file: int, size: int, data: bytes) -> None:
    """OSError, and the file as it was, when the disk is full."""
    try:
        while data:
            data = data[os.write(file, data) :]
    except OSError:
        os.ftruncate(file, size)
        raise
