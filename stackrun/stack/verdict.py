"""What becomes of each container: it stays, it is replaced, it is made, it goes.  Pure; the nodes are `reconcile`'s.

Level, not edge: whatever an earlier, interrupted run left (a replacement under its temporary name, two containers of one
number, a stopped half) is judged by what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stackrun.api import labels
from stackrun.api.types import Container, EndedBy, Network, Status
from stackrun.api.wire.times import epoch_ns
from stackrun.errors import InvalidArgument
from stackrun.stack.desired import JOINED, Desired, DesiredService, FileMount, contents_of
from stackrun.stack.observed import Observed, is_on, is_one_off, number_of, service_of, unhealthy


@dataclass(frozen=True, slots=True)
class Policy:
    services: tuple[str, ...] = ()
    """Empty: all. Their dependencies come along unless `no_deps`."""
    no_deps: bool = False
    force_recreate: bool = False
    no_recreate: bool = False
    no_start: bool = False
    remove_orphans: bool = False
    renew_anonymous_volumes: bool = False
    pull: str = ""
    """always, missing, never; empty: each service's own policy."""
    build: str = ""
    """always, never; empty: what is missing, and what is built of something else now."""
    unbuilt: tuple[str, ...] = ()
    """Services whose image stays though it would be built of something else now."""
    timeout_s: float | None = None
    wait: bool = False
    wait_timeout_s: float | None = None
    keep: bool = False
    """Only what was lost is brought back: nothing that is merely other than declared is replaced, nothing surplus goes."""


PLAIN = Policy()


@dataclass(frozen=True, slots=True)
class Slot:
    """One replica: the container that stays (None: one is made) and those whose place it takes."""

    number: int
    keep: Container | None = None
    cause: str = ""
    """Why one is made, or why the kept one is started; empty: nothing to do."""
    old: tuple[Container, ...] = ()
    bounce: str = ""
    """Why a kept, running one is stopped and started again."""
    untold: tuple[FileMount, ...] = ()
    """Live configs and secrets of the kept one whose content has changed since it was last told."""


@dataclass(frozen=True, slots=True)
class Verdict:
    service: DesiredService
    slots: tuple[Slot, ...] = ()
    surplus: tuple[Container, ...] = ()

    @property
    def replaced(self) -> bool:
        return any(slot.keep is None and slot.old for slot in self.slots)

    @property
    def bounced(self) -> bool:
        return any(slot.bounce for slot in self.slots)

    @property
    def starts_anew(self) -> bool:
        """Its first container, the one that others are bound to, gets new namespaces."""
        return any(slot.keep is None or slot.bounce or slot.cause for slot in self.slots[:1])


@dataclass(frozen=True, slots=True)
class Verdicts:
    by_service: Mapping[str, Verdict] = field(default_factory=dict)
    """In start order."""
    replaced_networks: Mapping[str, Network] = field(default_factory=dict)


def selection(desired: Desired, policy: Policy) -> tuple[str, ...]:
    """The services an operation is about, in start order. Raises InvalidArgument "no such service: x"."""
    for name in policy.services:
        if name not in desired.services:
            known = f"the services are {', '.join(sorted(desired.services)) or 'none'}"
            hint = "no active profile enables it: use --profile" if name in desired.dormant else known
            raise InvalidArgument(f"no such service: {name}", hint=hint)
    if not policy.services:
        return tuple(desired.services)
    wanted, rest = set(policy.services), list(policy.services)
    while rest and not policy.no_deps:
        found = {one.service for one in desired.services[rest.pop()].dependencies if one.service in desired.services}
        rest += found - wanted
        wanted |= found
    return tuple(name for name in desired.services if name in wanted)


def judge(desired: Desired, observed: Observed, policy: Policy, selected: tuple[str, ...]) -> Verdicts:
    return _Judge(desired, observed, policy, selected).verdicts()


