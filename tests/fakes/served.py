"""A fake engine behind the real server, in this event loop or in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fakes.stacks import FakeStacks

from stackrun.api.engine import Engine
from stackrun.api.stacks import Stacks
from stackrun.server.app import serve


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


@asynccontextmanager
async def served(engine: Engine, directory: Path, stacks: Stacks | None = None) -> AsyncIterator[str]:
    """The server's address, `unix:///…`; it runs in this loop until the end of the block or a client's shutdown."""
    path = directory / "s.sock"
    task: asyncio.Task[None] | None = None

    def shutdown() -> None:
        assert task
        task.cancel()

    task = asyncio.create_task(serve(engine, stacks or FakeStacks(), [listening(path)], on_shutdown=shutdown))
    try:
        yield f"unix://{path}"
    finally:
        task.cancel()
        await asyncio.wait({task})
        path.unlink()


@contextmanager
def served_in_thread(engine: Engine, directory: Path, stacks: Stacks | None = None) -> Iterator[str]:
    """The same for blocking clients and other programs: the engine lives in the thread's loop."""
    ready, stopped = threading.Event(), threading.Event()
    address, loops, failures = [""], [], []

    async def run() -> None:
        stop = asyncio.Event()
        async with served(engine, directory, stacks) as address[0]:
            loops.append((asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()
            stopped.set()

    thread = threading.Thread(target=main)
    thread.start()
    ready.wait()
    try:
        yield address[0]
    finally:
        for loop, stop in loops:
            if not stopped.is_set():
                loop.call_soon_threadsafe(stop.set)
        thread.join()
        assert not failures, failures
