"""A stack as it is against its file and, where the engine can tell, against its kernel; and the way back.

    plan (the file × what the engine has)  ─┐
    KernelTruth (its records × its kernel) ─┴→ Drift, field by field ──► in place, restart, `up` without pulling ──► looked at again

What was stopped on purpose, and what came to a good end of its own, is as it should be.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from stackrun.api.drift import Drift, DriftOptions, DriftReport, KernelTruth, Repair
from stackrun.api.engine import Engine
from stackrun.api.stacks import Decision, Phase, PlannedAction, StackEvent, StackPlan, StackSource, Symbol, UpOptions
from stackrun.api.types import Container, EndedBy, Status
from stackrun.errors import StackrunError
from stackrun.stack.declared import Declared
from stackrun.stack.journal import Journal
from stackrun.stack.observed import Observed, is_one_off, observe, service_of

ROUNDS = 3
"""What is restarted takes along what shares its namespaces, which the next look finds."""
_BY = "drift"
FORCED = "forced"
"""The cause that a plan gives for what it replaces because it was told to, and for nothing else."""


@dataclass(frozen=True, slots=True)
class Means:
    """What of a stack's operations is needed here. `held`: the stack is nobody else's meanwhile, the keeper's neither."""

    plan: Callable[[StackSource, UpOptions], Awaitable[StackPlan]]
    up: Callable[[StackSource, UpOptions], Awaitable[AsyncIterator[StackEvent]]]
    declared: Callable[[str], Awaitable[Declared | None]]
    held: Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]
    journal: Journal


@dataclass(frozen=True, slots=True)
class _Look:
    project: str
    drifts: tuple[Drift, ...]
    observed: Observed
    kept: bool
    changed: frozenset[str] = frozenset()
    """Services that `up` would leave, though their containers were changed by way of the engine (`docker update`)."""


