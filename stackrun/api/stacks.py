"""What can be done with a whole stack: the contract between a command line and the reconciler.

Our own daemon keeps it over HTTP (`/stackrun/v1/stacks/…`, one JSON object a line); for a Docker host the command line keeps it itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from stackrun.api.drift import DriftOptions, DriftReport
from stackrun.api.stack_source import StackSource as StackSource


@dataclass(frozen=True, slots=True)
class UpOptions:
    services: tuple[str, ...] = ()
    """Empty: all. Dependencies come along unless `no_deps`."""
    force_recreate: bool = False
    no_recreate: bool = False
    no_deps: bool = False
    no_start: bool = False
    remove_orphans: bool = False
    renew_anonymous_volumes: bool = False
    pull: str = ""
    """always, missing, never; empty takes each service's pull_policy."""
    scale: Mapping[str, int] = field(default_factory=dict)
    timeout_s: float | None = None
    wait: bool = False
    wait_timeout_s: float | None = None
    keep: bool = True
    """Whether the stack is kept in its declared state afterwards."""
    by: str = ""
    """Who asks, for `Decision.by`: watch, rollback; empty: a person, by `up`."""
    atomic: bool = False
    """A failed one returns by itself to the last revision, or removes what it made when nothing was up before. Implies `wait`."""
    revision: int = 0
    """Not the file but this revision; -1: the one to go back to. Of the source, its name alone counts then."""
    revert: bool = False
    """Not the file: what an `up` that was interrupted has changed is taken back, as an atomic one that fails does it by itself.

    Of the source, its name alone counts then, and of the options the time limits and `keep`.
    """
    seal: Mapping[str, str] = field(default_factory=dict)
    """`StackPlan.seal` of a plan that was looked at: `up` is refused (Conflict) unless it would still do exactly that."""
    build: str = ""
    """always, never; empty: images that are missing, and those that would be built of something else than they were."""
    unbuilt: tuple[str, ...] = ()
    """Services whose image counts as it is, though it would be built of something else now."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """`arguments` go before those of the file."""

    services: tuple[str, ...] = ()
    """Empty: all that have a build."""
    with_dependencies: bool = False
    no_cache: bool = False
    pull: bool = False
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DownOptions:
    volumes: bool = False
    remove_orphans: bool = False
    timeout_s: float | None = None
    services: tuple[str, ...] = ()


class Phase(StrEnum):
    """Where one resource stands in an operation."""

    PLANNED = "planned"
    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One step of a stack's operation.

    `resource` is Docker Compose's wording: "Network shop_default", "Container shop-db-1", "Volume shop_data", "Image nginx:1.27";
    `text` its state: Creating, Created, Recreate, Starting, Started, Waiting, Healthy, Exited, Stopping, Stopped, Removing, Removed,
    Pulling, Pulled, Building, Built, Running, Error.  `detail`: what it waits for, why it is recreated, what its build says, or the error;
    `hint` goes with an error.
    The last event of an operation has an empty resource; `phase` DONE or FAILED tells its outcome.
    """

    resource: str
    phase: Phase
    text: str
    detail: str = ""
    hint: str = ""
    current: int = 0
    total: int = 0
    exit_code: int = 0
    """On the last event: the process's exit code."""


@dataclass(frozen=True, slots=True)
class StackSummary:
    name: str
    status: str
    """Docker Compose's wording: running(3), exited(1)."""
    config_files: tuple[str, ...]


class Symbol(StrEnum):
    """What becomes of a resource."""

    CREATE = "+"
    CHANGE = "~"
    """It stays and is started, stopped, renamed, told."""
    REPLACE = "-/+"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a resource. `before` None: it was not there; `after` None: it goes. Secret values are never here."""

    field: str
    """In the stack file's words: `environment.LOG`, `ports.80/tcp`."""
    before: str | None = None
    after: str | None = None
    place: str = ""
    """`file:line:column` of what declares the new value, or of the nearest parent when it goes; empty: no file does."""


