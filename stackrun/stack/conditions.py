"""Waiting for `service_healthy`, `service_completed_successfully` and `--wait`.

Level, not edge: an event only says "look again".  All waits of one operation share one subscription and one look:
a burst of events costs one list call, and nothing is asked while nothing happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace

from stackrun.api import labels
from stackrun.api.engine import Engine
from stackrun.api.types import Container, Event, Filters, HealthStatus, LogLine, LogQuery, Status
from stackrun.errors import DeadlineExceeded, ExecuteFailed, StackrunError, Unavailable
from stackrun.stack.observed import has_healthcheck, healthy, observe_containers
from stackrun.stack.plan import CONDITION_WORDS, Condition, Monitor, WaitFor
from stackrun.units import format_duration

LOG_LINES_MAX = 10
_CHANGES = ("start", "die", "destroy", "rename", "health_status")
"""The events (up to a colon) after which a condition may have changed."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a container stands to a condition: met, or it never will be (`failure`), or neither yet."""

    met: bool = False
    failure: str = ""


def outlook(container: Container, condition: Condition) -> Outlook:
    """`failure` in Docker Compose's words."""
    state = container.state
    over = state.status in (Status.EXITED, Status.DEAD)
    if condition is Condition.COMPLETED:
        failed = over and state.exit_code != 0
        return Outlook(over and not failed, f"container {container.name} did not complete: exited ({state.exit_code})" if failed else "")
    if over:
        return Outlook(failure=f"container {container.name} exited ({state.exit_code})")
    if condition is Condition.STARTED:
        return Outlook(met=state.running)
    return _health_outlook(container, condition)


def _health_outlook(container: Container, condition: Condition) -> Outlook:
    running = container.state.status is Status.RUNNING
    if has_healthcheck(container):
        assert container.state.health is not None
        unhealthy = running and container.state.health.status is HealthStatus.UNHEALTHY
        return Outlook(running and healthy(container), f"container {container.name} is unhealthy" if unhealthy else "")
    if condition is Condition.HEALTHY:
        return Outlook(failure=f"container {container.name} has no healthcheck configured" if running else "")
    return Outlook(met=running)


@dataclass(eq=False, slots=True)
class _Waiter:
    names: tuple[str, ...]
    condition: Condition
    prefix: str
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    seen: set[str] = field(default_factory=set)
    monitored: bool = False
    """A container that has ended is lost, whatever its restart policy does about it."""
    lasting: bool = False
    """The condition is met already: it can only be lost."""


