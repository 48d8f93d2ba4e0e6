"""What happens to the containers of stacks without our doing: deaths, restarts by policy, health, what others ask of the engine.

It only listens and writes down; whoever keeps a stack decides by itself.  `Sightings` reads events and `told` makes decisions of
them, both pure; `Witness` is the task between an engine and a journal.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from stackrun.api import labels
from stackrun.api.engine import Engine
from stackrun.api.stacks import Decision
from stackrun.api.types import Container, EndedBy, Event, Filters, LogQuery, Status
from stackrun.api.wire.times import epoch_ns
from stackrun.errors import StackrunError
from stackrun.stack.journal import Journal
from stackrun.units import format_duration

HEARD = Filters({
    "type": ("container",),
    "label": (labels.PROJECT,),
    "event": ("create", "start", "kill", "die", "oom", "health_status", "pause", "unpause", "destroy", "repair"),
})  # fmt: skip
ITSELF, POLICY, OUTSIDE, KEEP = "itself", "policy", "outside", "keep"
EVERYTHING_S = 1e-9
"""`since_s` that leaves nothing out: a new daemon learns of ends that it slept through before anybody listens."""
ASKED_WITHIN_S = 600.0
"""A process that outlives a request to end for longer has ended by itself."""
SURVIVED_S = 1.0
"""A container that runs on after this time has survived that the kernel killed a process of it."""
LINES_LOOKED_AT = 20
LINE_CHARS_MAX = 300
_SIGNALS_REMEMBERED = 4096
_KILLED = 128 + signal.SIGKILL
_KNOWN = {one.value: one.name for one in signal.Signals}
_ENDING = frozenset({signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGQUIT})
_DEEDS = {
    "create": ("created", "somebody made it over the engine's API"),
    "start": ("started", "somebody started it over the engine's API"),
    "pause": ("paused", "somebody paused it over the engine's API"),
    "unpause": ("resumed", "somebody resumed it over the engine's API"),
    "destroy": ("removed", "somebody removed it over the engine's API"),
}

_log = logging.getLogger("stackrun.stack")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One event of a container that belongs to a stack. `signal`: the one sent, or for a death the first one that asked for it."""

    action: str
    time_s: float
    project: str
    service: str
    id: str
    name: str
    code: int = 0
    ran_s: int = 0
    signal: int = 0
    healthy: bool = False
    oom: bool = False
    repaired: str = ""
    """What the engine put right in the kernel: `interface.eth0.address was missing`."""


class Sightings:
    """Reads events in their order. `ours`: whether an operation on that project is under way, which tells its own deeds."""

    def __init__(self, ours: Callable[[str], bool]) -> None:
        self._ours = ours
        self._signals: dict[str, tuple[int, bool, int]] = {}
        """Container → the signal that asked it to end, whether we sent it, and when the last one came."""
        self._short_of_memory: set[str] = set()

    def seen(self, event: Event) -> Sighting | None:
        """None: it is of no stack, or is told elsewhere."""
        attributes = event.attributes
        project = attributes.get(labels.PROJECT, "")
        if not project or attributes.get(labels.ONEOFF, "").lower() == "true":
            return None
        action, _, rest = event.action.partition(": ")
        number, ours = self._signalled(action, event, project)
        oom = event.id in self._short_of_memory
        if action == "oom":
            self._short_of_memory.add(event.id)
        elif action in ("die", "destroy"):
            self._short_of_memory.discard(event.id)
        if ours and action not in ("oom", "health_status"):
            return None
        return Sighting(
            action=action,
            time_s=event.time_ns / 1e9,
            project=project,
            service=attributes.get(labels.SERVICE, ""),
            id=event.id,
            name=attributes.get("name", ""),
            code=_number(attributes.get("exitCode", "")),
            ran_s=_number(attributes.get("execDuration", "")),
            signal=number,
            healthy=rest == "healthy",
            oom=oom,
            repaired=f"{attributes.get('field', '')} was {attributes.get('was', '')}" if action == "repair" else "",
        )

    def _signalled(self, action: str, event: Event, project: str) -> tuple[int, bool]:
        """(the signal that belongs to it, whether it is our own doing)."""
        ours = self._ours(project)
        if action == "kill":
            number = _number(event.attributes.get("signal", ""))
            if number in _ENDING:
                first, by_us, _ = self._signals.get(event.id, (number, ours, 0))
                self._signals[event.id] = (first, by_us, event.time_ns)
                while len(self._signals) > _SIGNALS_REMEMBERED:
                    del self._signals[next(iter(self._signals))]
            return number, ours
        if action == "die":
            number, by_us, at_ns = self._signals.pop(event.id, (0, False, 0))
            return (number, by_us) if event.time_ns - at_ns < ASKED_WITHIN_S * 1e9 else (0, False)
        if action in ("start", "destroy"):
            self._signals.pop(event.id, None)
        return 0, ours


