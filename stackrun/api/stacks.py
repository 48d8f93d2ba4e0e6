"""What can be done with a whole stack: the contract between a command line and the reconciler.

Our own daemon keeps it over HTTP (`/stackrun/v1/stacks/…`, one JSON object a line); for a Docker host the command line keeps it itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StackSource:
    """Where a stack's definition is found, as the command line was asked; paths are absolute or relative to `working_dir`."""

    working_dir: str
    files: tuple[str, ...] = ()
    """Empty: discover in `working_dir` and its parents."""
    project_name: str = ""
    project_directory: str = ""
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's process environment (never the daemon's)."""
    stdin: str | None = None
    """What `-f -` reads."""


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
    Pulling, Pulled, Running, Error.  `detail`: what it waits for, why it is recreated, or the error; `hint` goes with an error.
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


class Stacks(Protocol):
    """Faults of the definition are raised (ComposeError) before the iterator exists; then nothing has been done."""

    async def up(self, source: StackSource, options: UpOptions) -> AsyncIterator[StackEvent]: ...
    async def down(self, source: StackSource, options: DownOptions) -> AsyncIterator[StackEvent]:
        """Works by labels alone when `project_name` is given and no file is found."""
        ...

    async def start(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]: ...
    async def stop(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]: ...
    async def restart(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]: ...
    async def kill(self, source: StackSource, services: tuple[str, ...], signal: str) -> AsyncIterator[StackEvent]: ...
    async def pull(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]: ...
    async def stacks(self, *, all: bool = False) -> tuple[StackSummary, ...]: ...
