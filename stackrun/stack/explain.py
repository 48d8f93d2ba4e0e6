"""A plan for a person: what happens to each resource and why, which fields differ and where the file says so, what is lost.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stackrun.api import labels
from stackrun.api.stacks import FieldChange, Phase, PlannedAction, StackEvent, StackPlan, Symbol
from stackrun.api.types import Container, ImageConfig, MountType
from stackrun.errors import Diagnostic
from stackrun.stack.builds import field_changes, further_files
from stackrun.stack.content import content_digest
from stackrun.stack.desired import Desired, DesiredService
from stackrun.stack.difference import Difference, Images, container_differences, network_differences
from stackrun.stack.facts import is_anonymous
from stackrun.stack.observed import Observed
from stackrun.stack.places import NoPlaces, Places
from stackrun.stack.plan import (
    CONDITION_WORDS,
    Action,
    BuildImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Node,
    NoteContents,
    Plan,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RenameContainer,
    StopContainer,
    WaitFor,
    WriteFile,
    described,
)
from stackrun.stack.secrecy import Secrecy

UNKNOWN_CHANGE = "configuration changed (hash)"
"""The cause of last resort: two containers are told apart by a hash that no field explains."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a plan's differences are told from, beyond what lists show."""

    containers: Mapping[str, Container] = field(default_factory=dict)
    """By id: those that are replaced."""
    images: Mapping[str, ImageConfig] = field(default_factory=dict)
    """By id: those that they were made from and will be made from."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a plan says besides what is done: warnings about the definition, where it says what, and nothing of its secrets."""

    warnings: tuple[StackEvent, ...] = ()
    places: Places = field(default_factory=NoPlaces)
    secrecy: Secrecy = field(default_factory=Secrecy)


@dataclass(frozen=True, slots=True)
class Plans:
    """What `up` carries out, one after the other. `images`: pulls and builds."""

    images: Plan
    main: Plan


def replaced_containers(plan: Plan, observed: Observed) -> dict[str, Container]:
    """The final name of each container that takes another's place → that other."""
    by_name = {one.name: one for one in observed.containers}
    found = {}
    for node in plan.nodes:
        if isinstance(node.action, CreateContainer):
            predecessor = by_name.get(node.action.spec.labels.get(labels.REPLACE, ""))
            if predecessor:
                found[node.action.name] = predecessor
    return found


def explained(desired: Desired, observed: Observed, selected: Iterable[str], plans: Plans, inspected: Inspected, shown: Shown) -> StackPlan:
    """Everything but the seal. `selected`: the services that the operation is about."""
    services = tuple(desired.services[name] for name in selected)
    explainer = _Explainer(desired, observed, plans.main, inspected, _Fields(shown.places, shown.secrecy))
    images = [explainer.image(node.action, services) for node in plans.images.nodes]
    actions = (*images, *explainer.actions())
    return StackPlan(
        project=desired.project,
        actions=actions,
        notices=(*shown.warnings, *notice_events(plans.images), *notice_events(plans.main)),
        waits=explainer.last_waits(),
        unchanged=explainer.unchanged(services, {one.resource for one in actions}),
    )


def warning_event(warning: Diagnostic) -> StackEvent:
    return StackEvent(f"{warning.path}:{warning.line}:{warning.column}", Phase.DONE, "Warning", warning.message, warning.hint)


def notice_events(plan: Plan) -> Iterable[StackEvent]:
    for notice in plan.notices:
        yield StackEvent(notice.resource, Phase.DONE, "Warning", notice.message, notice.hint)


class _Fields:
    """Differences as a person may see them: with their place in the file, and without secrets."""

    def __init__(self, places: Places, secrecy: Secrecy) -> None:
        self.places = places
        self._secrecy = secrecy

    def of_service(self, service: str, differences: Iterable[Difference]) -> tuple[FieldChange, ...]:
        return tuple(self._shown(one, self.places.of_service(service, one.paths)) for one in differences)

    def of_network(self, name: str, differences: Iterable[Difference]) -> tuple[FieldChange, ...]:
        return tuple(self._shown(one, self.places.of_network(name, one.paths)) for one in differences)

    def _shown(self, one: Difference, place: str) -> FieldChange:
        return FieldChange(one.field, self._secrecy.shown(one.field, one.before), self._secrecy.shown(one.field, one.after), place)


