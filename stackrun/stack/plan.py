"""What is to be done, as a value: one small frozen class an action, joined to a graph by node numbers.

A plan decides nothing when it is carried out: every choice is in the actions, every order in `Node.after`.
`str(plan)` is the form that tests compare:

    1 []     Network shop_default: create (missing)
    2 [1]    Container shop-db-1: create (missing)
    3 [2]    Container shop-db-1: start
    4 [3]    Service db: wait until healthy
    5 [2 ~4] Container shop-web-1: start        ~4: after node 4 whatever its outcome
    6 [?5]   Container shop-web-1: remove       ?5: only when node 5 failed, or was skipped for a failure
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, NamedTuple, TypeAlias

from stackrun.api.types import ContainerSpec, NetworkSpec, VolumeSpec
from stackrun.stack.builds import Declared
from stackrun.units import format_duration


class Condition(StrEnum):
    """What a dependent waits for: the Compose Specification's three, and `--wait`'s own."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"
    READY = "running_or_healthy"


CONDITION_WORDS = {
    Condition.STARTED: "started",
    Condition.HEALTHY: "healthy",
    Condition.COMPLETED: "completed",
    Condition.READY: "ready",
}


class Words(NamedTuple):
    """What a person is shown while an action runs and when it is done; empty: nothing, it is part of a greater step."""

    working: str = ""
    done: str = ""


SILENT = Words()


class OfContainer:
    """An action about the container `name`."""

    __slots__ = ()
    name: str

    @property
    def resource(self) -> str:
        return f"Container {self.name}"


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    spec: NetworkSpec
    cause: str
    verb: ClassVar[str] = "create"

    @property
    def resource(self) -> str:
        return f"Network {self.spec.name}"

    @property
    def words(self) -> Words:
        return Words("Creating", "Created")


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    id: str
    name: str
    cause: str
    keep_in_use: bool = False
    """A network that others still use is left and named, no failure (Compose's `down`)."""
    verb: ClassVar[str] = "remove"

    @property
    def resource(self) -> str:
        return f"Network {self.name}"

    @property
    def words(self) -> Words:
        return Words("Removing", "Removed")


@dataclass(frozen=True, slots=True)
class CreateVolume:
    spec: VolumeSpec
    cause: str
    verb: ClassVar[str] = "create"

    @property
    def resource(self) -> str:
        return f"Volume {self.spec.name}"

    @property
    def words(self) -> Words:
        return Words("Creating", "Created")


@dataclass(frozen=True, slots=True)
class RemoveVolume:
    name: str
    cause: str
    keep_in_use: bool = False
    verb: ClassVar[str] = "remove"

    @property
    def resource(self) -> str:
        return f"Volume {self.name}"

    @property
    def words(self) -> Words:
        return Words("Removing", "Removed")


@dataclass(frozen=True, slots=True)
class PullImage:
    reference: str
    platform: str
    cause: str
    verb: ClassVar[str] = "pull"

    @property
    def resource(self) -> str:
        return f"Image {self.reference}"

    @property
    def words(self) -> Words:
        return Words("Pulling", "Pulled")