class Conditions:
    """The waits of one operation on one project. Use as an async context; leaving it ends the subscription."""

    def __init__(self, engine: Engine, project: str) -> None:
        self._engine = engine
        self._project = project
        self._began_s = asyncio.get_running_loop().time()
        self._waiters: list[_Waiter] = []
        self._look_again = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = asyncio.Event()
        self._error: StackrunError | None = None
        """Why nobody looks any more."""
        self._ended: dict[str, str] = {}
        """Container name → in which words it was seen to end."""

    async def __aenter__(self) -> Conditions:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait(self, action: WaitFor) -> None:
        """Returns when the condition is met. Raises ExecuteFailed when it cannot be met any more, DeadlineExceeded."""
        waiter = _Waiter(action.names, action.condition, "" if action.cause else "dependency failed to start: ")
        try:
            await self._until(waiter, self._deadline_s(action.timeout_s))
        except TimeoutError:
            words = CONDITION_WORDS[action.condition]
            message = f"{action.service} is not {words} after {format_duration(action.timeout_s or 0)}"
            raise DeadlineExceeded("\n".join([message, *await self._last_words(action)])) from None

    async def listen(self) -> None:
        """Returns once no end of a container is missed any more: for `monitor`, before anything is started."""
        self._begin()
        await self._listening.wait()

    async def monitor(self, action: Monitor, prefix: str) -> None:
        """Returns when the container has become ready and has stayed so. Raises as `wait` does, with `prefix` before the words.

        One that is gone back to (`cause`) was stopped by the plan itself: its end counts for nothing.
        """
        waiter = _Waiter((action.watched,), Condition.READY, prefix, monitored=not action.cause)
        try:
            await self._until(waiter, self._deadline_s(action.timeout_s))
        except TimeoutError:
            raise DeadlineExceeded(
                f"{prefix}container {action.watched} is not ready after {format_duration(action.timeout_s or 0)}"
            ) from None
        if action.monitor_s:
            lasting = replace(waiter, lasting=True, done=asyncio.get_running_loop().create_future())
            try:
                await self._until(lasting, asyncio.get_running_loop().time() + action.monitor_s)
            except TimeoutError:
                return  # nothing has happened

    def _deadline_s(self, timeout_s: float | None) -> float | None:
        return None if timeout_s is None else self._began_s + timeout_s

    async def _until(self, waiter: _Waiter, deadline_s: float | None) -> None:
        if self._error:
            raise self._error
        self._waiters.append(waiter)
        self._look_again.set()
        self._begin()
        try:
            async with asyncio.timeout_at(deadline_s):
                await waiter.done
        finally:
            self._waiters.remove(waiter)

    def _begin(self) -> None:
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._watch()))

    async def _watch(self) -> None:
        """Subscribed first, then looked: nothing that happens between the two is missed."""
        try:
            events = await self._engine.events(filters=Filters({"type": ("container",), "label": (f"{labels.PROJECT}={self._project}",)}))
            self._tasks.append(asyncio.create_task(self._listen(events)))
            self._listening.set()
            while True:
                await self._look_again.wait()
                self._look_again.clear()
                await self._look()
        except StackrunError as error:
            self._listening.set()
            self._fail_all(error)

    async def _listen(self, events: AsyncIterator[Event]) -> None:
        try:
            async for event in events:
                if event.action.partition(":")[0] in _CHANGES:
                    self._note(event)
                    self._look_again.set()
            self._fail_all(Unavailable("the engine ended its event stream"))
        except StackrunError as error:
            self._fail_all(error)

    def _note(self, event: Event) -> None:
        """An end that its restart policy has made up for by the time somebody looks."""
        name = event.attributes.get("name", "")
        if event.action == "die":
            self._ended[name] = f"container {name} exited ({event.attributes.get('exitCode', '')})"

    def _fail_all(self, error: StackrunError) -> None:
        self._error = error
        for waiter in self._waiters:
            if not waiter.done.done():
                waiter.done.set_exception(error)

    async def _look(self) -> None:
        if not self._waiters:
            return
        found = {one.name: one for one in await observe_containers(self._engine, self._project)}
        for waiter in self._waiters:
            if not waiter.done.done():
                await self._judge(waiter, found)

    async def _judge(self, waiter: _Waiter, found: dict[str, Container]) -> None:
        present = [found[name] for name in waiter.names if name in found]
        outlooks = [outlook(one, waiter.condition) for one in present]
        ends = [self._ended.get(one.name, "") if waiter.monitored else "" for one in present]
        found_out = zip(present, [end or look.failure for end, look in zip(ends, outlooks, strict=True)], strict=True)
        failed = next(((one, words) for one, words in found_out if words), None)
        gone = [name for name in waiter.seen if name not in found]
        waiter.seen.update(one.name for one in present)
        if failed:
            waiter.done.set_exception(await self._failure(failed[0], waiter.prefix + failed[1]))
        elif gone:
            waiter.done.set_exception(ExecuteFailed(f"{waiter.prefix}container {gone[0]} was removed"))
        elif not waiter.lasting and len(present) == len(waiter.names) and all(look.met for look in outlooks):
            waiter.done.set_result(None)

    async def _failure(self, container: Container, message: str) -> ExecuteFailed:
        return ExecuteFailed("\n".join([message, *await self._said(container)]))

    async def _last_words(self, action: WaitFor) -> list[str]:
        """Of those that kept it waiting."""
        try:
            found = {one.name: one for one in await observe_containers(self._engine, self._project)}
        except StackrunError:
            return []
        late = [found[name] for name in action.names if name in found and not outlook(found[name], action.condition).met]
        return [line for one in late for line in ([f"  {one.name}:"] if len(late) > 1 else []) + await self._said(one)]

    async def _said(self, container: Container) -> list[str]:
        """What its health probe and its log said last, since that is where the reason is."""
        try:
            lines = [*await self._last_probe(container), *await last_log_lines(self._engine, container.id)]
        except StackrunError as error:
            lines = [f"(its log cannot be read: {error})"]
        return [f"  {line}" for line in lines]

    async def _last_probe(self, container: Container) -> Iterable[str]:
        if not has_healthcheck(container):
            return ()
        health = (await self._engine.container(container.id)).state.health
        probes = health.log[-1:] if health else ()
        return [": ".join(filter(None, (f"health probe exited ({one.exit_code})", " ".join(one.output.split())))) for one in probes]


async def last_log_lines(engine: Engine, container: str) -> list[str]:
    lines: list[LogLine] = [one async for one in await engine.container_logs(container, LogQuery(tail=LOG_LINES_MAX))]
    return [one.data.decode(errors="replace").rstrip("\r\n") for one in lines]
