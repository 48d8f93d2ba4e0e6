"""What stacks were last declared to be, so that they can be kept so, and brought back, without the files it was read from.

    <state>/.declared/<project>.json      of each stack that is up, its owner's alone: it holds the content of secrets

Outside a project's own folder, which goes with its containers.  A file that cannot be read costs its own stack only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stackrun.api.stored import from_json, to_json
from stackrun.errors import InvalidArgument, KernelError
from stackrun.stack.content import write_whole
from stackrun.stack.desired import Desired, DesiredService

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
    """The declared stacks of one engine. Every method blocks on the file system."""

    def __init__(self, state_dir: str) -> None:
        self._folder = Path(state_dir) / _FOLDER

    def projects(self) -> tuple[str, ...]:
        try:
            names = os.listdir(self._folder)
        except OSError:
            return ()
        return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith(".")))

    def read(self, project: str) -> Declared | None:
        """None: there is none, or none that can be read."""
        try:
            return from_json(Declared, self._path(project).read_bytes())
        except (OSError, InvalidArgument):
            return None

    def write(self, declared: Declared) -> None:
        """Complete or not at all."""
        path = self._path(declared.project)
        try:
            write_whole(path, to_json(declared))
        except OSError as error:
            raise KernelError(f"write {path}", error.errno or 0) from None

    def forget(self, project: str) -> None:
        try:
            self._path(project).unlink(missing_ok=True)
        except OSError as error:
            raise KernelError(f"remove {self._path(project)}", error.errno or 0) from None

    def _path(self, project: str) -> Path:
        return self._folder / f"{project}.json"
