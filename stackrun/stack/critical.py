"""How a stack starts: what starts together, who waits for what, and which chain of waits is the longest.

How long is an estimate from the file alone, a bound on the waiting and not a forecast: a container that is started counts as
nothing; one that must be healthy as `start_period + retries × interval` of its healthcheck (then it is healthy or given up), with
Docker's defaults (0s, 3, 30s) for what is not given.  A probe that hangs adds up to its `timeout`.  How long a job runs, and what the
image's own healthcheck says, no file tells: such a wait is open, counts as nothing, and the bound is told as one without it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stackrun.compose.check import Edge, dependency_edges
from stackrun.compose.model import Healthcheck, Project, Service
from stackrun.errors import NotFound
from stackrun.stack.graph import longest_path, waves

INTERVAL_S = 30.0
RETRIES = 3
HOW = (
    "the sum of the waits along the path; a healthy wait is at most start_period + retries × interval of the healthcheck "
    "(defaults 0s, 3, 30s; a probe that hangs adds up to its timeout), a started one counts as 0s; open waits (a job's run time, "
    "a healthcheck that only the image has) are not in the sum"
)


@dataclass(frozen=True, slots=True)
class Wait:
    """One edge, how many seconds it may hold its source up, and in words why. An open one has no bound and counts as 0."""

    edge: Edge
    seconds: float
    open: bool
    why: str


@dataclass(frozen=True, slots=True)
class Node:
    """A service as part of the start. `wave` counts from 1; `starts_s` is when, at the latest, it is started, open waits aside."""

    name: str
    image: str
    replicas: int
    wave: int
    starts_s: float
    open: bool
    """Whether an open wait is on the way to it."""


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The chain of services that starts last; each wait leads from one service to the next.

    `open_on` are the services that anything before its end, on the path or beside it, waits for without a bound.
    """

    services: tuple[str, ...]
    waits: tuple[Wait, ...]
    open_on: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return sum(wait.seconds for wait in self.waits)


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a whole stack. `waves` are names, those of one wave start together; nodes stand in the waves' order."""

    project: str
    nodes: tuple[Node, ...]
    waits: tuple[Wait, ...]
    waves: tuple[tuple[str, ...], ...]
    critical: CriticalPath


def start_of(project: Project, wanted: Sequence[str] = ()) -> Start:
    """The start of the enabled services, of `wanted` and what they need alone when there are any. NotFound, ComposeError (cycles)."""
    edges = [edge for edge in dependency_edges(project) if edge.source in project.services and edge.target in project.services]
    names = _reached(edges, [_known(project, name) for name in wanted]) if wanted else set(project.services)
    waits = tuple(_wait(edge, project.services[edge.target]) for edge in edges if edge.source in names)
    chosen = sorted(names)
    by_wave = waves(chosen, [wait.edge for wait in waits])
    return Start(project.name, _nodes(project, by_wave, waits), waits, by_wave, _critical(chosen, waits))


def _reached(edges: Collection[Edge], wanted: Iterable[str]) -> set[str]:
    """`wanted` and everything they need, at any distance."""
    needs: dict[str, list[str]] = {}
    for edge in edges:
        needs.setdefault(edge.source, []).append(edge.target)
    found: set[str] = set()
    pending = list(wanted)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += needs.get(name, ())
    return found


def _known(project: Project, name: str) -> str:
    if name in project.services:
        return name
    if name in project.disabled_services:
        profiles = ", ".join(project.disabled_services[name].profiles)
        raise NotFound(f"service {name} is not enabled", hint=f"it belongs to profile {profiles}: add --profile")
    raise NotFound(f"no such service: {name}", hint=f"the services are {', '.join(sorted(project.services)[:20])}")


def _wait(edge: Edge, target: Service) -> Wait:
    match edge.condition:
        case "service_healthy":
            check = target.healthcheck
            if check is None or not check.test:
                return Wait(edge, 0.0, True, "its healthcheck is the image's own")
            seconds, why = health_bound(check)
            return Wait(edge, seconds, False, why)
        case "service_completed_successfully":
            return Wait(edge, 0.0, True, "as long as it runs")
    return Wait(edge, 0.0, False, "")


def health_bound(check: Healthcheck) -> tuple[float, str]:
    """After how many seconds the health is decided at the latest, if no probe hangs, and the sum in words."""
    period, retries, interval = check.start_period_s or 0.0, check.retries or RETRIES, check.interval_s or INTERVAL_S
    why = f"{retries} × interval {plain_s(interval)}"
    return period + retries * interval, f"start_period {plain_s(period)} + {why}" if period else why


def plain_s(seconds: float) -> str:
    """95.0 → `1m35s`, 0.5 → `0.5s`, 3600.0 → `1h`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    rest = round(rest, 3)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{rest:g}s" if rest or seconds < 60 else ""]
    return "".join(parts)


def _nodes(project: Project, by_wave: Sequence[Sequence[str]], waits: Sequence[Wait]) -> tuple[Node, ...]:
    incoming: dict[str, list[Wait]] = {}
    for wait in waits:
        incoming.setdefault(wait.edge.source, []).append(wait)
    nodes: dict[str, Node] = {}
    for number, names in enumerate(by_wave, 1):
        for name in names:
            service = project.services[name]
            starts_s, is_open = _latest(nodes, incoming.get(name, ()))
            nodes[name] = Node(name, service.image, service.replicas, number, starts_s, is_open)
    return tuple(nodes.values())


def _latest(nodes: Mapping[str, Node], waits: Collection[Wait]) -> tuple[float, bool]:
    seconds = max((nodes[wait.edge.target].starts_s + wait.seconds for wait in waits), default=0.0)
    return seconds, any(wait.open or nodes[wait.edge.target].open for wait in waits)


def _critical(names: Sequence[str], waits: Sequence[Wait]) -> CriticalPath:
    """The longest by seconds; of equal ones that with more open waits, then with more services."""
    step = 2 * len(names) + 1
    by_ends = {(wait.edge.target, wait.edge.source): wait for wait in waits}
    lengths = {ends: round(wait.seconds * 1000) * step * step + wait.open * step + 1 for ends, wait in by_ends.items()}
    path = longest_path(names, lengths)
    before = _reached([wait.edge for wait in waits], path[-1:])
    open_on = {wait.edge.target for wait in waits if wait.open and wait.edge.source in before}
    return CriticalPath(path, tuple(by_ends[ends] for ends in pairwise(path)), tuple(sorted(open_on)))
