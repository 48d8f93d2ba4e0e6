"""Work that must come to its end whoever stops waiting for it: a client that hangs up never leaves a container half started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Tasks:
    """`report` is told of a background task's failure that nobody awaits."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._running: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits `work`, which goes on when the caller is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    def spawn(self, work: Coroutine[Any, Any, object], what: str) -> asyncio.Task[Any]:
        """Runs `work` by itself; `what` names it in the report."""
        task = asyncio.get_running_loop().create_task(work, name=what)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(f"{task.get_name()}: {type(error).__name__}: {error}")

    async def settle(self) -> None:
        """Waits until nothing runs any more."""
        while self._running:
            await asyncio.wait(tuple(self._running))