class DriftCheck:
    """`truth` None: the engine is somebody else's, and its kernel out of sight."""

    def __init__(self, engine: Engine, truth: KernelTruth | None, means: Means) -> None:
        self._engine = engine
        self._truth = truth
        self._means = means

    async def report(self, source: StackSource, options: DriftOptions) -> DriftReport:
        first = look = await self._look(source, options)
        failures: list[str] = []
        if options.repair:
            for _ in range(ROUNDS):
                if not any(one.repair is not Repair.NONE for one in look.drifts):
                    break
                failures = await self._repaired(source, options, look)
                look = await self._look(source, options)
            if not failures:
                await self._note(first, look)
        left = look.drifts
        kernel = self._truth is not None
        return DriftReport(first.project, first.drifts, left, repaired=options.repair, kernel=kernel, failures=tuple(failures))

    async def _look(self, source: StackSource, options: DriftOptions) -> _Look:
        asked = _up_options(options, options.services, remove_orphans=True, pull="")
        plan = await self._means.plan(source, asked)
        forced = await self._means.plan(source, replace(asked, force_recreate=True))
        observed = await observe(self._engine, plan.project)
        declared = await self._means.declared(plan.project)
        stopped = declared.stopped if declared else frozenset[str]()
        settled = {f"Container {one.name}" for one in observed.containers if service_of(one) in stopped or has_ended_well(one)}
        found = list(plan_drifts(plan, settled))
        known = {(one.resource, one.field) for one in found}
        changed = [one for one in forced_drifts(forced) if (one.resource, one.field) not in known]
        found += [*changed, *await self._of_kernel(plan, observed, options, known)]
        services = {f"Container {one.name}": service_of(one) for one in observed.containers}
        return _Look(
            plan.project,
            tuple(found),
            observed,
            declared.kept if declared else True,
            frozenset(services[one.resource] for one in changed if one.resource in services),
        )

    async def _of_kernel(
        self, plan: StackPlan, observed: Observed, options: DriftOptions, known: Collection[tuple[str, str]]
    ) -> list[Drift]:
        """Of what stays; an image that moved is told by the plan too, under what names it."""
        if self._truth is None:
            return []
        containers = _chosen(plan, observed, options.services)
        found = await self._truth.drift(tuple(one.id for one in containers), _networks(observed, containers, options.services))
        replaced = {one.resource for one in plan.actions if one.symbol is Symbol.REPLACE}
        return [one for one in found if (one.resource, one.field) not in known and not (one.field == "image" and one.resource in replaced)]

    # --- the way back ---

    async def _repaired(self, source: StackSource, options: DriftOptions, look: _Look) -> list[str]:
        """One round; what failed."""
        failures: list[str] = []

        async def in_the_kernel() -> None:
            if self._truth is not None:
                containers = _chosen(StackPlan(look.project), look.observed, options.services)
                await self._truth.repair(tuple(one.id for one in containers), _networks(look.observed, containers, options.services))
            for one in _to_restart(look):
                try:
                    await self._engine.restart_container(one.id, timeout_s=options.timeout_s)
                except StackrunError as error:
                    failures.append(f"restart {one.name}: {error.message}")

        await self._means.held(look.project, in_the_kernel)
        if any(one.repair in (Repair.START, Repair.RECREATE, Repair.REMOVE) for one in look.drifts):
            failures += await self._up(source, options, look)
        return failures

    async def _up(self, source: StackSource, options: DriftOptions, look: _Look) -> list[str]:
        failures: list[str] = []
        if look.changed:
            asked = _up_options(options, tuple(sorted(look.changed)), keep=look.kept)
            failures += await self._carried_out(source, replace(asked, force_recreate=True))
        services = _drifted_services(look)
        if services is not None:
            failures += await self._carried_out(source, _up_options(options, services or options.services, keep=look.kept))
        return failures

    async def _carried_out(self, source: StackSource, asked: UpOptions) -> list[str]:
        try:
            events = [event async for event in await self._means.up(source, asked)]
        except StackrunError as error:  # refused before anything was done
            return [error.message]
        last = events[-1] if events else None
        return last.detail.splitlines() if last is not None and last.phase is Phase.FAILED else []

    async def _note(self, first: _Look, last: _Look) -> None:
        """In the stack's journal; what `up` did is there already."""
        left = {(one.resource, one.field) for one in last.drifts}
        services = {f"Container {one.name}": service_of(one) for one in first.observed.containers}
        done = [
            Decision(time.time(), services.get(one.resource, ""), one.resource, _DID[one.repair], f"{one.field} was {one.actual}", by=_BY)
            for one in first.drifts
            if one.repair in _DID and (one.resource, one.field) not in left
        ]
        if done:
            await asyncio.to_thread(self._means.journal.note, first.project, done)


_DID = {Repair.IN_PLACE: "repaired", Repair.RESTART: "restarted"}


def _up_options(
    options: DriftOptions, services: tuple[str, ...], *, remove_orphans: bool = False, keep: bool = True, pull: str = "never"
) -> UpOptions:
    return UpOptions(
        services=services,
        no_deps=bool(services),
        remove_orphans=remove_orphans,
        pull=pull,
        timeout_s=options.timeout_s,
        keep=keep,
        by=_BY,
    )


def has_ended_well(container: Container) -> bool:
    """By itself, with nothing wrong, and nobody asked for it to run again."""
    state, policy = container.state, container.spec.restart_policy.name
    by_itself = state.status is Status.EXITED and state.ended_by is EndedBy.ITSELF and state.exit_code == 0
    return by_itself and policy in ("", "no", "on-failure")


# --- what a plan says ------------------------------------------------------------------------------


def plan_drifts(plan: StackPlan, settled: Collection[str] = ()) -> Iterator[Drift]:
    """What `up` would do, told as what is otherwise than the file. `settled`: containers that need not run."""
    for action in plan.actions:
        if not action.resource.startswith("Image "):
            yield from _action_drifts(action, action.resource in settled)