def told(seen: Sighting, container: Container | None = None, last_line: str = "") -> Decision | None:
    """`container` as it is now, None when it is gone or nobody looked; None when it is not worth a word."""
    match seen.action:
        case "die":
            by, did, cause, detail = _death(seen, container, last_line)
        case "health_status":
            by, did, cause, detail = _health(seen, container)
        case "oom":
            by, did, cause, detail = ITSELF, "ran out of memory", f"the kernel killed a process of it{_limit(container)}", ""
        case "kill" if seen.signal not in _ENDING:
            by, did, cause, detail = OUTSIDE, "signalled", f"somebody sent it {signal_name(seen.signal)} over the engine's API", ""
        case "start" if container is not None and container.restart_count:
            return None  # by its policy: its death has told so
        case "repair":
            by, did, cause, detail = KEEP, "repaired", seen.repaired, ""
        case action if action in _DEEDS:
            (did, cause), by, detail = _DEEDS[action], OUTSIDE, ""
        case _:
            return None
    return Decision(seen.time_s, seen.service, f"Container {seen.name}", did, cause, detail, by)


def _death(seen: Sighting, container: Container | None, last_line: str) -> tuple[str, str, str, str]:
    detail = f"ran {format_duration(seen.ran_s)}" if seen.ran_s else "ran less than a second"
    detail += f"; last log: {last_line}" if last_line else ""
    if seen.signal:
        did = "killed" if seen.signal == signal.SIGKILL else "stopped"
        return OUTSIDE, did, f"somebody sent it {signal_name(seen.signal)} over the engine's API", f"exited ({seen.code}); {detail}"
    cause = exit_words(seen.code)
    if (seen.oom and seen.code == _KILLED) or (container is not None and container.state.oom_killed):
        cause = f"out of memory{_limit(container)}"
    elif container is not None and container.state.ended_by is EndedBy.LOST:
        cause = "nobody saw its end: its shim was killed, or the machine went down"
    if container is None:
        return ITSELF, "died" if seen.code else "ended", cause, detail
    if container.state.status is Status.RESTARTING or (container.state.status is Status.RUNNING and container.restart_count):
        return POLICY, "restarted", cause, detail
    policy = container.spec.restart_policy
    if policy.name == "on-failure" and seen.code and policy.maximum_retries and container.restart_count >= policy.maximum_retries:
        return POLICY, "gave up", f"{cause} after {container.restart_count} restarts, which is all its policy allows", detail
    return ITSELF, "died" if seen.code else "ended", cause, detail


def _health(seen: Sighting, container: Container | None) -> tuple[str, str, str, str]:
    if seen.healthy:
        return ITSELF, "became healthy", "its probe succeeds", ""
    health = container.state.health if container is not None else None
    if health is None or not health.log:
        return ITSELF, "became unhealthy", "its probes fail", ""
    probe = health.log[-1]
    count = f"{health.failing_streak} probes" if health.failing_streak != 1 else "1 probe"
    return ITSELF, "became unhealthy", f"{count} failed", probe_words(probe.exit_code, probe.output)


