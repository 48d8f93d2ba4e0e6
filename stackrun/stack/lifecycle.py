"""Plans for a stack that is there already: down, stop, start, restart, kill.  Pure, from labels alone: no stack file is needed.

The order comes from the `depends_on` label that every container carries, so it is the order of what really runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from stackrun.api.types import Container, Status
from stackrun.errors import InvalidArgument
from stackrun.stack.anonymous import handed_over
from stackrun.stack.desired import KIND
from stackrun.stack.observed import Observed, is_one_off, needs_of, service_of
from stackrun.stack.plan import (
    Action,
    Condition,
    Draft,
    KillContainer,
    Notice,
    Plan,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RestartContainer,
    StartContainer,
    StopContainer,
    WaitFor,
)
from stackrun.stack.reconcile import meets


def decide_down(
    observed: Observed,
    *,
    known: frozenset[str] | None = None,
    services: tuple[str, ...] = (),
    volumes: bool = False,
    timeout_s: float | None = None,
    owed: Collection[str] = (),
) -> Plan:
    """Dependents stop before what they need. `known`: the file's services, whose orphans stay; None: everything goes.

    With `services`, theirs alone, and networks and named volumes stay. `owed`: anonymous volumes that an earlier one, cut short, has left.
    """
    draft = Draft()
    chosen = [one for one in observed.containers if _goes(one, known, services)]
    stops = _stops(draft, chosen, "down", timeout_s)
    removals = [
        draft.add(RemoveContainer(one.name, one.id, "down", volumes=volumes), [stops[one.id]] if one.id in stops else ()) for one in chosen
    ]
    anonymous = sorted({*handed_over(chosen), *(name for name in owed if name in observed.volumes)})
    for name in anonymous if volumes else ():
        draft.add(RemoveVolume(name, "down", keep_in_use=True), removals)
    if services:
        return draft.finished()
    _notice_orphans(draft, observed, chosen)
    for network in observed.own_networks():
        draft.add(RemoveNetwork(network.id, network.name, "down", keep_in_use=True), removals)
    for volume in observed.own_volumes() if volumes else ():
        draft.add(RemoveVolume(volume.name, "down", keep_in_use=True), removals)
    plan = draft.finished()
    if not plan:
        draft.notices.append(Notice(f"Project {observed.project}", "no resource found to remove"))
    return draft.finished()


def _goes(container: Container, known: frozenset[str] | None, services: tuple[str, ...]) -> bool:
    service = service_of(container)
    if services:
        return service in services and not is_one_off(container)
    return known is None or service in known


def _notice_orphans(draft: Draft, observed: Observed, chosen: list[Container]) -> None:
    gone = {one.id for one in chosen}
    left = [one.name for one in observed.containers if one.id not in gone]
    if left:
        message = f"found orphan containers: {', '.join(left)}"
        draft.notices.append(Notice(f"Project {observed.project}", message, "--remove-orphans removes them too"))


def decide_stop(observed: Observed, services: tuple[str, ...] = (), timeout_s: float | None = None) -> Plan:
    draft = Draft()
    _stops(draft, _chosen(observed, services), "stop", timeout_s)
    return draft.finished()


def _stops(draft: Draft, containers: Iterable[Container], cause: str, timeout_s: float | None) -> dict[str, int]:
    """One node a running container, by its id; a dependent that fails to stop does not keep the others up.

    What does not run hands on what it would have waited for: behind a job that is done, its dependents still need what it needed.
    """
    everyone = list(containers)
    stops: dict[str, int] = {}
    of_service: dict[str, list[int]] = {}
    dependents = _dependents(everyone)
    for one in sorted(everyone, key=_position(everyone), reverse=True):
        service = service_of(one)
        followers = [node for name in sorted(dependents.get(service, ())) for node in of_service.get(name, ())]
        if one.state.running:
            stops[one.id] = draft.add(StopContainer(one.name, one.id, cause, timeout_s), (), followers)
            followers = [stops[one.id]]
        of_service.setdefault(service, []).extend(followers)
    return stops


def decide_start(observed: Observed, services: tuple[str, ...] = ()) -> Plan:
    """Dependencies first, each start after what it was declared to wait for; a job that is done stays done and hands on its waits."""
    draft = Draft()
    chosen = [one for one in _chosen(observed, services) if not is_one_off(one)]
    names: dict[str, list[Container]] = {}
    for one in chosen:
        names.setdefault(service_of(one), []).append(one)
    starts: dict[str, list[int]] = {}
    waits: dict[tuple[str, Condition], list[int]] = {}
    jobs = _jobs(chosen)
    over = {name for name, group in names.items() if all(_done(one, jobs) for one in group)}
    for one in sorted(chosen, key=_position(chosen)):
        if one.state.running:
            continue
        after: list[int] = []
        for need, word, _ in needs_of(one):
            key = (need, Condition(word))
            if key not in waits:
                before = starts.get(need, [])
                waits[key] = before if need in over else _wait(draft, key, names.get(need, []), before)
            after += waits[key]
        if not _done(one, jobs):
            after = [draft.add(StartContainer(service_of(one), one.name, one.id, "start"), after)]
        starts.setdefault(service_of(one), []).extend(after)
    return draft.finished()


def _wait(draft: Draft, key: tuple[str, Condition], containers: list[Container], starts: list[int]) -> list[int]:
    service, condition = key
    if condition is Condition.STARTED or not containers:
        return starts
    if not starts and all(meets(one, condition) for one in containers):
        return []
    return [draft.add(WaitFor(service, condition, tuple(one.name for one in containers)), starts)]


def decide_restart(observed: Observed, services: tuple[str, ...] = (), timeout_s: float | None = None) -> Plan:
    """Dependencies first; those that depend on a restarted service with `restart: true` come along.

    A job that is done is run again only when it is named.
    """
    draft = Draft()
    jobs = _jobs(observed.containers)
    chosen = [one for one in _chosen(observed, services) if services or not _done(one, jobs)]
    everyone = [one for one in observed.containers if not is_one_off(one)]
    ordered = sorted(everyone, key=_position(everyone))
    causes = dict.fromkeys((service_of(one) for one in chosen), "restart")
    for one in ordered:
        for need, _, restart in needs_of(one):
            if restart and need in causes:
                causes.setdefault(service_of(one), f"dependency {need} restarted")
    restarts: dict[str, list[int]] = {}
    for one in ordered:
        after = [node for need, _, _ in needs_of(one) for node in restarts.get(need, ())]
        if cause := causes.get(service_of(one), ""):
            after = [draft.add(RestartContainer(one.name, one.id, cause, timeout_s), after)]
        restarts.setdefault(service_of(one), []).extend(after)
    return draft.finished()


def decide_kill(observed: Observed, services: tuple[str, ...] = (), signal: str = "SIGKILL") -> Plan:
    return _each(_chosen(observed, services), lambda one: KillContainer(one.name, one.id, signal, "kill"))


def _each(containers: Iterable[Container], action: Callable[[Container], Action]) -> Plan:
    draft = Draft()
    for one in containers:
        if one.state.status in (Status.RUNNING, Status.PAUSED):
            draft.add(action(one))
    return draft.finished()


def _chosen(observed: Observed, services: tuple[str, ...]) -> list[Container]:
    present = {service_of(one) for one in observed.containers}
    for name in services:
        if name not in present:
            raise InvalidArgument(
                f"no such service: {name}", hint=f"project {observed.project} has {', '.join(sorted(present)) or 'no containers'}"
            )
    return [one for one in observed.containers if not services or service_of(one) in services]


def _jobs(containers: Iterable[Container]) -> set[str]:
    """Services that somebody waits for to complete, or that say so themselves."""
    found: set[str] = set()
    for one in containers:
        found.update(need for need, condition, _ in needs_of(one) if condition == Condition.COMPLETED)
        if one.spec.labels.get(KIND) == "job":
            found.add(service_of(one))
    return found


def _done(container: Container, jobs: set[str]) -> bool:
    return service_of(container) in jobs and meets(container, Condition.COMPLETED)


def _dependents(containers: Iterable[Container]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in containers:
        for need, _, _ in needs_of(one):
            found.setdefault(need, set()).add(service_of(one))
    return found


def _position(containers: Iterable[Container]) -> Callable[[Container], tuple[int, str, str]]:
    """A sort key, dependencies first: how long the longest chain of needs below a service is.

    Labels of containers made at different times can contradict each other; a service already on the way counts as 0.
    """
    needs: dict[str, set[str]] = {}
    for one in containers:
        needs.setdefault(service_of(one), set()).update(need for need, _, _ in needs_of(one))
    depths: dict[str, int] = {}
    for name in sorted(needs):
        _depth(name, needs, depths)
    return lambda one: (depths[service_of(one)], service_of(one), one.name)


def _depth(name: str, needs: Mapping[str, set[str]], depths: dict[str, int]) -> int:
    if name not in depths:
        depths[name] = 0
        depths[name] = max((1 + _depth(need, needs, depths) for need in sorted(needs[name]) if need in needs), default=0)
    return depths[name]
