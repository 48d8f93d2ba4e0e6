"""Reading a container's log: Docker's json-file, rotated as `x`, `x.1`, `x.2`… (the highest is the oldest).

Each line of it is `{"log":"text\\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}`; a text longer than 16 KiB comes as several
records of which only the last ends with a newline.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from stackrun.api.types import LogLine, LogQuery
from stackrun.engine.clock import nanoseconds
from stackrun.kernel.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify

_BLOCK_BYTES = 65_536
_BATCH_LINES = 512
_STREAMS = {"stdout": 1, "stderr": 2}


def parse(record: bytes) -> LogLine | None:
    """None for a record that is not whole or not a record: a machine that lost power may leave one."""
    try:
        value = json.loads(record)
        return LogLine(_STREAMS[value["stream"]], value["time"], value["log"].encode("utf-8", "surrogateescape"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def wanted(line: LogLine, query: LogQuery) -> bool:
    if not (query.stdout if line.stream == 1 else query.stderr):
        return False
    if not query.since_s and not query.until_s:
        return True
    at_ns = nanoseconds(line.time)
    return (not query.since_s or at_ns >= round(query.since_s * 1e9)) and (not query.until_s or at_ns <= round(query.until_s * 1e9))


def generations(path: Path) -> list[Path]:
    """The log's files, oldest first."""
    rotated = [(int(one.suffix[1:]), one) for one in path.parent.glob(path.name + ".*") if one.suffix[1:].isdigit()]
    return [one for _, one in sorted(rotated, reverse=True)] + [path]


def tail_offset(file: BinaryIO, lines: int) -> tuple[int, int]:
    """(offset of the last `lines` records, how many there are from it on), read backwards in blocks."""
    size = file.seek(0, os.SEEK_END)
    position, found = size, 0
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        file.seek(start)
        block = file.read(position - start)
        at = len(block) - 1 if position == size else len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            found += 1
            if found == lines:
                return start + at + 1, found
        position = start
    return 0, found + (1 if size else 0)


class LogReader:
    """The records of one log in order, across rotations; remembers its place.

    The current file stays open, so that what is written to it after its renaming is still read before the next one.
    """

    def __init__(self, path: Path, query: LogQuery) -> None:
        self._path = path
        self._query = query
        self._files: deque[BinaryIO] = deque()
        self._open(query.tail)
        self._rest = b""

    def _open(self, tail: int | None) -> None:
        """Opens every generation, positioned so that `tail` records are left (None: all)."""
        opened: list[BinaryIO] = []
        for path in generations(self._path):
            try:
                opened.append(path.open("rb"))
            except FileNotFoundError:
                continue
        left = tail
        for file in reversed(opened):
            if left is None:
                self._files.appendleft(file)
            elif left > 0:
                offset, found = tail_offset(file, left)
                file.seek(offset)
                left -= found
                self._files.appendleft(file)
            elif file is opened[-1]:
                file.seek(0, os.SEEK_END)
                self._files.appendleft(file)
            else:
                file.close()

    def lines(self, limit: int = _BATCH_LINES) -> list[LogLine]:
        """Up to about `limit` of the next wanted records; empty when there is no more for now."""
        found: list[LogLine] = []
        for record in self._records():
            line = parse(record)
            if line is not None and wanted(line, self._query):
                found.append(line)
                if len(found) >= limit:
                    break
        return found

    def _records(self) -> Iterator[bytes]:
        if not self._files:
            self._open_newer(None)
        while self._files:
            yield from self._whole_records()
            if len(self._files) == 1:
                if not self._open_newer(_identity(os.fstat(self._files[0].fileno()))):
                    return
                yield from self._whole_records()  # what was written between the last read and the renaming
            self._files.popleft().close()
            self._rest = b""

    def _whole_records(self) -> Iterator[bytes]:
        while part := self._files[0].readline():
            self._rest += part
            if part.endswith(b"\n"):
                whole, self._rest = self._rest, b""
                yield whole

    def _open_newer(self, mine: tuple[int, int] | None) -> bool:
        """Queues the generations that are newer than the file being read; False when it is the current one still."""
        newer: list[BinaryIO] = []
        for path in reversed(generations(self._path)):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            if _identity(os.fstat(file.fileno())) == mine:
                file.close()
                break
            newer.append(file)
        self._files.extend(reversed(newer))
        return bool(newer)

    def close(self) -> None:
        while self._files:
            self._files.popleft().close()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


async def read(path: Path, query: LogQuery, ended: asyncio.Event) -> AsyncIterator[LogLine]:
    """The log as asked; with `follow`, until `ended` is set (and what was written by then is read) or `until_s` has passed.

    Files are read on the loop's thread: they are in the page cache, and a batch is at most 512 records.
    """
    watch = _Watch(path.parent, path.name) if query.follow and not ended.is_set() else None
    reader = LogReader(path, query)
    try:
        going_on = True
        while going_on:
            going_on = watch is not None and not ended.is_set()
            while lines := reader.lines():
                for line in lines:
                    yield line
                await asyncio.sleep(0)
            if going_on and watch is not None:
                going_on = await watch.changed(ended, query.until_s)
    finally:
        reader.close()
        if watch is not None:
            watch.close()


class _Watch:
    """Waits for a change of the log's directory, the container's end, or a point in time."""

    def __init__(self, directory: Path, name: str) -> None:
        self._inotify = Inotify()
        self._name = name
        self._woken = asyncio.Event()
        try:
            self._inotify.watch(str(directory), IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        except BaseException:
            self._inotify.close()
            raise
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._readable)

    def _readable(self) -> None:
        if any(name.startswith(self._name) for _mask, name in self._inotify.read()):
            self._woken.set()

    async def changed(self, ended: asyncio.Event, until_s: float) -> bool:
        """False when `until_s` (since the epoch, 0 for never) has passed."""
        loop = asyncio.get_running_loop()
        timeout_s = max(0.0, until_s - time.time()) if until_s else None
        waits = [loop.create_task(self._woken.wait()), loop.create_task(ended.wait())]
        try:
            done, _ = await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._woken.clear()
        return bool(done)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._inotify.fileno())
        self._inotify.close()