class _Explainer:
    def __init__(self, desired: Desired, observed: Observed, plan: Plan, inspected: Inspected, fields: _Fields) -> None:
        self._desired = desired
        self._observed = observed
        self._plan = plan
        self._inspected = inspected
        self._fields = fields
        self._replaced = replaced_containers(plan, observed)
        self._nodes = {node.number: node for node in plan.nodes}
        self._found = {one.id: one for one in observed.containers}
        self._names = {one.id: one.name for one in observed.containers}
        self._successors = {one.id: f"Container {name}" for name, one in self._replaced.items()}

    def actions(self) -> Iterable[PlannedAction]:
        groups: dict[str, list[Node]] = {}
        for node in self._plan.nodes:
            if not isinstance(node.action, WaitFor):
                groups.setdefault(self._resource(node.action), []).append(node)
        for resource, nodes in groups.items():
            yield self._action(resource, nodes)

    def _resource(self, action: Action) -> str:
        """What makes room for a replacement is part of that, even under another name."""
        gone = isinstance(action, (StopContainer, RemoveContainer)) and self._successors.get(action.id)
        return gone or action.resource

    def _action(self, resource: str, nodes: list[Node]) -> PlannedAction:
        changes = self._changes(nodes)
        cause = next((node.action.cause for node in nodes if isinstance(node.action, _MAKING)), "")
        cause = cause or next((node.action.cause for node in nodes if node.action.cause), "")
        if cause == "configuration changed" and not changes:
            cause = UNKNOWN_CHANGE
        destroys, notes = self._losses(nodes)
        return PlannedAction(
            symbol=self._symbol(nodes),
            resource=resource,
            cause=cause,
            steps=tuple(_step(node) for node in nodes if not isinstance(node.action, NoteContents)),
            changes=changes,
            waits_for=self._waits_for(resource, nodes),
            destroys=destroys,
            notes=notes,
        )

    def _symbol(self, nodes: Iterable[Node]) -> Symbol:
        actions = [node.action for node in nodes if not node.if_failed]
        made = any(isinstance(one, _MAKING) and not _rewritten(one) for one in actions)
        gone = any(isinstance(one, (RemoveContainer, RemoveNetwork, RemoveVolume)) for one in actions)
        if made:
            return Symbol.REPLACE if gone else Symbol.CREATE
        if gone and any(isinstance(one, RenameContainer) for one in actions):
            return Symbol.REPLACE  # by one that is there already
        return Symbol.REMOVE if gone else Symbol.CHANGE

    # --- what differs

    def _changes(self, nodes: Iterable[Node]) -> tuple[FieldChange, ...]:
        found: tuple[FieldChange, ...] = ()
        for node in nodes:
            match node.action:
                case CreateContainer() as create:
                    found += self._fields.of_service(create.service, self._container_differences(create))
                case CreateNetwork(spec=spec) if spec.name in self._observed.networks:
                    found += self._fields.of_network(spec.name, network_differences(self._observed.networks[spec.name], self._desired))
                case WriteFile(live=True) as file if file.path in self._observed.files:
                    found += self._content_change(file)
                case _:
                    pass
        return found

    def _container_differences(self, create: CreateContainer) -> tuple[Difference, ...]:
        predecessor = self._replaced.get(create.name)
        if predecessor is None:
            return (Difference("image", None, create.spec.image, (("image",), ("build",))),)
        found = self._inspected.containers.get(predecessor.id)
        if found is None:
            return ()
        service = self._desired.services[create.service]
        stale = service.image in self._observed.stale
        new_id = "" if stale else self._observed.images.get(service.image, "")
        images = Images(self._inspected.images.get(found.image_id), self._inspected.images.get(new_id), new_id, stale)
        return container_differences(create.spec, service, found, images, self._names)

    def _content_change(self, file: WriteFile) -> tuple[FieldChange, ...]:
        section, _, key = file.label.partition(" ")
        before, after = self._observed.files[file.path], content_digest(file.content)
        difference = Difference(f"{section}s.{key}", f"content {before}", f"content {after}", ((f"{section}s", key),))
        return self._fields.of_service("", [difference])

    # --- what waits, what is lost

    def _waits_for(self, resource: str, nodes: Iterable[Node]) -> tuple[str, ...]:
        found: list[str] = []
        for node in nodes:
            for number in () if node.if_failed or _makes_room(node.action) else node.waits_for:
                action = self._nodes[number].action
                if isinstance(action, WaitFor):
                    found.append(_wait_words(action))
                elif self._resource(action) != resource:
                    found.append(f"{action.resource} {_PAST.get(action.verb, '')}".rstrip())
        return tuple(one for one in dict.fromkeys(found) if f"{one} started" not in found)

    def _losses(self, nodes: Iterable[Node]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What is destroyed, and what a person should know besides."""
        destroys: list[str] = []
        notes: list[str] = ["it is a job: it runs again"] if any(self._runs_again(node.action) for node in nodes) else []
        kept = {mount.source for node in nodes if isinstance(node.action, CreateContainer) for mount in node.action.spec.mounts}
        for node in nodes:
            match node.action:
                case RemoveVolume():
                    destroys.append("its data")
                case RemoveNetwork():
                    destroys.append("its addresses: every container on it is disconnected")
                case RemoveContainer(id=id, volumes=volumes) if not node.if_failed:
                    for target, name in _anonymous_volumes(self._found[id]):
                        if volumes:
                            destroys.append(f"the anonymous volume at {target} with its data")
                        elif name in kept:
                            notes.append(f"the anonymous volume at {target} goes over to the new container")
                        else:
                            notes.append(f"the anonymous volume at {target} is left behind as {name[:12]}")
                case _:
                    pass
        return tuple(destroys), tuple(notes)

    def _runs_again(self, action: Action) -> bool:
        return isinstance(action, CreateContainer) and action.name in self._replaced and self._desired.services[action.service].job

    # --- the rest

    def image(self, action: Action, services: Iterable[DesiredService]) -> PlannedAction:
        users = [one.name for one in services if f"Image {one.image}" == action.resource]
        made = {node.action.service for node in self._plan.nodes if isinstance(node.action, CreateContainer)}
        kept = [name for name in users if name not in made and self._observed.of_service(name)]
        notes = (f"if that is another image, containers of {', '.join(kept)} are replaced as well",) if kept else ()
        if isinstance(action, BuildImage):
            return self._build(action, notes)
        return PlannedAction(Symbol.CREATE, action.resource, action.cause, (described(action),), notes=notes)

    def _build(self, action: BuildImage, notes: tuple[str, ...]) -> PlannedAction:
        declared, symbol = action.declared, Symbol.CREATE
        if action.reference in self._observed.images:
            symbol = Symbol.REPLACE if declared.changed else Symbol.CHANGE
        changes = field_changes(declared, lambda paths: self._fields.places.of_service(action.service, paths))
        if more := further_files(declared):
            notes = (f"and {more} more files", *notes)
        return PlannedAction(symbol, action.resource, action.cause, (described(action),), changes, notes=notes)

    def last_waits(self) -> tuple[str, ...]:
        """Waits that nothing in the plan follows: `--wait`'s."""
        followed = {number for node in self._plan.nodes for number in node.waits_for}
        ends = (node.action for node in self._plan.nodes if node.number not in followed)
        return tuple(_wait_words(one) for one in ends if isinstance(one, WaitFor))

    def unchanged(self, services: Iterable[DesiredService], touched: set[str]) -> tuple[str, ...]:
        networks = {f"Network {name}" for one in services for name in one.networks if name in self._observed.networks}
        volumes = {f"Volume {name}" for one in services for name in one.volumes if name in self._observed.volumes}
        settled = [f"Container {one.name}" for one in self._plan.settled]
        return tuple(one for one in (*sorted(networks), *sorted(volumes), *settled) if one not in touched)


_MAKING = (CreateContainer, CreateNetwork, CreateVolume, WriteFile)
_PAST = {
    "start": "started", "stop": "stopped", "restart": "restarted", "remove": "removed", "rename": "renamed", "signal": "signalled",
    "exec": "told", "wait until ready": "ready", "take over": "ready",
}  # fmt: skip


def _rewritten(action: Action) -> bool:
    """A live file that is there already: it changes in place."""
    return isinstance(action, WriteFile) and action.live and action.cause != "missing"


def _makes_room(action: Action) -> bool:
    """The last steps of a replacement wait for others only to see whether the whole update has failed."""
    return isinstance(action, RemoveContainer) and action.replaced


def _step(node: Node) -> str:
    return f"on failure {described(node.action)}" if node.if_failed else described(node.action)


def _wait_words(wait: WaitFor) -> str:
    return f"{wait.service} {CONDITION_WORDS[wait.condition]}{' if possible' if wait.optional else ''}"


def _anonymous_volumes(container: Container) -> Iterable[tuple[str, str]]:
    for mount in container.mounts:
        if mount.type is MountType.VOLUME and is_anonymous(mount.name):
            yield mount.target, mount.name