@dataclass(frozen=True, slots=True)
class BuildImage:
    """`pulls_first`: it may be in a registry, and is built only if it cannot be pulled.

    `arguments` go before the file's own, and do not count as a change.  `record`: where what it was built of is written down.
    """

    reference: str
    declared: Declared
    cause: str
    record: str = ""
    pulls_first: bool = False
    no_cache: bool = False
    pull: bool = False
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    verb: ClassVar[str] = "build"

    @property
    def service(self) -> str:
        return self.declared.build.service

    @property
    def resource(self) -> str:
        return f"Image {self.reference}"

    @property
    def words(self) -> Words:
        return Words("Building", "Built")


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A config or secret whose content has no file of its own, or asks for an owner or mode. Its path holds its content's hash.

    `live`: containers have it mounted while it changes (`on_change`), so its path stays and it is written in place.
    """

    path: str
    content: bytes = field(repr=False)
    mode: int
    uid: int
    gid: int
    label: str
    """`config nginx` or `secret token`: what a person knows it as."""
    cause: str = ""
    live: bool = False
    verb: ClassVar[str] = "write"

    @property
    def resource(self) -> str:
        return self.label.capitalize()

    @property
    def words(self) -> Words:
        return SILENT


@dataclass(frozen=True, slots=True)
class CreateContainer(OfContainer):
    """`name` is the final one; `temporary_name` is used while its predecessor still holds that name."""

    service: str
    name: str
    spec: ContainerSpec
    cause: str
    temporary_name: str = ""
    verb: ClassVar[str] = "create"

    @property
    def words(self) -> Words:
        return Words("Recreate", "") if self.temporary_name else Words("Creating", "Created")


@dataclass(frozen=True, slots=True)
class StartContainer(OfContainer):
    """`id` is empty for a container that this plan creates: then it is found by its final name.

    `beside`: the container whose published ports and aliases it waits for (`TakeOver`); empty: there is none.
    """

    service: str
    name: str
    id: str
    cause: str = ""
    beside: str = ""
    verb: ClassVar[str] = "start"

    @property
    def words(self) -> Words:
        return Words("Starting", "Started")


@dataclass(frozen=True, slots=True)
class StopContainer(OfContainer):
    name: str
    id: str
    cause: str
    timeout_s: float | None = None
    replaced: bool = False
    """Part of a recreation: a person is told of that alone."""
    verb: ClassVar[str] = "stop"

    @property
    def words(self) -> Words:
        return SILENT if self.replaced else Words("Stopping", "Stopped")


@dataclass(frozen=True, slots=True)
class RestartContainer(OfContainer):
    name: str
    id: str
    cause: str
    timeout_s: float | None = None
    verb: ClassVar[str] = "restart"

    @property
    def words(self) -> Words:
        return Words("Restarting", "Started")


@dataclass(frozen=True, slots=True)
class KillContainer(OfContainer):
    name: str
    id: str
    signal: str
    cause: str
    verb: ClassVar[str] = "kill"

    @property
    def words(self) -> Words:
        return Words("Killing", "Killed")


@dataclass(frozen=True, slots=True)
class SignalContainer(OfContainer):
    """Tells it that something it reads has changed; it is expected to run on."""

    name: str
    id: str
    signal: str
    cause: str
    verb: ClassVar[str] = "signal"

    @property
    def words(self) -> Words:
        return Words("Signalling", "Signalled")


@dataclass(frozen=True, slots=True)
class ExecInContainer(OfContainer):
    """The same by a command of its own, which must exit 0."""

    name: str
    id: str
    command: tuple[str, ...]
    cause: str
    verb: ClassVar[str] = "exec"

    @property
    def words(self) -> Words:
        return Words("Executing", "Executed")


@dataclass(frozen=True, slots=True)
class NoteContents(OfContainer):
    """Writes down which content of its live files a container has been told of, since its labels cannot be changed."""

    name: str
    id: str
    path: str
    contents: tuple[tuple[str, str], ...]
    """Where it is mounted → its digest."""
    cause: str = ""
    verb: ClassVar[str] = "note"

    @property
    def words(self) -> Words:
        return SILENT


@dataclass(frozen=True, slots=True)
class RemoveContainer(OfContainer):
    name: str
    id: str
    cause: str
    volumes: bool = False
    """Its anonymous volumes too."""
    replaced: bool = False
    verb: ClassVar[str] = "remove"

    @property
    def words(self) -> Words:
        return SILENT if self.replaced else Words("Removing", "Removed")


@dataclass(frozen=True, slots=True)
class RenameContainer(OfContainer):
    """The last step of a recreation. `id` is empty for a container that this plan creates."""

    name: str
    id: str
    cause: str = ""
    verb: ClassVar[str] = "rename"

    @property
    def words(self) -> Words:
        return Words("", "Recreated")


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Done when every container of the service meets the condition. `names` are those it will have.

    `timeout_s` counts from the beginning of the whole operation.  `optional`: a failure is told and stops nobody.
    """

    service: str
    condition: Condition
    names: tuple[str, ...]
    timeout_s: float | None = None
    cause: str = ""
    optional: bool = False

    @property
    def verb(self) -> str:
        return f"wait until {CONDITION_WORDS[self.condition]}"

    @property
    def resource(self) -> str:
        return f"Service {self.service}"

    @property
    def words(self) -> Words:
        return SILENT


@dataclass(frozen=True, slots=True)
class Monitor(OfContainer):
    """Done when a replacement is running, healthy if it has a healthcheck, and has stayed so for `monitor_s`.

    `name` is its final one, `watched` the one it has meanwhile; `on_failure` what then becomes of the update.
    """

    service: str
    name: str
    watched: str
    monitor_s: float = 0.0
    timeout_s: float | None = None
    on_failure: str = ""
    cause: str = ""
    verb: ClassVar[str] = "wait until ready"

    @property
    def words(self) -> Words:
        return SILENT


@dataclass(frozen=True, slots=True)
class TakeOver(OfContainer):
    """What waited since its start beside another leads to it now; the other has `drain_s` to finish what it has begun."""

    service: str
    name: str
    id: str
    drain_s: float
    ports: tuple[str, ...] = ()
    """`8080/tcp`, for a person."""
    cause: str = ""
    verb: ClassVar[str] = "take over"

    @property
    def words(self) -> Words:
        return Words("", "Took over")


@dataclass(frozen=True, slots=True)
class Pause(OfContainer):
    """Between two batches of an update. `name`: whoever is replaced after it."""

    service: str
    name: str
    delay_s: float
    cause: str = ""
    verb: ClassVar[str] = "pause"

    @property
    def words(self) -> Words:
        return SILENT


