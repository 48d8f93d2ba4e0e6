"""A pipe from an asynchronous source of bytes to the thread that reads them as a file."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import BinaryIO

PIPE_BYTES = 1 << 20
"""The reader's thread and the event loop take turns by the piece: with the usual 64 KiB, copying takes twice as long."""


class Feed:
    """`with Feed() as feed:` hand `feed.file` to a thread and run `feed.feed(chunks)` in a task meanwhile."""

    def __init__(self) -> None:
        read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        with suppress(OSError):  # the user's pipes are used up, pipe(7): slower, and right all the same
            fcntl.fcntl(read_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.file: BinaryIO = os.fdopen(read_fd, "rb")

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    async def feed(self, chunks: AsyncIterator[bytes]) -> None:
        """Ends early, without an error, when the reader has seen enough."""
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(self._write_fd, "wb"))
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        try:
            async for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            writer.close()


async def stopped(feeding: asyncio.Task[None]) -> None:
    feeding.cancel()
    try:
        await feeding
    except asyncio.CancelledError:
        return
