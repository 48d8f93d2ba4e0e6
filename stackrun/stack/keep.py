"""What a kept stack needs now: Declared × Observed → Round.  Pure.

A round begins what can be done at once and waits for nothing: a service is started once all that it waits for is there, and whatever
a round changes is looked at by the next.  So the order of the graph comes about by itself, and nobody waits for somebody else's ten
seconds to stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stackrun.api.types import Status
from stackrun.stack.declared import Declared
from stackrun.stack.desired import Dependency, DesiredService
from stackrun.stack.observed import Observed, service_of
from stackrun.stack.plan import CONDITION_WORDS, Condition, CreateContainer, Draft, Node, Plan, StartContainer, StopContainer, WaitFor
from stackrun.stack.reconcile import decide, meets
from stackrun.stack.verdict import Policy, kept_start_cause

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_AFTER_S = 10.0
"""A service that has needed nothing for so long is given no pause the next time; the engine's own measure for its restart policies."""


@dataclass(frozen=True, slots=True)
class Round:
    plans: tuple[Plan, ...] = ()
    """They have nothing to do with each other."""
    revived: frozenset[str] = frozenset()
    """Services that are brought back."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Services that should run and cannot yet → what for: `db to be healthy`."""
    resting: frozenset[str] = frozenset()
    """Services that should run, could, and rest."""


def decide_round(
    declared: Declared, observed: Observed, resting: frozenset[str] = frozenset(), busy: frozenset[str] = frozenset()
) -> Round:
    """`resting`: services that were brought back a short while ago and fell again; `busy`: those that an earlier round works on.

    Raises NotFound for an external network or volume.
    """
    left = declared.stopped | declared.held | busy | observed.leaving
    wanted = [one for one in declared.desired.services.values() if one.name not in left and one.replicas]
    blocked = {one.name: need for one in wanted if (need := _blocked(one, declared, observed))}
    holds = _holds(wanted, observed, blocked)
    free = tuple(one.name for one in wanted if one.name not in blocked and one.name not in resting)
    revival = decide(declared.desired, observed, Policy(services=free, no_deps=True, keep=True)) if free else Plan()
    held = touched(holds.nodes, observed)
    services = declared.desired.services
    down = {name: need for name, need in blocked.items() if name in held or not _is_started(services[name], observed)}
    waiting = {name: f"{need.service} to be {CONDITION_WORDS[need.condition]}" for name, need in down.items()}
    rest = frozenset(one.name for one in wanted if one.name in resting and one.name not in blocked and not _is_started(one, observed))
    return Round((*components(holds), *components(revival)), touched(revival.nodes, observed), waiting, rest)


def components(plan: Plan) -> tuple[Plan, ...]:
    """A plan apart, into those whose nodes wait for each other."""
    found: dict[int, list[Node]] = {}
    for node in plan.nodes:
        before = {id(group): group for number in (*node.after, *node.loosely_after) if (group := found[number]) is not None}
        merged = sorted((one for group in before.values() for one in group), key=lambda one: one.number)
        merged.append(node)
        found.update({one.number: merged for one in merged})
    groups = {id(group): group for group in found.values()}
    return tuple(Plan(tuple(group)) for group in sorted(groups.values(), key=lambda group: group[0].number))


def pause_s(times: int) -> float:
    """How long a service rests after it has been acted on so many times in a row."""
    return min(FIRST_PAUSE_S * 2.0 ** min(times - 1, 16), LONGEST_PAUSE_S)


def _blocked(service: DesiredService, declared: Declared, observed: Observed) -> Dependency | None:
    """The first of what it needs that is not so. What an `up` of some services has never declared is nobody's to wait for."""
    for one in service.dependencies:
        needed = declared.desired.services.get(one.service)
        if one.required and needed is not None and not _is_met(needed, one.condition, observed):
            return one
    return None


def _is_met(service: DesiredService, condition: Condition, observed: Observed) -> bool:
    if condition is Condition.STARTED:
        return _is_started(service, observed)
    found = observed.of_service(service.name)
    return len(found) >= service.replicas and all(meets(one, condition) for one in found)


def _is_started(service: DesiredService, observed: Observed) -> bool:
    """What came to an end of its own has been started."""
    found = observed.of_service(service.name)
    return len(found) >= service.replicas and not any(kept_start_cause(service, one) for one in found)


def _holds(services: Iterable[DesiredService], observed: Observed, blocked: Mapping[str, Dependency]) -> Plan:
    """Stops what is to be held while something it needs is not there, dependents first."""
    draft = Draft()
    for service in reversed(list(services)):
        need = blocked.get(service.name)
        if need is None or need.follow != "hold":
            continue
        cause = f"dependency {need.service} is not {CONDITION_WORDS[need.condition]}"
        for one in observed.of_service(service.name):
            if one.state.status is Status.RUNNING:
                draft.add(StopContainer(one.name, one.id, cause))
    return draft.finished()


def touched(nodes: Iterable[Node], observed: Observed) -> frozenset[str]:
    """The services whose containers these nodes make, change or remove; waiting for one does not."""
    services = {one.name: service_of(one) for one in observed.containers}
    found = set()
    for node in nodes:
        match node.action:
            case WaitFor():
                continue
            case CreateContainer(service=service) | StartContainer(service=service):
                found.add(service)
            case _:
                kind, _, name = node.action.resource.partition(" ")
                found |= {services[name]} if kind == "Container" and name in services else set()
    return frozenset(found)
