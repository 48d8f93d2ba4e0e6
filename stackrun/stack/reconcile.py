"""What `up` has to do: Desired × Observed × Policy → Plan.  Pure, sorted: the same input gives the same plan.

First every service gets its verdict, then the verdicts are written down as nodes.  What a service waits for stands before its
*start* and before its old container stops: containers are made early and in parallel, and an old one serves until the way is
free for the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from stackrun.api import labels
from stackrun.api.stacks import SUPERSEDED
from stackrun.api.types import Container, Network, Status, Volume
from stackrun.compose import model
from stackrun.errors import NotFound
from stackrun.stack.anonymous import handed_over, with_anonymous_volumes
from stackrun.stack.content import content_digest, told_path
from stackrun.stack.desired import Dependency, Desired, DesiredNetwork, DesiredService, DesiredVolume, container_spec
from stackrun.stack.observed import Observed, has_healthcheck, healthy, is_on, service_of
from stackrun.stack.plan import (
    Condition,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Draft,
    ExecInContainer,
    NoteContents,
    Notice,
    Plan,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RenameContainer,
    Settled,
    SignalContainer,
    StartContainer,
    StopContainer,
    WaitFor,
    WriteFile,
)
from stackrun.stack.rolling import DRAIN_S, Replaced, Roller, Rollout, Surroundings, obstacle
from stackrun.stack.verdict import PLAIN, Policy, Slot, Verdict, Verdicts, completed, is_orphan, judge, selection


def decide(desired: Desired, observed: Observed, policy: Policy = PLAIN) -> Plan:
    """The plan of `up`. Raises InvalidArgument (no such service), NotFound (an external network or volume that is not there)."""
    selected = selection(desired, policy)
    require_externals(desired, observed, selected)
    return _Writer(desired, observed, policy, judge(desired, observed, policy, selected)).plan()


def require_externals(desired: Desired, observed: Observed, selected: Iterable[str]) -> None:
    used = [desired.services[name] for name in selected]
    networks = {one for service in used for one in service.networks if one in desired.networks and desired.networks[one].external}
    volumes = {one for service in used for one in service.volumes if one in desired.volumes and desired.volumes[one].external}
    missing = [f"network {one}" for one in sorted(networks.difference(observed.networks))]
    missing += [f"volume {one}" for one in sorted(volumes.difference(observed.volumes))]
    if missing:
        raise NotFound(f"declared as external but not found: {', '.join(missing)}", hint="create it first, or drop `external: true`")


class _Writer:
    """Services come in start order, so whatever a node waits for has its number already."""

    def __init__(self, desired: Desired, observed: Observed, policy: Policy, verdicts: Verdicts) -> None:
        self._desired = desired
        self._observed = observed
        self._policy = policy
        self._verdicts = verdicts.by_service
        self._replaced_networks = verdicts.replaced_networks
        self._followers = _followers(verdicts.by_service.values())
        self._draft = Draft()
        self._resources: dict[str, int] = {}
        """The node that makes `Network x`, `Volume x` or a private file's path."""
        self._firsts: dict[str, int] = {}
        """The node after which a service's first container exists under its name."""
        self._starts: dict[str, list[int]] = {}
        self._stops: dict[str, int] = {}
        self._removals: dict[str, int] = {}
        self._waits: dict[tuple[str, Condition, bool], list[int]] = {}

    def plan(self) -> Plan:
        self._write_orphans()
        used = [verdict.service for verdict in self._verdicts.values()]
        for name in sorted({name for service in used for name in service.networks if name in self._desired.networks}):
            self._write_network(self._desired.networks[name], self._observed.networks.get(name))
        for name in sorted({name for service in used for name in service.volumes if name in self._desired.volumes}):
            self._write_volume(self._desired.volumes[name], self._observed.volumes.get(name))
        for verdict in self._verdicts.values():
            self._write_service(verdict)
        if self._policy.wait and not self._policy.no_start:
            self._write_last_waits()
        return self._draft.finished()

    # --- networks, volumes, orphans

    def _write_orphans(self) -> None:
        orphans = [one for one in self._observed.containers if is_orphan(one, self._desired)]
        if self._policy.remove_orphans:
            for one in orphans:
                self._remove(one, "orphan")
        elif orphans:
            message = f"found orphan containers: {', '.join(one.name for one in orphans)}"
            hint = "if their service was removed or renamed in the file, --remove-orphans clears them away"
            self._notice(f"Project {self._desired.project}", message, hint)

    def _write_network(self, wanted: DesiredNetwork, found: Network | None) -> None:
        resource = f"Network {wanted.spec.name}"
        if wanted.external:
            return
        if found is None:
            self._resources[resource] = self._draft.add(CreateNetwork(wanted.spec, "missing"))
        elif wanted.spec.name in self._replaced_networks:
            self._resources[resource] = self._replace_network(wanted, found)
        else:
            self._write_mismatch(resource, wanted.spec.labels, found.spec.labels, "bring the whole stack up to apply it")

    def _replace_network(self, wanted: DesiredNetwork, found: Network) -> int:
        """All of its containers stop first, dependents before what they need; each of them is replaced or goes anyway."""
        cause = "configuration changed"
        on_it = [one for one in self._observed.containers if one.state.running and is_on(one, found.name)]
        strangers = sorted({service_of(one) for one in on_it}.difference(self._verdicts))
        stops: dict[str, list[int]] = {}
        for name in [*strangers, *reversed(list(self._verdicts))]:
            followers = [node for other in self._dependents(name) for node in stops[other]]
            users = [one for one in on_it if service_of(one) == name]
            stops[name] = [self._stop(one, f"network {found.name} replaced", (), followers, replaced=True) for one in users]
        removal = self._draft.add(RemoveNetwork(found.id, found.name, cause), {node for nodes in stops.values() for node in nodes})
        return self._draft.add(CreateNetwork(wanted.spec, cause), [removal])

    def _dependents(self, service: str) -> list[str]:
        return [name for name, one in self._verdicts.items() if any(need.service == service for need in one.service.dependencies)]

    def _write_volume(self, wanted: DesiredVolume, found: Volume | None) -> None:
        resource = f"Volume {wanted.spec.name}"
        if wanted.external:
            return
        if found is None:
            self._resources[resource] = self._draft.add(CreateVolume(wanted.spec, "missing"))
        else:
            self._write_mismatch(resource, wanted.spec.labels, found.labels, "`down --volumes` removes it, with its data")

    def _write_mismatch(self, resource: str, wanted: Mapping[str, str], found: Mapping[str, str], hint: str) -> None:
        """What is there under that name is used as it is, and a person is told when it is not what the file says."""
        owner, digest = found.get(labels.PROJECT, ""), found.get(labels.CONFIG_HASH, "")
        if owner != self._desired.project:
            of = f"by project {owner}" if owner else "by something else"
            self._notice(resource, f"it exists already, made {of}: it is used as it is", "say `external: true` if that is meant")
        elif digest and digest != wanted[labels.CONFIG_HASH]:
            self._notice(resource, "its definition has changed: it is kept as it is", hint)

    def _notice(self, resource: str, message: str, hint: str) -> None:
        self._draft.notices.append(Notice(resource, message, hint))

    # --- services

    def _write_service(self, verdict: Verdict) -> None:
        for one in verdict.surplus:
            self._remove(one, f"scaled to {verdict.service.replicas}")
        rollout = self._rollout(verdict)
        rolled = [slot for slot in verdict.slots if rollout and _is_rolled(slot)]
        for slot in verdict.slots:
            if slot in rolled:
                continue
            if slot.keep is None:
                self._make(verdict.service, slot)
            else:
                self._keep(verdict.service, slot, slot.keep)
        if rollout and rolled:
            self._roll(verdict.service, rollout, rolled)

    def _rollout(self, verdict: Verdict) -> Rollout | None:
        """How what is replaced is replaced step by step; None: as without `update_config`."""
        service, replaced = verdict.service, [slot for slot in verdict.slots if _is_rolled(slot)]
        if service.update is None or not replaced or service.job or self._policy.no_start or self._policy.keep:
            return None
        networks = [name for name in service.networks if name in self._replaced_networks]
        joined = [name for name in service.joins if name in self._verdicts and self._verdicts[name].starts_anew]
        if networks or joined:
            why = f"network {networks[0]} is replaced" if networks else f"it shares with {joined[0]}, which starts anew"
            self._notice(f"Service {service.name}", f"{why}: update_config is passed over", "")
            return None
        rollout = Rollout.of(service.update, len(replaced))
        old = [one for slot in replaced for one in slot.old if one.state.running]
        why = obstacle(service, old, hands_over=self._observed.hands_over) if rollout.start_first and old else ""
        if why:
            self._notice(f"Service {service.name}", f"{why}: it is replaced stop-first", "`order: stop-first` says so")
        return replace(rollout, start_first=False) if why else rollout

    def _roll(self, service: DesiredService, rollout: Rollout, slots: list[Slot]) -> None:
        replaced = [self._replaced(service, slot) for slot in slots]
        firmly, loosely = self._waits_of(service)
        stop_timeout_s = self._policy.timeout_s if self._policy.timeout_s is not None else service.spec.stop_timeout_s
        around = Surroundings(
            firmly=firmly,
            loosely=loosely,
            hands_over=self._observed.hands_over,
            renew_volumes=self._policy.renew_anonymous_volumes,
            stop=self._stop_if_running,
            stop_followers=partial(self._stop_followers, service),
            drain_s=DRAIN_S if stop_timeout_s is None else max(0.0, float(stop_timeout_s)),
            limit_s=self._policy.wait_timeout_s if self._policy.wait else None,
        )
        for slot, ends in zip(slots, Roller(self._draft, service, rollout, around).write(replaced), strict=True):
            self._starts.setdefault(service.name, []).extend(ends)
            if slot.keep is not None:
                self._note_first(service, slot, ends[-1])

    def _replaced(self, service: DesiredService, slot: Slot) -> Replaced:
        name = self._name(service, slot)
        if slot.keep is not None:
            ready = tuple(self._missing_files(service))
            running = slot.keep.state.running
            return Replaced(name, slot.keep.name, slot.old, SUPERSEDED, ready, slot.keep.id, running, slot.cause)
        create = self._create(service, slot, name)
        self._note_first(service, slot, create)
        watched = self._temporary_name(slot, name) or name
        return Replaced(name, watched, slot.old, slot.cause, (create,), created_by=(create,))

    def _make(self, service: DesiredService, slot: Slot) -> None:
        name = self._name(service, slot)
        create = self._create(service, slot, name)
        self._note_first(service, slot, create)
        firmly, loosely = self._waits_of(service)
        followers = self._stop_followers(service, (create, *firmly)) if slot.old else ()
        removals = []
        for one in slot.old:
            stopped = self._stop_if_running(one, slot.cause, (create, *firmly), (*loosely, *followers))
            implied = any(stop > create for stop in stopped)  # such a stop waits for the creation itself; an earlier one has other reasons
            removal = RemoveContainer(one.name, one.id, slot.cause, self._policy.renew_anonymous_volumes, replaced=True)
            removals.append(self._draft.add(removal, stopped if implied else (create, *stopped)))
        if self._policy.renew_anonymous_volumes:
            for volume in handed_over(slot.old):
                self._draft.add(RemoveVolume(volume, slot.cause, keep_in_use=True), removals)
        ready = removals or [create]
        if any(one.name == name for one in slot.old):
            ready = [self._draft.add(RenameContainer(name, ""), removals)]
        self._start(service, name, "", "", ready, firmly, loosely)

    def _create(self, service: DesiredService, slot: Slot, name: str) -> int:
        project = self._desired.project
        image_id = "" if service.image in self._observed.stale else self._observed.images.get(service.image, "")
        replaces = slot.old[0].name if slot.old else ""
        stop_signal = self._observed.stop_signals.get(service.image, "")
        spec = container_spec(service, slot.number, project, image_id=image_id, replaces=replaces, stop_signal=stop_signal)
        if slot.old and not self._policy.renew_anonymous_volumes:
            spec = with_anonymous_volumes(spec, slot.old[0])
        after = [self._resources[one] for one in _resources(service) if one in self._resources]
        after += self._missing_files(service)
        after += [self._firsts[one] for one in service.joins if one in self._firsts]
        after += [self._removals[name]] if name in self._removals else []
        return self._draft.add(CreateContainer(service.name, name, spec, slot.cause, self._temporary_name(slot, name)), after)

    def _temporary_name(self, slot: Slot, name: str) -> str:
        """The predecessor's short id before the name, as Compose does, unless an interrupted run left that one behind."""
        if not any(one.name == name for one in slot.old):
            return ""
        taken = {one.name for one in self._observed.containers}
        candidates = (f"{one.id[:12]}_{name}" for one in slot.old)
        return next(one for one in candidates if one not in taken)

    def _keep(self, service: DesiredService, slot: Slot, keep: Container) -> None:
        name = self._name(service, slot)
        firmly, loosely = self._waits_of(service) if slot.cause or slot.bounce or slot.old else ((), ())
        ready = []
        for one in slot.old:
            stopped = self._stop_if_running(one, SUPERSEDED, firmly, loosely)
            ready.append(self._draft.add(RemoveContainer(one.name, one.id, SUPERSEDED, replaced=True), stopped))
        if keep.name != name:
            ready = [self._draft.add(RenameContainer(name, keep.id, f"was {keep.name}"), ready)]
            self._note_first(service, slot, ready[0])
        written = self._missing_files(service)
        if slot.bounce:
            ready.append(self._stop(keep, slot.bounce, written, self._stop_followers(service, tuple(written))))
        if slot.cause or slot.bounce:
            told = self._start(service, name, keep.id, slot.cause or slot.bounce, (*ready, *written), firmly, loosely)
        else:
            told = self._tell(slot, name, keep, (*ready, *written)) if keep.state.running else []
        if told and slot.untold:
            self._note(service, name, keep, told)
        elif keep.name == name and not slot.bounce and (self._policy.no_start or not slot.cause):
            self._draft.settled.append(Settled(name, _settled_word(keep)))

    def _tell(self, slot: Slot, name: str, keep: Container, after: Iterable[int]) -> list[int]:
        """One signal or command, however many of its files ask for the same."""
        asked: dict[model.OnChange, list[str]] = {}
        for one in slot.untold:
            asked.setdefault(one.on_change, []).append(one.label)
        told = []
        for how, changed in asked.items():
            cause = f"{' and '.join(changed)} changed"
            if how.action == "signal":
                told.append(self._draft.add(SignalContainer(name, keep.id, how.signal, cause), after))
            elif how.action == "exec":
                told.append(self._draft.add(ExecInContainer(name, keep.id, how.command, cause), after))
        return told

    def _note(self, service: DesiredService, name: str, keep: Container, told: Iterable[int]) -> None:
        path = told_path(self._desired.state_dir, self._desired.project, name)
        contents = tuple((one.target, one.digest) for one in service.file_mounts if one.live)
        self._draft.add(NoteContents(name, keep.id, path, contents), told)

    def _name(self, service: DesiredService, slot: Slot) -> str:
        return service.name_of(slot.number, self._desired.project)

    def _note_first(self, service: DesiredService, slot: Slot, node: int) -> None:
        if slot.number == 1:
            self._firsts[service.name] = node

    # --- single nodes

    def _file(self, file: WriteFile) -> int:
        if file.path not in self._resources:
            cause = f"{file.label} changed" if file.path in self._observed.files else "missing"
            self._resources[file.path] = self._draft.add(replace(file, cause=cause))
        return self._resources[file.path]

    def _missing_files(self, service: DesiredService) -> list[int]:
        return [self._file(file) for file in service.files if self._is_missing(file)]

    def _is_missing(self, file: WriteFile) -> bool:
        return self._observed.files.get(file.path) != content_digest(file.content)

    def _start(
        self, service: DesiredService, name: str, id: str, cause: str, ready: Iterable[int], firmly: Iterable[int], loosely: Iterable[int]
    ) -> list[int]:
        if self._policy.no_start:
            return []
        node = self._draft.add(StartContainer(service.name, name, id, cause), (*ready, *firmly), loosely)
        self._starts.setdefault(service.name, []).append(node)
        return [node]

    def _stop(
        self, one: Container, cause: str, after: Iterable[int] = (), loosely_after: Iterable[int] = (), *, replaced: bool = False
    ) -> int:
        if one.id not in self._stops:
            stop = StopContainer(one.name, one.id, cause, self._policy.timeout_s, replaced)
            self._stops[one.id] = self._draft.add(stop, after, loosely_after)
        return self._stops[one.id]

    def _stop_if_running(self, one: Container, cause: str, after: Iterable[int], loosely_after: Iterable[int]) -> list[int]:
        if one.id in self._stops or one.state.running:
            return [self._stop(one, cause, after, loosely_after, replaced=True)]
        return []

    def _stop_followers(self, service: DesiredService, after: tuple[int, ...]) -> tuple[int, ...]:
        """Those that must not see it go: bound to its container, or depending on it with `restart: true`; their own followers first."""
        stops: list[int] = []
        for verdict in self._followers.get(service.name, ()):
            running = [slot for slot in verdict.slots if _running(slot)]
            known = all(_running(slot)[0].id in self._stops for slot in running)
            further = () if known else self._stop_followers(verdict.service, after)
            stops += [self._stop_follower(slot, after, further) for slot in running]
        return tuple(stops)

    def _stop_follower(self, slot: Slot, after: tuple[int, ...], further: tuple[int, ...]) -> int:
        if slot.keep is not None:
            return self._stop(slot.keep, slot.bounce, after, further)
        return self._stop(_running(slot)[0], slot.cause, after, further, replaced=True)

    def _remove(self, one: Container, cause: str) -> None:
        stopped = [self._stop(one, cause)] if one.state.running else []
        self._removals[one.name] = self._draft.add(RemoveContainer(one.name, one.id, cause), stopped)

    # --- waiting

    def _waits_of(self, service: DesiredService) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The nodes its start follows firmly (required dependencies) and loosely (the others)."""
        if self._policy.no_start:
            return (), ()
        firmly: list[int] = []
        loosely: list[int] = []
        for one in service.dependencies:
            if one.service in self._verdicts:
                (firmly if one.required else loosely).extend(self._wait(one))
        return tuple(firmly), tuple(loosely)

    def _wait(self, dependency: Dependency) -> list[int]:
        verdict, starts = self._verdicts[dependency.service], self._starts.get(dependency.service, [])
        if dependency.condition is Condition.STARTED:
            return starts
        key = (dependency.service, dependency.condition, dependency.required)
        if key not in self._waits:
            timeout_s = self._policy.wait_timeout_s if self._policy.wait else None
            wait = WaitFor(*key[:2], self._names(verdict), timeout_s, optional=not dependency.required)
            self._waits[key] = [] if not starts and _met(verdict, dependency.condition) else [self._draft.add(wait, starts)]
        return self._waits[key]

    def _write_last_waits(self) -> None:
        for name, verdict in self._verdicts.items():
            condition, enough = (Condition.COMPLETED, Condition.COMPLETED) if verdict.service.job else (Condition.READY, Condition.HEALTHY)
            starts = self._starts.get(name, [])
            if (name, enough, True) not in self._waits and verdict.slots and (starts or not _met(verdict, condition)):
                self._draft.add(WaitFor(name, condition, self._names(verdict), self._policy.wait_timeout_s, "--wait"), starts)

    def _names(self, verdict: Verdict) -> tuple[str, ...]:
        return tuple(self._name(verdict.service, slot) for slot in verdict.slots)


def _is_rolled(slot: Slot) -> bool:
    """It takes another's place. One that is told of a change, or starts again for a reason of its own, is not: it is in use."""
    return bool(slot.old) and not slot.bounce and not slot.untold