SUPERSEDED = "superseded"
"""The cause of removing a container whose successor is there already: a replacement that was cut short is brought to its end."""


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """Everything that a plan does to one resource."""

    symbol: Symbol
    resource: str
    """As in StackEvent: "Container shop-db-1", "Image nginx:1.27"."""
    cause: str
    steps: tuple[str, ...] = ()
    """In their order: create, stop within 10s, remove, rename, start."""
    changes: tuple[FieldChange, ...] = ()
    waits_for: tuple[str, ...] = ()
    """`db healthy`, `Network shop_default`."""
    destroys: tuple[str, ...] = ()
    """What is lost by it; empty: nothing that cannot be made again."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What `up` would do, for a person to read and for `up` to hold on to. Nothing has been done for it."""

    project: str
    actions: tuple[PlannedAction, ...] = ()
    """In an order in which they could be done."""
    notices: tuple[StackEvent, ...] = ()
    """Warnings of the file and of what was found, as `up` would tell them."""
    waits: tuple[str, ...] = ()
    """What `--wait` waits for in the end."""
    unchanged: tuple[str, ...] = ()
    seal: Mapping[str, str] = field(default_factory=dict)
    """Everything that the plan depends on, by name, and the plan itself as a digest."""

    def count(self, symbol: Symbol) -> int:
        """Without images, which are pulled or built."""
        return sum(one.symbol is symbol and not one.resource.startswith("Image ") for one in self.actions)

    @property
    def summary(self) -> str:
        """`plan: 2 to create, 1 to replace, 0 to remove; 7 unchanged`; pulls and changes in place when there are any."""
        images = [one for one in self.actions if one.resource.startswith("Image ")]
        builds = sum("build" in step for one in images for step in one.steps)
        changes = self.count(Symbol.CHANGE)
        words = [
            *([f"{len(images) - builds} to pull"] if len(images) > builds else []),
            *([f"{builds} to build"] if builds else []),
            f"{self.count(Symbol.CREATE)} to create",
            *([f"{changes} to change"] if changes else []),
            f"{self.count(Symbol.REPLACE)} to replace",
            f"{self.count(Symbol.REMOVE)} to remove",
        ]
        return f"plan: {', '.join(words)}; {len(self.unchanged)} unchanged"


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What differs about one thing that a stack declares: "Service web", "Network shop_back", "Volume shop_data"."""

    symbol: Symbol
    resource: str
    changes: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class StateDifference:
    """Two states that a stack was or is declared to be."""

    project: str
    before: str
    """`revision 3`."""
    after: str
    """`revision 4`, or `the file`."""
    resources: tuple[ResourceChange, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionEntry:
    number: int
    time_s: float = 0.0
    """Since the epoch."""
    how: str = ""
    """`up`, `up web`, `watch`, `rollback to 3`."""
    changed: str = ""
    """Against the one before, in a line: `web image 1 → 2, +cache`."""
    current: bool = False
    """The stack is up and was last brought to exactly this."""
    fault: str = ""
    """Why it cannot be read; then the rest is not known."""


@dataclass(frozen=True, slots=True)
class History:
    project: str
    revisions: tuple[RevisionEntry, ...] = ()
    """Oldest first."""
    unfinished: str = ""
    """What began to change the stack after the last of them and did not come to its good end: `up`, `rollback to 3`."""
    unfinished_s: float = 0.0
    """When that began."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that was done with a resource of a stack, or happened to it, and why."""

    time_s: float
    """Since the epoch; of the last time, when it happened more than once."""
    service: str
    """Empty: it belongs to the stack as a whole."""
    resource: str
    """As in StackEvent: "Container shop-db-1"."""
    did: str
    """restarted, created, recreated, started, stopped, removed, held, gave up, failed, skipped, died, …"""
    cause: str
    detail: str = ""
    """The error, or the last lines of the log."""
    by: str = "up"
    """Who: a command (up, down, restart, watch, rollback), the keeper (keep), the engine (policy), somebody else (outside)."""
    times: int = 1
    since_s: float = 0.0
    """The first of several times."""

    @property
    def first_s(self) -> float:
        return self.since_s or self.time_s