@dataclass(frozen=True, slots=True)
class Tally(OfContainer):
    """Fails when more than `allowed` of the replacements that end with the nodes `of` have failed."""

    service: str
    name: str
    of: tuple[int, ...]
    allowed: int
    total: int
    on_failure: str = ""
    cause: str = ""
    verb: ClassVar[str] = "count failures"

    @property
    def words(self) -> Words:
        return SILENT


Action: TypeAlias = (
    CreateNetwork | RemoveNetwork | CreateVolume | RemoveVolume | PullImage | BuildImage | WriteFile | CreateContainer | StartContainer
    | StopContainer | RestartContainer | KillContainer | SignalContainer | ExecInContainer | NoteContents | RemoveContainer
    | RenameContainer | WaitFor | Monitor | TakeOver | Pause | Tally
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """`after`: nodes that must have succeeded; `loosely_after`: nodes that must be over, whatever their outcome.

    `if_failed`: they must be over too, and when none of them failed there is nothing to do.
    """

    number: int
    action: Action
    after: tuple[int, ...] = ()
    loosely_after: tuple[int, ...] = ()
    if_failed: tuple[int, ...] = ()

    @property
    def waits_for(self) -> tuple[int, ...]:
        return (*self.after, *self.loosely_after, *(one for one in self.if_failed if one not in (*self.after, *self.loosely_after)))

    def __str__(self) -> str:
        edges = [*map(str, self.after), *(f"~{number}" for number in self.loosely_after), *(f"?{number}" for number in self.if_failed)]
        waits = " ".join(edges)
        text = described(self.action)
        return f"{self.number} [{waits}] {self.action.resource}: {text}{f' ({self.action.cause})' if self.action.cause else ''}"


def described(action: Action) -> str:
    """What it does, without its resource and its cause: `stop within 10s`."""
    text = action.verb
    match action:
        case BuildImage(pulls_first=True):
            text = f"pull, else {text}"
        case CreateContainer(temporary_name=temporary) if temporary:
            text += f" as {temporary}"
        case RemoveContainer(volumes=True):
            text += " with volumes"
        case KillContainer(signal=signal) | SignalContainer(signal=signal):
            text += f" by {signal}"
        case ExecInContainer(command=command):
            text += f" {' '.join(command)}"
        case StopContainer(timeout_s=float(limit_s)) | RestartContainer(timeout_s=float(limit_s)):
            text += f" within {format_duration(limit_s)}"
        case StartContainer(beside=beside) if beside:
            text += " beside the old one"
        case Monitor(monitor_s=monitor_s, timeout_s=limit_s):
            text += "" if limit_s is None else f" within {format_duration(limit_s)}"
            text += f" and for {format_duration(monitor_s)} after" if monitor_s else ""
        case TakeOver(ports=ports, drain_s=drain_s):
            text += f" {', '.join(ports)}, drain within {format_duration(drain_s)}" if ports else ""
        case Pause(delay_s=delay_s):
            text += f" for {format_duration(delay_s)}"
        case Tally(allowed=allowed, total=total):
            text += f": at most {allowed} of {total}"
        case WaitFor(optional=optional, timeout_s=limit_s):
            text += " if possible" if optional else ""
            text += "" if limit_s is None else f" within {format_duration(limit_s)}"
        case _:
            pass
    return text


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should know and that stops nothing."""

    resource: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"! {self.resource}: {self.message}"


@dataclass(frozen=True, slots=True)
class Settled:
    """A container that is as it should be: `text` is Compose's word for it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Nodes are numbered from 1 in an order in which they could be run one after another."""

    nodes: tuple[Node, ...] = ()
    notices: tuple[Notice, ...] = ()
    settled: tuple[Settled, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nodes)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.notices), *map(str, self.nodes)])


class Draft:
    """A plan being written: `add` gives the node's number, and a node can only wait for earlier ones, so there is no cycle."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self.notices: list[Notice] = []
        self.settled: list[Settled] = []

    def add(self, action: Action, after: Iterable[int] = (), loosely_after: Iterable[int] = (), if_failed: Iterable[int] = ()) -> int:
        number = len(self._nodes) + 1
        firmly, conditions = frozenset(after), frozenset(if_failed)
        loosely = frozenset(loosely_after) - firmly - conditions
        assert all(0 < one < number for one in firmly | loosely | conditions)
        self._nodes.append(Node(number, action, tuple(sorted(firmly)), tuple(sorted(loosely)), tuple(sorted(conditions))))
        return number

    def finished(self) -> Plan:
        return Plan(tuple(self._nodes), tuple(self.notices), tuple(self.settled))


def actions(plan: Plan) -> Sequence[Action]:
    return [node.action for node in plan.nodes]
