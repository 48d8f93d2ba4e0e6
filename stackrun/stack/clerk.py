"""Writes an account into the journal while its plan is carried out, a moment after each thing has happened and many at a time.

Nothing waits for it but the end of the operation, which finds the journal complete.
"""

from __future__ import annotations

import asyncio

from stackrun.api.stacks import Decision
from stackrun.stack.account import Account
from stackrun.stack.journal import Journal

GATHERED_S = 0.1
"""What happens within this time is written at once: an `up` of milliseconds costs one write."""


class Clerk:
    """`async with Clerk(…):` around the work that the account is of."""

    def __init__(self, journal: Journal, project: str, account: Account) -> None:
        self._journal = journal
        self._project = project
        self._account = account
        self._stirred = asyncio.Event()
        self._over = asyncio.Event()

    async def __aenter__(self) -> None:
        self._account.on_news = self._stirred.set
        self._writing = asyncio.create_task(self._write(), name=f"note {self._project}")

    async def __aexit__(self, *_: object) -> None:
        """Whatever ended the work; who cancels twice leaves the rest to the thread that writes."""
        self._over.set()
        self._stirred.set()
        await self._writing

    async def _write(self) -> None:
        while not self._over.is_set():
            await _within(self._stirred, self._account.due_in_s())
            self._stirred.clear()
            await _within(self._over, GATHERED_S)
            if not self._over.is_set():
                await self._note(self._account.news())
        await self._note(self._account.close())

    async def _note(self, decisions: list[Decision]) -> None:
        if decisions:
            decisions.sort(key=lambda one: one.time_s)
            await asyncio.to_thread(self._journal.note, self._project, decisions)


async def _within(event: asyncio.Event, limit_s: float | None) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return
