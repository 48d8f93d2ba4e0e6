"""A process's standard streams, from the framed socket of its shim (api.engine.Stream)."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence

from stackrun.api.types import Output
from stackrun.errors import Conflict

_HEADER = struct.Struct(">BxxxL")


class ProcessStream:
    """`past` is output from before the attach (the log), given first.

    `ended` holds the end of the output back until the process itself has ended, so that its exit code is known by then.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        tty: bool,
        wanted: frozenset[int],
        past: Sequence[Output] = (),
        ended: asyncio.Future[int] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.tty = tty
        self._reader = reader
        self._writer = writer
        self._wanted = wanted
        self._past = past
        self._ended = ended
        self._on_close = on_close

    @classmethod
    async def over(
        cls,
        sock: socket.socket,
        *,
        tty: bool,
        stdout: bool = True,
        stderr: bool = True,
        past: Sequence[Output] = (),
        ended: asyncio.Future[int] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> ProcessStream:
        """Takes `sock` over."""
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock)
        wanted = frozenset(number for number, chosen in ((1, stdout), (2, stderr)) if chosen)
        return cls(reader, writer, tty=tty, wanted=wanted, past=past, ended=ended, on_close=on_close)

    async def __aiter__(self) -> AsyncIterator[Output]:
        for output in self._past:
            yield output
        while (live := await self._next()) is not None:
            if live.stream in self._wanted:
                yield live
        if self._ended is not None:
            await asyncio.shield(self._ended)

    async def _next(self) -> Output | None:
        try:
            stream, length = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
            return Output(stream, await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def write(self, data: bytes) -> None:
        """Conflict when the process takes no more input."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise Conflict("the process's input is closed") from error

    async def close_stdin(self) -> None:
        if self._writer.can_write_eof() and not self._writer.is_closing():
            try:
                self._writer.write_eof()
            except OSError:
                return  # the process has ended: its input is closed already

    async def close(self) -> None:
        if self._on_close is not None:
            self._on_close()
            self._on_close = None
        self._writer.close()


class TextStream:
    """A stream of words of ours, where a process could not be started."""

    tty = False

    def __init__(self, text: str, *, tty: bool) -> None:
        self.tty = tty
        self._output = Output(1, text.encode())

    async def __aiter__(self) -> AsyncIterator[Output]:
        yield self._output

    async def write(self, data: bytes) -> None:
        raise Conflict("the process's input is closed")

    async def close_stdin(self) -> None:
        return

    async def close(self) -> None:
        return
