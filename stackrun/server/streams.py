"""What goes through a stream: JSON lines, log lines in Docker's framing, and a process at both ends of a raw connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from stackrun.api.engine import Stream
from stackrun.api.routes import as_numbers
from stackrun.api.types import LogLine
from stackrun.api.wire.frames import SYSTEM_ERROR, frame
from stackrun.errors import InvalidArgument, StackrunError
from stackrun.server.http import Duplex

_log = logging.getLogger("stackrun.server")
_T = TypeVar("_T")

RAW, MULTIPLEXED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"
_MULTIPLEXED_SINCE = (1, 42)
DETACH_KEYS = "ctrl-p,ctrl-q"


def output_type(tty: bool, version: str) -> str:
    """The Content-Type of a process's output: the framed kind has had a name of its own since API 1.42."""
    return MULTIPLEXED if not tty and as_numbers(version) >= _MULTIPLEXED_SINCE else RAW


def closer(source: object) -> Callable[[], Awaitable[None]] | None:
    """How to end an iterator's work: `aclose`, which generators have and plain iterators need not."""
    return getattr(source, "aclose", None)


async def json_lines(
    values: AsyncIterator[_T], to_json: Callable[[_T], dict[str, Any]], failed: Callable[[StackrunError], dict[str, Any]], end: str = "\n"
) -> AsyncIterator[bytes]:
    """One object a line; a failure after the first line is the last object, since the status is sent already."""
    try:
        async for value in values:
            yield (json.dumps(to_json(value)) + end).encode()
    except StackrunError as error:
        yield (json.dumps(failed(error)) + end).encode()


def stream_failure(error: StackrunError) -> dict[str, Any]:
    """Docker's last object of a stream that failed."""
    return {"errorDetail": {"message": error.message}, "error": error.message}


async def log_output(lines: AsyncIterator[LogLine], *, tty: bool, timestamps: bool) -> AsyncIterator[bytes]:
    try:
        async for line in lines:
            data = f"{line.time} ".encode() + line.data if timestamps else line.data
            yield data if tty else frame(line.stream, data)
    except StackrunError as error:
        yield error.message.encode() if tty else frame(SYSTEM_ERROR, error.message.encode())


class DetachKeys:
    """Finds the key sequence by which a user leaves a terminal without ending the process.

    Keys that begin the sequence are held back until it is clear whether it goes on.
    """

    def __init__(self, keys: str = DETACH_KEYS) -> None:
        self._sequence = b"".join(map(_key, keys.split(",")))
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what goes to the process, whether the sequence was completed)."""
        passed = bytearray()
        for at in range(len(data)):
            self._held += data[at : at + 1]
            if self._held == self._sequence:
                self._held = b""
                return bytes(passed), True
            while self._held and not self._sequence.startswith(self._held):
                passed += self._held[:1]
                self._held = self._held[1:]
        return bytes(passed), False


def _key(name: str) -> bytes:
    """`ctrl-p` or a single character → the byte a terminal sends."""
    if len(name) == 1 and name.isascii():
        return name.encode()
    letter = name.removeprefix("ctrl-")
    if name.startswith("ctrl-") and len(letter) == 1 and "@" <= letter.upper() <= "_":
        return bytes([ord(letter.upper()) - ord("@")])
    raise InvalidArgument(f"Invalid detach keys provided: {name!r}", hint="write them as ctrl-p,ctrl-q")


async def pump(connection: Duplex, process: Stream, *, stdin: bool, keys: DetachKeys | None) -> None:
    """Carries a process's output to the connection and what is typed to the process, until the output ends or the user detaches."""
    typing = asyncio.create_task(_type(connection, process, keys)) if stdin else None
    try:
        async for output in process:
            await connection.write(output.data if process.tty else frame(output.stream, output.data))
    finally:
        if typing:
            typing.cancel()
            await asyncio.wait({typing})
        await process.close()


async def _type(connection: Duplex, process: Stream, keys: DetachKeys | None) -> None:
    """The client's half-close becomes EOF for the process, except on a terminal, where EOF is a key; the detach keys end the stream."""
    try:
        while data := await connection.read():
            passed, detached = keys.feed(data) if keys else (data, False)
            if passed:
                await process.write(passed)
            if detached:
                await process.close()
                return
        if not process.tty:
            await process.close_stdin()
    except (StackrunError, OSError) as error:
        # The process has closed its stdin or ended: what is typed goes nowhere, and its output goes on.
        _log.debug("stdin of an attached process: %s", error)