def probe_words(code: int, output: str) -> str:
    """`exit code 1: connection refused`."""
    line = next((one.strip() for one in reversed(output.splitlines()) if one.strip()), "")
    return f"{'it took too long' if code < 0 else f'exit code {code}'}{f': {line[:LINE_CHARS_MAX]}' if line else ''}"


def exit_words(code: int) -> str:
    """`exited (137), as SIGKILL ends it`."""
    return f"exited ({code}), as {_KNOWN[code - 128]} ends it" if code - 128 in _KNOWN else f"exited ({code})"


def signal_name(number: int) -> str:
    return _KNOWN.get(number, f"signal {number}")


def _limit(container: Container | None) -> str:
    limit = container.spec.resources.memory_bytes if container is not None else 0
    return f" (its limit is {limit / (1 << 20):g} MiB)" if limit else ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0


class Witness:
    """`ours`: whether an operation of ours on a project is under way."""

    def __init__(self, engine: Engine, journal: Journal, ours: Callable[[str], bool]) -> None:
        self._engine = engine
        self._journal = journal
        self._ours = ours

    async def watch(self, since_s: float = EVERYTHING_S) -> None:
        """Until the engine closes, or it is cancelled. The engine's events are read at once, whatever the disk is doing."""
        events = await self._engine.events(since_s=since_s, filters=HEARD)
        seen: asyncio.Queue[Sighting | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(events, seen))
            group.create_task(self._write(seen))

    async def _listen(self, events: AsyncGenerator[Event, None], seen: asyncio.Queue[Sighting | None]) -> None:
        sightings = Sightings(self._ours)
        try:
            async with aclosing(events):
                async for event in events:
                    sighting = sightings.seen(event)
                    if sighting is None:
                        continue
                    if sighting.action == "oom":
                        # Only worth a word where the container survives it, which is known in a moment.
                        asyncio.get_running_loop().call_later(SURVIVED_S, seen.put_nowait, sighting)
                    else:
                        seen.put_nowait(sighting)
        except StackrunError as error:
            _log.warning("what happens to containers is no longer noted: %s", error)
        finally:
            seen.put_nowait(None)

    async def _write(self, seen: asyncio.Queue[Sighting | None]) -> None:
        """All that is there at a time in one go for each project."""
        going_on = True
        while going_on:
            batch = [await seen.get()]
            while not seen.empty():
                batch.append(seen.get_nowait())
            going_on = None not in batch
            found: dict[str, list[Decision]] = {}
            for one in batch:
                decision = await self._decision(one) if one is not None else None
                if one is not None and decision is not None:
                    found.setdefault(one.project, []).append(decision)
            for project, decisions in found.items():
                await asyncio.to_thread(self._journal.note, project, decisions)

    async def _decision(self, seen: Sighting) -> Decision | None:
        try:
            container = await self._engine.container(seen.id)
            line = await last_line(self._engine, seen.id, seen.time_s) if seen.action == "die" else ""
        except StackrunError:
            return told(seen)  # it is gone meanwhile
        if seen.action == "oom" and (
            container.state.status is not Status.RUNNING or epoch_ns(container.state.started_at) / 1e9 > seen.time_s
        ):
            return None  # its death tells so
        return told(seen, container, line)


async def last_line(engine: Engine, id: str, until_s: float = 0.0) -> str:
    """What a container printed last, bounded; empty when it printed nothing or its log cannot be read."""
    found = ""
    try:
        lines = await engine.container_logs(id, LogQuery(tail=LINES_LOOKED_AT, until_s=until_s))
        async for line in lines:
            found = line.data.decode(errors="replace").strip() or found
    except StackrunError:
        return ""
    return found[:LINE_CHARS_MAX]
