"""The canonical tree for `config`, from as many phases as were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stackrun.api.stack_source import StackSource
from stackrun.compose.faults import Faults
from stackrun.compose.load import GraphFaults, keep_used, read_stack
from stackrun.compose.normalize import services_of
from stackrun.compose.phases import Phases
from stackrun.compose.tree import Map, plain
from stackrun.errors import Diagnostic, NotFound


class Resolved(NamedTuple):
    tree: dict[str, Any]
    """As Docker Compose's `config --format json` has it, keys sorted."""
    profiles: tuple[str, ...]
    """Every profile that a service names."""
    environment: Mapping[str, str]
    """What variables were looked up in."""
    warnings: tuple[Diagnostic, ...]


def resolved(source: StackSource, phases: Phases, graph_faults: GraphFaults) -> Resolved:
    """ComposeError with every error of the files, NoStackFile, InvalidArgument; NotFound for a service that is not there."""
    faults = Faults()
    loaded = read_stack(source, faults, graph_faults, phases)
    faults.raise_errors()
    named = [*services_of(loaded.root), *loaded.disabled.items()]
    profiles = {str(profile) for _, service in named for profile in service.get("profiles") or ()}
    if phases.services:
        _keep_services(loaded.root, phases.services)
    if phases.interpolate:
        keep_used(loaded.root)
    return Resolved(plain(loaded.root), tuple(sorted(profiles)), loaded.environment, faults.warnings)


def _keep_services(root: Map, names: tuple[str, ...]) -> None:
    """Drop all but these services and what they depend on. In place."""
    services = root["services"]
    kept: set[str] = set()
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name not in services:
            if name in names:
                raise NotFound(f"no such service: {name}", hint=f"the services are {', '.join(sorted(services))}")
            continue
        if name not in kept:
            kept.add(name)
            wanted += services[name].get("depends_on") or ()
    for name in [name for name in services if name not in kept]:
        del services[name]