class _Judge:
    """Goes through the services dependencies first, since a verdict can follow from those before it."""

    def __init__(self, desired: Desired, observed: Observed, policy: Policy, selected: tuple[str, ...]) -> None:
        self._desired = desired
        self._observed = observed
        self._policy = policy
        self._selected = selected
        self._found = _by_service(observed.containers)
        self._staying = {one.id for one in observed.containers}
        self._verdicts: dict[str, Verdict] = {}
        used = sorted({name for one in selected for name in desired.services[one].networks})
        self._replaced_networks = {name: observed.networks[name] for name in used if self._network_differs(name)}

    def verdicts(self) -> Verdicts:
        for name in self._selected:
            verdict = self._verdicts[name] = self._verdict(self._desired.services[name])
            self._staying.difference_update(one.id for slot in verdict.slots for one in slot.old)
            self._staying.difference_update(one.id for one in verdict.surplus)
        return Verdicts(self._verdicts, self._replaced_networks)

    def _network_differs(self, name: str) -> bool:
        """Ours, made from another definition, and every container of the stack on it is part of this operation."""
        wanted, found = self._desired.networks.get(name), self._observed.networks.get(name)
        if wanted is None or wanted.external or found is None or self._policy.no_recreate or self._policy.keep:
            return False
        if found.spec.labels.get(labels.PROJECT) != self._desired.project:
            return False
        digest = found.spec.labels.get(labels.CONFIG_HASH, "")
        return bool(digest) and digest != wanted.spec.labels[labels.CONFIG_HASH] and not self._has_outsiders(name)

    def _has_outsiders(self, network: str) -> bool:
        on_it = (one for one in self._observed.containers if is_on(one, network))
        return any(is_one_off(one) or not (service_of(one) in self._selected or self._leaves(one)) for one in on_it)

    def _leaves(self, container: Container) -> bool:
        return self._policy.remove_orphans and is_orphan(container, self._desired)

    def _verdict(self, service: DesiredService) -> Verdict:
        groups: dict[int, list[Container]] = {}
        for one in self._found.get(service.name, ()):
            groups.setdefault(number_of(one), []).append(one)
        wanted = range(1, service.replicas + 1)
        slots = tuple(self._slot(service, number, groups.get(number, ())) for number in wanted)
        surplus = tuple(one for number in sorted(groups) if number not in wanted for one in groups[number])
        return Verdict(service, slots, () if self._policy.keep else surplus)

    def _slot(self, service: DesiredService, number: int, found: Iterable[Container]) -> Slot:
        """Of several containers with one number the best stays: up to date, then running, then the one with the final name."""
        final = service.name_of(number, self._desired.project)
        judged = [(self._recreate_cause(service, one), one) for one in found]
        judged.sort(key=lambda pair: (bool(pair[0]), not pair[1].state.running, pair[1].name != final, pair[1].id))
        if not judged:
            return Slot(number, cause="missing")
        cause, best = judged[0]
        if cause:
            return Slot(number, cause=cause, old=tuple(one for _, one in judged))
        if self._policy.keep:
            return Slot(number, best, kept_start_cause(service, best), bounce=self._kept_bounce_cause(service, best))
        untold = self._untold(service, best)
        bounce = self._bounce_cause(service, best) or self._restart_cause(service, untold) if best.state.running else ""
        return Slot(number, best, _start_cause(service, best), tuple(one for _, one in judged[1:]), bounce, untold)

    def _untold(self, service: DesiredService, container: Container) -> tuple[FileMount, ...]:
        live = [one for one in service.file_mounts if one.live and one.on_change.action != "none"]
        if not live:
            return ()
        told = {target: held.rpartition(" ")[2] for target, held in contents_of(container.spec).items()}
        told |= self._observed.told.get(container.id, {})
        return tuple(one for one in live if told.get(one.target) != one.digest)

    def _restart_cause(self, service: DesiredService, untold: tuple[FileMount, ...]) -> str:
        """What only a start makes it see: a change that asks for one, or a new file under the name of a live one that was lost."""
        if self._policy.no_start:
            return ""
        lost = [file.label for file in service.files if file.live and file.path not in self._observed.files]
        if lost:
            return f"{' and '.join(lost)} lost"
        changed = [one.label for one in untold if one.on_change.action == "restart"]
        return f"{' and '.join(changed)} changed" if changed else ""

    def _recreate_cause(self, service: DesiredService, container: Container) -> str:
        """Why this container cannot stay; empty when it is as it should be."""
        if container.state.status is Status.DEAD:
            return "dead"
        if self._policy.no_recreate:
            return ""
        if self._policy.force_recreate:
            return "forced"
        if self._policy.keep:
            return self._network_cause(service, container) or self._join_cause(service, container)
        if container.spec.labels.get(labels.CONFIG_HASH) != service.config_hash:
            return "configuration changed"
        image_id = self._observed.images.get(service.image, "")
        if service.image in self._observed.stale:
            return "image changed"
        if image_id and container.image_id and image_id != container.image_id:
            return "image changed"
        return self._network_cause(service, container) or self._join_cause(service, container)

    def _network_cause(self, service: DesiredService, container: Container) -> str:
        endpoints = {one.network_name: one.network_id for one in container.endpoints}
        for name in service.networks:
            network = self._observed.networks.get(name)
            if network is None:
                return f"network {name} missing"
            if name not in endpoints:
                return f"not connected to network {name}"
            if name in self._replaced_networks or (endpoints[name] and endpoints[name] != network.id):
                return f"network {name} replaced"
        return ""

    def _join_cause(self, service: DesiredService, container: Container) -> str:
        """It is bound to another container: once that is replaced, its namespaces are gone."""
        for name in service.joins:
            verdict = self._verdicts.get(name)
            if verdict and any(slot.keep is None for slot in verdict.slots[:1]):
                return f"shares with {name}, which is replaced"
        joined = container.spec.labels.get(JOINED, "")
        gone = joined and not self._staying.issuperset(joined.split(","))
        return f"shares with a container of {' or '.join(service.joins)} that is gone" if gone else ""

    def _bounce_cause(self, service: DesiredService, container: Container) -> str:
        for name in service.joins:
            if name in self._verdicts and self._verdicts[name].starts_anew:
                return f"shares with {name}, which starts anew"
        if stale := self._stale_join(service, container):
            return stale
        for one in service.dependencies:
            verdict = self._verdicts.get(one.service)
            if one.restart and verdict and (verdict.replaced or verdict.bounced):
                return f"dependency {one.service} {'replaced' if verdict.replaced else 'restarted'}"
        return ""

    def _stale_join(self, service: DesiredService, container: Container) -> str:
        """Whose namespaces it shares has started since, and has others now."""
        for name in service.joins:
            joined = self._observed.of_service(name)[:1]
            if joined and is_newer(joined[0], container):
                return f"shares with {name}, which has started anew"
        return ""

    def _kept_bounce_cause(self, service: DesiredService, container: Container) -> str:
        if container.state.status is not Status.RUNNING:
            return ""
        if service.on_unhealthy == "restart" and unhealthy(container):
            return f"unhealthy after {container.state.health.failing_streak} probes" if container.state.health else "unhealthy"
        if stale := self._stale_join(service, container):
            return stale
        for one in service.dependencies:
            needed = self._observed.of_service(one.service)
            if one.follow == "restart" and needed and all(is_newer(other, container) for other in needed):
                return f"dependency {one.service} has started anew"
        return ""


