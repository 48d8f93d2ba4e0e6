"""Why a service is as it is: what the journal tells of it, beside what the engine knows of its containers now.

Labels are enough: no stack file is read, so it works for a stack whose file is broken or gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from stackrun.api.engine import Engine
from stackrun.api.stacks import Decision, Keep, Reasons, Standing
from stackrun.api.types import Container, HealthStatus, RestartPolicy, Status
from stackrun.api.wire.times import epoch_ns
from stackrun.errors import NotFound
from stackrun.stack.journal import Journal
from stackrun.stack.observed import needs_of, number_of, observe_containers, service_of
from stackrun.stack.plan import CONDITION_WORDS, Condition
from stackrun.stack.reconcile import meets
from stackrun.stack.witness import EVERYTHING_S, HEARD, OUTSIDE, Sightings, probe_words, told

ABOUT_S = 15.0
"""An operation's note comes when the resource is done with: after its container was given time to stop."""
UNWITNESSED = (
    "nobody of ours watches this engine: here is what this machine's command line did, and what the engine remembers of its last events"
)


async def reasons(
    engine: Engine, journal: Journal, project: str, service: str, limit: int, *, kept: Keep | None = None, witnessed: bool
) -> Reasons:
    """`kept`: how the keeper sees the stack, if it does; `witnessed`: whether a witness fills the journal, so that the engine's own
    memory has nothing to add.
    """
    containers = await observe_containers(engine, project)
    mine = [one for one in containers if service_of(one) == service]
    full = await asyncio.gather(*(engine.container(one.id) for one in mine))
    decisions = await asyncio.to_thread(journal.read, project, service, limit)
    if not witnessed:
        decisions = _merged(decisions, await _remembered(engine, project, service), limit)
    standing = tuple(_standing(one, containers) for one in sorted(full, key=number_of))
    waits = _kept(kept, service, told=any(one.waits for one in standing))
    if not (mine or decisions or waits):
        known = ", ".join(sorted({service_of(one) for one in containers} - {""}))
        hint = f"the services of stack {project} are {known}" if known else f"no container of stack {project} is here; see `stackrun ls -a`"
        raise NotFound(f"no such service: {service}", hint=hint)
    return Reasons(project, service, standing, decisions, waits, () if witnessed else (UNWITNESSED,))


def _kept(keep: Keep | None, service: str, *, told: bool) -> tuple[str, ...]:
    """What the keeper waits for before it brings this service back. `told`: its containers say already what they wait for."""
    if keep is None:
        return ()
    found = [keep.waiting[service]] if service in keep.waiting and not told else []
    found += [f"{max(keep.resting[service], 0.0):.0f} s to pass, since it fell again and again"] if service in keep.resting else []
    found += ["`start` or `up`, since it was stopped on purpose"] if service in keep.stopped else []
    found += ["the next `up`, since the last one could not bring it to its state"] if service in keep.held else []
    found += ["somebody to act, since nobody keeps this stack"] if found and not keep.kept else []
    return tuple(found)


async def _remembered(engine: Engine, project: str, service: str) -> list[Decision]:
    """What the engine's last events tell by themselves; no container is asked, since it may be another by now."""
    sightings = Sightings(lambda _: False)
    found: list[Decision] = []
    async for event in await engine.events(since_s=EVERYTHING_S, until_s=time.time(), filters=HEARD):
        seen = sightings.seen(event)
        decision = told(seen) if seen is not None and (seen.project, seen.service) == (project, service) else None
        found += [decision] if decision else []
    return found


def _merged(noted: Sequence[Decision], remembered: Iterable[Decision], limit: int) -> tuple[Decision, ...]:
    """An engine does not say who asked it for something: what was noted about the time is our own deed, told once."""
    others = (one for one in remembered if one.by != OUTSIDE or not any(_same_deed(one, mine) for mine in noted))
    return tuple(sorted([*noted, *others], key=lambda one: one.time_s)[-limit:] if limit else ())


def _same_deed(remembered: Decision, noted: Decision) -> bool:
    return remembered.resource == noted.resource and abs(remembered.time_s - noted.time_s) < ABOUT_S


def _standing(container: Container, everyone: Sequence[Container]) -> Standing:
    state = container.state
    health = state.health if state.health is not None and state.health.status is not HealthStatus.NONE else None
    failed = health.log[-1] if health is not None and health.log and health.log[-1].exit_code else None
    return Standing(
        name=container.name,
        id=container.id,
        status=str(state.status),
        since_s=_since_s(container),
        exit_code=state.exit_code,
        oom_killed=state.oom_killed,
        error=state.error,
        restart_policy=_policy(container.spec.restart_policy),
        restart_count=container.restart_count,
        health=str(health.status) if health is not None and state.status is Status.RUNNING else "",
        probe=probe_words(failed.exit_code, failed.output) if failed is not None else "",
        waits=waits(container, everyone),
    )


def _since_s(container: Container) -> float:
    state = container.state
    return epoch_ns(state.started_at if state.status in (Status.RUNNING, Status.PAUSED) else state.finished_at) / 1e9


def _policy(policy: RestartPolicy) -> str:
    if policy.name in ("", "no"):
        return ""
    return f"{policy.name}:{policy.maximum_retries}" if policy.maximum_retries else str(policy.name)


def waits(container: Container, everyone: Sequence[Container]) -> tuple[str, ...]:
    """What a container that was never started waits for, from the dependencies in its labels; empty for any other."""
    if container.state.status is Status.RESTARTING:
        return ("its restart by policy",)
    if container.state.status is not Status.CREATED or container.state.error:
        return ()
    found = []
    for service, condition, _ in needs_of(container):
        replicas = [one for one in everyone if service_of(one) == service]
        wanted = Condition(condition) if condition in set(Condition) else Condition.STARTED
        missing = [one for one in replicas if not meets(one, wanted)]
        if missing or not replicas:
            found.append(f"{service} {_wanted(wanted)} ({_instead(missing)})")
    return tuple(found)


def _wanted(condition: Condition) -> str:
    return "to complete" if condition is Condition.COMPLETED else f"to be {CONDITION_WORDS[condition]}"


def _instead(containers: Sequence[Container]) -> str:
    if not containers:
        return "it has no container"
    state = containers[0].state
    health = state.health.status if state.health is not None and state.status is Status.RUNNING else HealthStatus.NONE
    if state.status is Status.EXITED:
        return f"it exited ({state.exit_code})"
    return f"it is {state.status}" + (f" and its health is {health}" if health is not HealthStatus.NONE else "")