def _action_drifts(action: PlannedAction, settled: bool) -> Iterator[Drift]:
    resource, repair = action.resource, _repair_of(action)
    is_container = resource.startswith("Container ")
    match action.symbol:
        case Symbol.CREATE:
            yield Drift(resource, "state", "running" if is_container else "present", "missing", repair)
        case Symbol.REMOVE:
            yield Drift(resource, "state", "not in the file", "present", repair)
        case Symbol.CHANGE if settled and repair is Repair.START and not action.changes:
            return
        case _ if action.changes:
            for one in action.changes:
                yield Drift(resource, one.field, _shown(one.after), _shown(one.before), repair)
        case Symbol.REPLACE:
            yield Drift(resource, "configuration", "as in the file", action.cause or "another", repair)
        case _:
            yield Drift(resource, "state", "running" if is_container else "as in the file", action.cause or ", ".join(action.steps), repair)


def _shown(value: str | None) -> str:
    return "none" if value is None else value


def _repair_of(action: PlannedAction) -> Repair:
    match action.symbol:
        case Symbol.CREATE:
            return Repair.START
        case Symbol.REPLACE:
            return Repair.RECREATE
        case Symbol.REMOVE:
            return Repair.NONE if action.cause == "orphan" else Repair.REMOVE
    starts, stops = (any(step.startswith(word) for step in action.steps) for word in ("start", "stop"))
    return Repair.RECREATE if stops or not starts else Repair.START


def forced_drifts(plan: StackPlan) -> Iterator[Drift]:
    """Of a plan that would replace everything: what differs of containers that are otherwise up to date."""
    for action in plan.actions:
        if action.symbol is Symbol.REPLACE and action.cause == FORCED:
            for one in action.changes:
                yield Drift(action.resource, one.field, _shown(one.after), _shown(one.before), Repair.RECREATE)


# --- whose it is -------------------------------------------------------------------------------------


def _chosen(plan: StackPlan, observed: Observed, services: Collection[str]) -> tuple[Container, ...]:
    """The stack's containers that are looked at: none that is to go, and no one-off."""
    going = {one.resource for one in plan.actions if one.symbol is Symbol.REMOVE}
    return tuple(
        one
        for one in observed.containers
        if not is_one_off(one) and f"Container {one.name}" not in going and (not services or service_of(one) in services)
    )


def _networks(observed: Observed, containers: Iterable[Container], services: Collection[str]) -> tuple[str, ...]:
    """The stack's own, or with `services` those that their containers are on."""
    own = [] if services else [one.id for one in observed.own_networks()]
    joined = [endpoint.network_id for one in containers for endpoint in one.endpoints if endpoint.network_id]
    return tuple(dict.fromkeys([*own, *joined]))


def _to_restart(look: _Look) -> list[Container]:
    """Those whose namespaces others share come first; what `up` replaces anyhow is left to it."""
    wanted = {one.resource for one in look.drifts if one.repair is Repair.RESTART}
    wanted -= {one.resource for one in look.drifts if one.repair in (Repair.RECREATE, Repair.REMOVE)}
    found = [one for one in look.observed.containers if f"Container {one.name}" in wanted]
    return sorted(found, key=lambda one: one.spec.network_mode.startswith("container:"))


def _drifted_services(look: _Look) -> tuple[str, ...] | None:
    """Those that `up` is asked for, lest it start what was stopped on purpose; empty: all; None: there is nothing for it.

    Networks and volumes come with their services.
    """
    services = {f"Container {one.name}": service_of(one) for one in look.observed.containers}
    wanted = {one.resource for one in look.drifts if one.repair in (Repair.START, Repair.RECREATE, Repair.REMOVE)}
    containers = {one for one in wanted if one.startswith("Container ")}
    found = {services.get(one) or _service_in(one, look.project) for one in containers}
    if "" in found or (wanted and not containers):
        return ()
    return tuple(sorted(found - look.changed)) or None


def _service_in(resource: str, project: str) -> str:
    """Of a missing container with a name of Compose's making; empty for another."""
    made = re.fullmatch(rf"Container {re.escape(project)}-(.+)-\d+", resource)
    return made[1] if made else ""
