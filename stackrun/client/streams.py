"""What comes back from an engine as a stream: an attached process, log lines, and objects one a line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from stackrun.api.types import LogLine, Output
from stackrun.api.wire.frames import STDOUT, SYSTEM_ERROR, Frames
from stackrun.client.async_http import AsyncResponse, Wire
from stackrun.errors import Conflict, StackrunError, Unavailable


class HttpStream:
    """An attached process at the other end of a hijacked connection (api.engine.Stream)."""

    def __init__(self, wire: Wire, early: bytes, *, tty: bool) -> None:
        self.tty = tty
        self._wire = wire
        self._early = early
        self._frames = None if tty else Frames()
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[Output]:
        while data := self._early or await self._read():
            self._early = b""
            for output in self._outputs(data):
                yield output

    async def _read(self) -> bytes:
        if self._closed:
            return b""
        try:
            return await self._wire.read()
        except OSError as error:
            if self._closed:
                return b""
            raise Unavailable(f"lost the attached process: {error.strerror or error}") from error

    def _outputs(self, data: bytes) -> list[Output]:
        if self._frames is None:
            return [Output(STDOUT, data)]
        return [Output(stream, piece) for stream, piece in _framed(self._frames, data)]

    async def write(self, data: bytes) -> None:
        """Conflict once the process has ended or the stream is closed."""
        try:
            await self._wire.write(data)
        except OSError as error:
            raise Conflict(f"the attached process takes no more input: {error.strerror or error}") from error

    async def close_stdin(self) -> None:
        with suppress(OSError):  # ended already: there is no input to end
            self._wire.close_writing()

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._wire.close()


def _framed(frames: Frames, data: bytes) -> list[tuple[int, bytes]]:
    try:
        return frames.feed(data)
    except ValueError as error:
        raise Unavailable(f"the engine's stream is broken: {error}") from error


async def log_lines(response: AsyncResponse, *, tty: bool) -> AsyncIterator[LogLine]:
    """Log output with timestamps, each line in a frame of its own or, with a tty, ended by a newline."""
    frames, rest = Frames(), b""
    try:
        while piece := await response.next():
            if tty:
                *lines, rest = (rest + piece).split(b"\n")
                found = [(STDOUT, line + b"\n") for line in lines]
            else:
                found = _framed(frames, piece)
            for stream, data in found:
                yield _log_line(stream, data)
        if rest:
            yield _log_line(STDOUT, rest)
    finally:
        response.close()


def _log_line(stream: int, data: bytes) -> LogLine:
    if stream == SYSTEM_ERROR:
        raise StackrunError(data.decode(errors="replace").strip())
    time, _, line = data.partition(b" ")
    return LogLine(stream, time.decode(errors="replace"), line)