def _followers(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """Service → those that stop before it does when it is replaced."""
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        restarting = (one.service for one in verdict.service.dependencies if one.restart)
        for name in dict.fromkeys((*verdict.service.joins, *restarting)):
            found.setdefault(name, []).append(verdict)
    return found


def _met(verdict: Verdict, condition: Condition) -> bool:
    """Already so, as observed; a service of no containers keeps nobody waiting."""
    return all(slot.keep is not None and not slot.bounce and meets(slot.keep, condition) for slot in verdict.slots)


def meets(container: Container, condition: Condition) -> bool:
    match condition:
        case Condition.COMPLETED:
            return completed(container)
        case Condition.HEALTHY:
            return container.state.running and healthy(container)
        case Condition.READY:
            return container.state.running and (healthy(container) or not has_healthcheck(container))
        case Condition.STARTED:
            return container.state.running


def _settled_word(container: Container) -> str:
    if container.state.running:
        return "Running"
    return "Created" if container.state.status is Status.CREATED else "Exited"


def _running(slot: Slot) -> list[Container]:
    """What of this replica runs now and will not stay as it is."""
    if slot.keep is not None:
        return [slot.keep] if slot.bounce else []
    return [one for one in slot.old if one.state.running]


def _resources(service: DesiredService) -> list[str]:
    return [*(f"Network {name}" for name in service.networks), *(f"Volume {name}" for name in service.volumes)]