def is_newer(container: Container, than: Container) -> bool:
    """Both run, and it started later; False where an engine's list does not tell."""
    first_ns, second_ns = epoch_ns(than.state.started_at), epoch_ns(container.state.started_at)
    return than.state.running and container.state.running and 0 < first_ns < second_ns


def kept_start_cause(service: DesiredService, container: Container) -> str:
    """Why a container of a kept stack is started; empty: it runs, its engine brings it back, or it has come to an end of its own."""
    state = container.state
    if state.running or state.status in (Status.RESTARTING, Status.REMOVING):
        return ""
    if state.status is Status.CREATED:
        return "was not started" if not state.error else f"did not start: {state.error}"
    if state.ended_by is EndedBy.CALLER:
        return "stopped from outside"
    if state.ended_by is EndedBy.LOST:
        return "its end was not seen"
    ends = service.job or not service.restarts or service.spec.restart_policy.name == "on-failure"
    return "" if ends or state.exit_code == 0 else f"exited ({state.exit_code})"


def is_orphan(container: Container, desired: Desired) -> bool:
    """Its service is in the file no more; one that no active profile enables is there still."""
    service = service_of(container)
    return service not in desired.services and service not in desired.dormant and not is_one_off(container)


def _start_cause(service: DesiredService, container: Container) -> str:
    if container.state.running or (service.job and completed(container)):
        return ""
    status = container.state.status
    return f"exited ({container.state.exit_code})" if status is Status.EXITED else f"is {status}"


def completed(container: Container) -> bool:
    return container.state.status is Status.EXITED and container.state.exit_code == 0


def _by_service(containers: Iterable[Container]) -> dict[str, list[Container]]:
    found: dict[str, list[Container]] = {}
    for one in containers:
        if not is_one_off(one):
            found.setdefault(service_of(one), []).append(one)
    return found