@dataclass(frozen=True, slots=True)
class Standing:
    """One container of a service, as the engine knows it now."""

    name: str
    id: str
    status: str
    """created, running, paused, restarting, exited, dead."""
    since_s: float = 0.0
    """When it started or ended; 0: it never ran."""
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    """Why it could not start."""
    restart_policy: str = ""
    """`on-failure:3`; empty: none."""
    restart_count: int = 0
    health: str = ""
    """starting, healthy, unhealthy; empty: it has no healthcheck."""
    probe: str = ""
    """What the last probe said, unless it succeeded."""
    waits: tuple[str, ...] = ()
    """What it waits for, when it does not run: `db to be healthy (its health is starting)`."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why a service is as it is."""

    project: str
    service: str
    containers: tuple[Standing, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """Oldest first."""
    waits: tuple[str, ...] = ()
    """What the keeper waits for before it starts it: `db to be healthy`, `4 s to pass`; empty when nothing is wrong."""
    notes: tuple[str, ...] = ()
    """What could not be known."""


@dataclass(frozen=True, slots=True)
class ChangeQuery:
    """Which changes. Times are seconds since the epoch; without either, those to come."""

    services: tuple[str, ...] = ()
    """Empty: all, and what belongs to the stack as a whole."""
    since_s: float = 0.0
    until_s: float = 0.0
    """0: for ever."""
    all: bool = False
    """Of every stack; then the source is not looked at."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a stack: an event of the engine, or a decision of ours (`type` stack)."""

    time_ns: int
    type: str
    """container, network, volume, stack."""
    action: str
    """Docker's word, or `Decision.did`."""
    id: str
    """The engine's; of a decision its resource."""
    project: str
    service: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Without Compose's own labels; of a decision its by, cause, detail, times."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How a stack is kept in its declared state."""

    project: str
    kept: bool = True
    stopped: tuple[str, ...] = ()
    """Services that were stopped on purpose, and stay so until they are started."""
    held: tuple[str, ...] = ()
    """Services that the last `up` could not bring up: they wait for the next one."""
    resting: Mapping[str, float] = field(default_factory=dict)
    """Services that fell again and again → seconds until they are brought back."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Services that do not run → what they wait for: `db to be healthy`."""


class Stacks(Protocol):
    """Faults of the definition are raised (ComposeError) before the iterator exists; then nothing has been done."""

    async def plan(self, source: StackSource, options: UpOptions) -> StackPlan:
        """What `up` would do with the same arguments, without doing anything."""
        ...

    async def up(self, source: StackSource, options: UpOptions) -> AsyncIterator[StackEvent]: ...
    async def history(self, source: StackSource) -> History:
        """Like `diff` and an `up` of a revision, it works when `project_name` is given and the file is broken or gone."""
        ...

    async def diff(self, source: StackSource, before: int, after: int) -> StateDifference:
        """Two revisions by number. `before` 0: the last one; `after` 0: the file as it is now."""
        ...

    async def drift(self, source: StackSource, options: DriftOptions) -> DriftReport:
        """What is otherwise than declared, in the engine and in its kernel; repaired when that is asked for."""
        ...

    async def down(self, source: StackSource, options: DownOptions) -> AsyncIterator[StackEvent]:
        """Works by labels alone when `project_name` is given and no file is found."""
        ...

    async def start(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]: ...
    async def stop(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]: ...
    async def restart(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]: ...
    async def kill(self, source: StackSource, services: tuple[str, ...], signal: str) -> AsyncIterator[StackEvent]: ...
    async def pull(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]: ...
    async def build(self, source: StackSource, options: BuildOptions) -> AsyncIterator[StackEvent]:
        """Images alone: no container is made or replaced."""
        ...

    async def keep(self, source: StackSource, on: bool | None) -> Keep:
        """Whether and how the stack is kept; `on` switches it first. Unsupported where nobody could: for a foreign engine."""
        ...

    async def stacks(self, *, all: bool = False) -> tuple[StackSummary, ...]: ...
    async def why(self, source: StackSource, service: str, limit: int = 100) -> Reasons:
        """With the last `limit` decisions. NotFound "no such service: x" for one that neither runs nor ever did."""
        ...

    async def changes(self, source: StackSource, query: ChangeQuery) -> AsyncIterator[Change]: ...
