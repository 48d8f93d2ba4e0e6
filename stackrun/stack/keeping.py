"""What is to be kept of each stack, and the rounds in which that is done.

A round decides under the stack's lock, as every operation does; what it begins goes on without.  Whoever takes the lock to work on
the stack ends all that at once: the next round finds what became of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from stackrun.api.engine import Engine
from stackrun.api.stacks import Keep, StackEvent
from stackrun.errors import NotFound
from stackrun.stack.declared import Declarations, Declared
from stackrun.stack.execute import Emit, Outcome
from stackrun.stack.keep import Round, decide_round, touched
from stackrun.stack.observed import Observed, observe, with_private_files, with_stop_signals
from stackrun.stack.plan import Plan

_log = logging.getLogger("stackrun.keep")
CarryOut = Callable[[Plan, Observed, Emit, str], Awaitable[Outcome]]


class Locks:
    """One a stack: its operations come one after another."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    def of(self, project: str) -> asyncio.Lock:
        return self._locks.setdefault(project, asyncio.Lock())


@dataclass(frozen=True, slots=True)
class _Told:
    """What the last round knew. `until_s`: services that rest → until when, by the clock of `Keeping`."""

    until_s: Mapping[str, float] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)


class Keeping:
    """`state_dir` None: nothing is kept, and nothing written down; a foreign engine's stacks are nobody's to keep."""

    def __init__(self, engine: Engine, locks: Locks, carry_out: CarryOut, state_dir: str | None) -> None:
        self._engine = engine
        self._locks = locks
        self._carry_out = carry_out
        self._declarations = None if state_dir is None else Declarations(state_dir)
        self._under_way: dict[str, dict[asyncio.Task[None], frozenset[str]]] = {}
        """What rounds have begun, and the services it is about."""
        self._told: dict[str, _Told] = {}
        self.clock_s: Callable[[], float] = time.monotonic
        self.on_declared: Callable[[str], None] = lambda project: None
        """Told of every stack that has been declared anew, or for which something a round began has ended."""

        self.on_switched: Callable[[], None] = lambda: None
        """Told when a stack has been given back to the keeper, or taken from it."""

    async def declared(self, project: str) -> Declared | None:
        return await asyncio.to_thread(self._declarations.read, project) if self._declarations else None

    async def declare(self, declared: Declared) -> None:
        if self._declarations:
            await asyncio.to_thread(self._declarations.write, declared)
            self.on_declared(declared.project)

    async def redeclare(self, project: str, change: Callable[[Declared], Declared | None]) -> None:
        """`change` gives None: it is declared no more."""
        before = await self.declared(project)
        after = change(before) if before else None
        if after is not None:
            await self.declare(after)
        elif before is not None and self._declarations:
            await asyncio.to_thread(self._declarations.forget, project)

    async def projects(self) -> tuple[str, ...]:
        """Those that are kept."""
        return await asyncio.to_thread(self._kept) if self._declarations else ()

    def _kept(self) -> tuple[str, ...]:
        assert self._declarations
        read = ((project, self._declarations.read(project)) for project in self._declarations.projects())
        return tuple(project for project, declared in read if declared and declared.kept)

    def is_at_work(self, project: str) -> bool:
        return bool(self._under_way.get(project))

    async def status(self, project: str) -> Keep:
        """NotFound when no `up` has declared this stack."""
        declared = await self.declared(project)
        if declared is None:
            raise NotFound(f"stack {project} is not up", hint="`stackrun up` declares what is to be kept")
        told = self._told.get(project, _Told())
        left, now_s = declared.stopped | declared.held, self.clock_s()
        return Keep(
            project,
            kept=declared.kept,
            stopped=tuple(sorted(declared.stopped)),
            held=tuple(sorted(declared.held)),
            resting={name: one - now_s for name, one in sorted(told.until_s.items()) if name not in left and one > now_s},
            waiting={name: one for name, one in sorted(told.waiting.items()) if name not in left},
        )

    async def switch(self, project: str, *, kept: bool) -> None:
        """Off: nobody brings this stack back until it is switched on, or `up`."""
        async with self._locks.of(project):
            await self.give_way(project)
            await self.redeclare(project, lambda declared: replace(declared, kept=kept))
        self.on_switched()

    def is_left_alone(self, project: str) -> bool:
        """It is up, and not kept."""
        declared = self._declarations.read(project) if self._declarations and project else None
        return declared is not None and not declared.kept

    async def give_way(self, project: str) -> None:
        """Ends what rounds have begun; under the stack's lock, so that none begins more."""
        tasks = list(self._under_way.get(project, ()))
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        for project in list(self._under_way):
            async with self._locks.of(project):
                await self.give_way(project)

    async def round(self, project: str, until_s: Mapping[str, float]) -> Round | None:
        """Begins to bring back what was lost and can come back now; None when this stack is not kept.

        `until_s`: service → until when, by `clock_s`, it is left alone.
        """
        async with self._locks.of(project):
            declared = await self.declared(project)
            if declared is None or not declared.kept:
                self._told.pop(project, None)
                return None
            wanted = declared.desired
            observed = await observe(self._engine, project, [one.image for one in wanted.services.values()])
            observed = await with_stop_signals(observed, self._engine, wanted)
            observed = await asyncio.to_thread(with_private_files, observed, wanted)
            busy = frozenset().union(*self._under_way.get(project, {}).values())
            resting = frozenset(name for name, end_s in until_s.items() if end_s > self.clock_s())
            found = decide_round(declared, observed, resting, busy)
            self._told[project] = _Told({name: until_s[name] for name in found.resting}, found.waiting)
            for plan in found.plans:
                self._begin(project, plan, observed)
            return found

    def _begin(self, project: str, plan: Plan, observed: Observed) -> None:
        async def work() -> None:
            await self._carry_out(plan, observed, _unheard, "keep")

        def over(task: asyncio.Task[None]) -> None:
            under_way.pop(task)
            if not task.cancelled() and (error := task.exception()):
                _log.error("keep %s", project, exc_info=error)
            self.on_declared(project)

        under_way = self._under_way.setdefault(project, {})
        task = asyncio.create_task(work(), name=f"keep {project}")
        under_way[task] = touched(plan.nodes, observed)
        task.add_done_callback(over)


def _unheard(event: StackEvent) -> None:
    """The journal is where the keeper tells what it does."""
