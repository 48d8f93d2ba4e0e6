"""Keeps stacks as they were declared, after `up` has returned: looks again whenever the engine says that something has happened.

An event only says "look again"; what is done follows from what is there.  A service that needs help again and again gets it after
growing pauses, a second at first and a minute at most.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass

from stackrun.api import labels
from stackrun.api.engine import Engine
from stackrun.api.stacks import Decision
from stackrun.api.types import Event
from stackrun.errors import StackrunError
from stackrun.stack.journal import Journal
from stackrun.stack.keep import STEADY_AFTER_S, pause_s
from stackrun.stack.keeping import Keeping

TOLD_FROM = 3
"""So many times in a row, and the journal says how long the next pause is."""
_ACTIONS = frozenset({"die", "start", "stop", "kill", "destroy", "unpause", "oom"})
_log = logging.getLogger("stackrun.keep")


@dataclass(slots=True)
class Patience:
    """With one service."""

    times: int = 0
    at_s: float = -math.inf

    @property
    def until_s(self) -> float:
        return self.at_s + pause_s(self.times) if self.times else -math.inf

    def spend(self, now_s: float) -> None:
        """It has been brought back once more."""
        self.times = self.times + 1 if now_s < self.until_s + STEADY_AFTER_S else 1
        self.at_s = now_s


class Keeper:
    """`run` in a task of its own. One task a kept stack; between events none of them runs."""

    def __init__(self, engine: Engine, keeping: Keeping, journal: Journal) -> None:
        self._engine = engine
        self._keeping = keeping
        self._journal = journal
        self._clock_s = keeping.clock_s
        self._stirred: dict[str, asyncio.Event] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled. A stream that ends (this listener was too slow) is begun anew: what was missed is seen by looking."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._keeping.on_declared = self.look
                while True:
                    events = await self._engine.events()
                    for project in await self._keeping.projects():
                        self.look(project)
                    async for event in events:
                        self._heard(event)
        finally:
            self._group = None
            await self._keeping.close()

    def look(self, project: str) -> None:
        """At this stack, soon."""
        if project in self._stirred:
            self._stirred[project].set()
        elif self._group is not None:
            self._stirred[project] = asyncio.Event()
            self._stirred[project].set()
            self._group.create_task(self._keep(project), name=f"keep {project}")

    def _heard(self, event: Event) -> None:
        if event.type == "container":
            project = event.attributes.get(labels.PROJECT, "")
            if project and (event.action in _ACTIONS or event.action.startswith("health_status")):
                self.look(project)
        elif event.action in ("destroy", "disconnect"):
            for project in list(self._stirred):
                self.look(project)

    async def _keep(self, project: str) -> None:
        """Ends when the stack is kept no more."""
        patience: dict[str, Patience] = {}
        stirred = self._stirred[project]
        due_s = math.inf
        while True:
            await self._woken(stirred, due_s)
            stirred.clear()
            try:
                done = await self._keeping.round(project, {name: one.until_s for name, one in patience.items()})
            except StackrunError as error:
                _log.warning("keep %s: %s", project, error)
                due_s = self._clock_s() + pause_s(7)
                continue
            if done is None and not stirred.is_set():
                del self._stirred[project]
                return
            for service in done.revived if done else ():
                patience.setdefault(service, Patience()).spend(self._clock_s())
                await self._tell(project, service, patience[service])
            due_s = min((one.until_s for one in patience.values() if one.until_s > self._clock_s()), default=math.inf)

    async def _woken(self, stirred: asyncio.Event, due_s: float) -> None:
        left_s = None if due_s == math.inf else max(0.0, due_s - self._clock_s())
        try:
            async with asyncio.timeout(left_s):
                await stirred.wait()
        except TimeoutError:
            pass

    async def _tell(self, project: str, service: str, patience: Patience) -> None:
        if patience.times >= TOLD_FROM:
            cause = f"brought back {patience.times} times in a row: the next time after {pause_s(patience.times):g} s"
            decision = Decision(time.time(), service, f"Service {service}", "rests", cause, by="keep")
            await asyncio.to_thread(self._journal.note, project, (decision,))
