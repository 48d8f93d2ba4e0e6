"""What stacks were last declared to be, so that they can be kept so, and brought back, without the files it was read from.

    <state>/.declared/<project>.json      of each stack that is up, its owner's alone: it holds the content of secrets

Outside a project's own folder, which goes with its containers.  A file that cannot be read costs its own stack only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stackrun.api import labels
from stackrun.api.stored import from_json, to_json
from stackrun.api.types import Container
from stackrun.errors import InvalidArgument, KernelError
from stackrun.stack import naming
from stackrun.stack.content import discard_unfinished, write_whole
from stackrun.stack.desired import Desired, DesiredService
from stackrun.stack.observed import is_one_off, service_of

_FOLDER = ".declared"
"""No project's name begins with a dot."""


@dataclass(frozen=True, slots=True)
class Declared:
    desired: Desired
    kept: bool = True
    """Whether the stack is brought back to this state by itself."""
    stopped: frozenset[str] = frozenset()
    """Services that were stopped on purpose, and stay so."""
    held: frozenset[str] = frozenset()
    """Services that the last `up` could not bring to this state: they wait for the next one."""

    @property
    def project(self) -> str:
        return self.desired.project

    def chosen(self, services: Iterable[str]) -> frozenset[str]:
        """Those named, or all."""
        return frozenset(services) or frozenset(self.desired.services)

    def stopping(self, services: Iterable[str]) -> Declared:
        return replace(self, stopped=self.stopped | self.chosen(services))

    def starting(self, services: Iterable[str]) -> Declared:
        return replace(self, stopped=self.stopped - self.chosen(services), held=self.held - self.chosen(services))

    def without(self, services: Iterable[str]) -> Declared:
        """After these have gone for good."""
        gone = frozenset(services)
        left = {name: one for name, one in self.desired.services.items() if name not in gone}
        return replace(self, desired=replace(self.desired, services=left), stopped=self.stopped - gone, held=self.held - gone)


def raised(before: Declared | None, wanted: Desired, selected: Iterable[str], *, kept: bool = True, started: bool = True) -> Declared:
    """What an `up` of the selected services declares."""
    chosen = frozenset(selected)
    stopped, held = (before.stopped, before.held) if before else (frozenset(), frozenset())
    desired = merged(before.desired if before else None, wanted, chosen)
    known = frozenset(desired.services)
    return Declared(desired, kept, ((stopped - chosen) if started else (stopped | chosen)) & known, (held - chosen) & known)


def fallen_back(before: Declared | None, after: Declared, services: frozenset[str], found: Iterable[Container]) -> Declared:
    """After an `up` that could not bring up these: one whose containers are all as they were before is declared so still; others are held.

    `found`: what there is now.
    """
    old = before.desired.services if before else {}
    unchanged = {name: old[name] for name in services if name in old and _is_there(old[name], found)}
    desired = replace(after.desired, services={name: unchanged.get(name, one) for name, one in after.desired.services.items()})
    return replace(after, desired=desired, held=after.held | services.difference(unchanged))


def _is_there(service: DesiredService, found: Iterable[Container]) -> bool:
    own = [one for one in found if service_of(one) == service.name and not is_one_off(one)]
    hashes = {one.spec.labels.get(labels.CONFIG_HASH) for one in own}
    return len(own) == service.replicas and hashes <= {service.config_hash}


def merged(before: Desired | None, now: Desired, selected: Iterable[str]) -> Desired:
    """After an `up` of some services: those are declared anew, of the others holds what was declared before."""
    chosen = frozenset(selected)
    if before is None or chosen.issuperset(now.services):
        return replace(now, services={name: one for name, one in now.services.items() if name in chosen})
    services = {name: one for name, one in before.services.items() if name not in chosen}
    services |= {name: now.services[name] for name in now.services if name in chosen}
    return replace(
        now,
        services=_in_start_order(services),
        networks={**before.networks, **now.networks},
        volumes={**before.volumes, **now.volumes},
        dormant=(now.dormant | before.dormant).difference(services),
    )


def _in_start_order(services: Mapping[str, DesiredService]) -> dict[str, DesiredService]:
    """Dependencies first. What was declared at different times can contradict itself: a service already on the way waits for nobody."""
    ordered: dict[str, DesiredService] = {}
    entered: set[str] = set()

    def enter(name: str) -> None:
        if name in services and name not in entered:
            entered.add(name)
            for one in services[name].dependencies:
                enter(one.service)
            ordered[name] = services[name]

    for name in services:
        enter(name)
    return ordered


class Declarations:
    """The declared stacks of one engine, whose only writer this is. Every method blocks on the file system."""

    def __init__(self, state_dir: str) -> None:
        self._folder = Path(state_dir) / _FOLDER
        self._read: dict[str, Declared] = {}

    def projects(self) -> tuple[str, ...]:
        try:
            names = os.listdir(self._folder)
        except OSError:
            return ()
        return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith(".")))

    def read(self, project: str) -> Declared | None:
        """None: there is none, or none that can be read."""
        if project not in self._read:
            try:
                self._read[project] = from_json(Declared, self._path(project).read_bytes())
            except (OSError, InvalidArgument):
                return None
        return self._read[project]

    def write(self, declared: Declared) -> None:
        """Complete or not at all, and not again when it is the same."""
        if self._read.get(declared.project) == declared:
            return
        path = self._path(declared.project)
        try:
            write_whole(path, to_json(declared))
        except OSError as error:
            raise KernelError(f"write {path}", error.errno or 0) from None
        self._read[declared.project] = declared

    def forget(self, project: str) -> None:
        self._read.pop(project, None)
        try:
            self._path(project).unlink(missing_ok=True)
            discard_unfinished(self._path(project))
        except OSError as error:
            raise KernelError(f"remove {self._path(project)}", error.errno or 0) from None

    def _path(self, project: str) -> Path:
        return self._folder / f"{naming.checked(project)}.json"
