"""A container's log in Docker's json-file format, rotated by size.

One JSON object a line: {"log": "text\\n", "stream": "stdout", "time": "2006-01-02T15:04:05.999999999Z"}.  A line of
output longer than 16 KiB is cut into entries that do not end in a newline, as Docker's reader puts them together again.
"""

from __future__ import annotations

import os
import time

from stackrun.runtime.jsontext import encode_basestring

ENTRY_BYTES_MAX = 16 * 1024
_NANOSECONDS = 1_000_000_000


class JsonLog:
    """Append-only; `path`, `path`.1, … `path`.(files - 1) exist, the highest is the oldest.

    A write that fails (a full disk) loses its entries and is told once by `failure` until writing works again.
    """

    __slots__ = ("_fd", "_second", "_second_text", "_size", "failure", "max_bytes", "max_files", "partial", "path")

    def __init__(self, path: str, max_bytes: int, max_files: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.max_files = max(1, max_files)
        self.failure = ""
        self.partial: dict[str, bytes] = {}
        self._second = -1
        self._second_text = ""
        self._fd = self._size = -1
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Take output as it comes; what is after the last newline waits for more, up to ENTRY_BYTES_MAX."""
        data = self.partial.pop(stream, b"") + data
        entries = []
        for line in _lines(data):
            if line.endswith(b"\n") or len(line) == ENTRY_BYTES_MAX:
                entries.append(self._entry(stream, line))
            else:
                self.partial[stream] = line
        if entries:
            self._append(entries)

    def flush(self, stream: str) -> None:
        """Write the last line although no newline came: the stream has ended."""
        rest = self.partial.pop(stream, b"")
        if rest:
            self._append([self._entry(stream, rest)])

    def _entry(self, stream: str, line: bytes) -> bytes:
        text = encode_basestring(line.decode("utf-8", "replace"))
        return f'{{"log":{text},"stream":"{stream}","time":"{self._now()}"}}\n'.encode()

    def _now(self) -> str:
        second, nanosecond = divmod(time.time_ns(), _NANOSECONDS)
        if second != self._second:
            self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        fraction = f"{nanosecond:09d}".rstrip("0")
        return f"{self._second_text}.{fraction}Z" if fraction else f"{self._second_text}Z"

    def _append(self, entries: list[bytes]) -> None:
        try:
            batch: list[bytes] = []
            size = self._size
            for entry in entries:
                if self.max_bytes > 0 and size and size + len(entry) > self.max_bytes:
                    os.write(self._fd, b"".join(batch))
                    self._rotate()
                    batch, size = [], 0
                batch.append(entry)
                size += len(entry)
            os.write(self._fd, b"".join(batch))
            self._size = size
            self.failure = ""
        except OSError as error:
            self.failure = f"log {self.path}: {error.strerror}, output is lost"

    def _rotate(self) -> None:
        os.close(self._fd)
        if self.max_files == 1:
            os.unlink(self.path)
        for number in range(self.max_files - 1, 0, -1):
            source = self.path if number == 1 else f"{self.path}.{number - 1}"
            try:
                os.rename(source, f"{self.path}.{number}")
            except FileNotFoundError:
                continue  # not that many yet
        self._open()

    def close(self) -> None:
        for stream in list(self.partial):
            self.flush(stream)
        os.close(self._fd)


def _lines(data: bytes) -> list[bytes]:
    """Split after each newline, and each piece at ENTRY_BYTES_MAX."""
    *whole, last = data.split(b"\n")
    pieces = [line + b"\n" for line in whole] + ([last] if last else [])
    return [piece[start : start + ENTRY_BYTES_MAX] for piece in pieces for start in range(0, len(piece), ENTRY_BYTES_MAX)]
