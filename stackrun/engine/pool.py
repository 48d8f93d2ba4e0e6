"""The threads in which kernel and file system work may block, so that the event loop never does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SHORT_THREADS = 12
"""Starts, exits and requests to shims: each waits for another process more than it computes."""
LONG_THREADS = 4
"""Pulls and archives: they wait for the network or a client for minutes."""
DISK_THREADS = 2
"""Trees removed and measured: seconds, and a pull must not keep a removal waiting."""


class Pool:
    def __init__(self) -> None:
        self._short = ThreadPoolExecutor(SHORT_THREADS, thread_name_prefix="engine")
        self._long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="engine-long")
        self._disk = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="engine-disk")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work of milliseconds. It is finished even if the caller is cancelled meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._short, partial(work, *args, **kwargs))

    async def run_long(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._long, partial(work, *args, **kwargs))

    async def run_disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, partial(work, *args, **kwargs))

    def close(self) -> None:
        """Waits for what is running."""
        self._short.shutdown()
        self._long.shutdown()
        self._disk.shutdown()
