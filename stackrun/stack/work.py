"""An operation under way, as an iterator of its events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from stackrun.api.stacks import Phase, StackEvent
from stackrun.errors import StackrunError
from stackrun.stack.execute import Emit

Job = Callable[[Emit], Awaitable[None]]


class Work:
    """An operation under way: the iterator of its events. It ends by itself, listened to or not; `aclose` cancels it."""

    def __init__(self, job: Job, lock: asyncio.Lock) -> None:
        self._events: asyncio.Queue[StackEvent | None] = asyncio.Queue()
        self._lock = lock
        self._task = asyncio.create_task(self._run(job))
        self._task.add_done_callback(self._finished)

    async def _run(self, job: Job) -> None:
        emit = self._events.put_nowait
        try:
            await job(emit)
        except StackrunError as error:
            emit(StackEvent("", Phase.FAILED, "Failed", str(error), error.hint, exit_code=error.exit_code or 1))
        else:
            emit(StackEvent("", Phase.DONE, "Done"))

    def _finished(self, _: object) -> None:
        """A callback, since a task that is cancelled before its first step runs none of its own code."""
        self._lock.release()
        self._events.put_nowait(None)

    def __aiter__(self) -> Work:
        return self

    async def __anext__(self) -> StackEvent:
        event = await self._events.get()
        if event is None:
            self._events.put_nowait(None)
            await self._task
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
