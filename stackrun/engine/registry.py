"""The containers this engine has, in memory: found by id, unique prefix or name.

Only the event loop's thread touches them, so what happens between two awaits is atomic.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace

from stackrun.api.types import AttachQuery, Container, ContainerState, Endpoint, ExitStatus, Status, WaitCondition
from stackrun.engine.record import Definition, Situation
from stackrun.errors import Conflict, InvalidArgument, NotFound
from stackrun.runtime.container import Handle

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ID_PREFIX = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True, slots=True)
class Waiter:
    condition: WaitCondition
    future: asyncio.Future[ExitStatus]


class Entry:
    """One container: its records and everything alive that belongs to it.

    `lock` is held across every change of its life cycle (start, exit, removal, networks); signals and reads do without.
    `ended` is set when the present run is over (it is a new one at each start); until the first start it is not set.
    `attached` are the runtime's ends of streams that were opened before there was a process.
    """

    __slots__ = (
        "attached", "definition", "ended", "exec_ids", "handle", "health", "leaving", "lock", "restart", "restart_delay_s", "situation",
        "waiters",
    )  # fmt: skip

    def __init__(self, definition: Definition, situation: Situation) -> None:
        self.definition = definition
        self.situation = situation
        self.lock = asyncio.Lock()
        self.handle: Handle | None = None
        self.ended = asyncio.Event()
        self.health: asyncio.Task[None] | None = None
        self.restart: asyncio.Task[None] | None = None
        self.restart_delay_s = 0.0
        self.waiters: list[Waiter] = []
        self.exec_ids: list[str] = []
        self.leaving = False
        """It is being killed in order to be removed: nobody may start it in between."""
        self.attached: list[tuple[socket.socket, AttachQuery]] = []

    @property
    def id(self) -> str:
        return self.definition.id

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def state(self) -> ContainerState:
        return self.situation.state

    @property
    def status(self) -> Status:
        return self.situation.state.status

    @property
    def alive(self) -> bool:
        """There is a process: running or paused."""
        return self.handle is not None and self.status in (Status.RUNNING, Status.PAUSED)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.situation.endpoints

    def with_state(self, **changes: object) -> Situation:
        return replace(self.situation, state=replace(self.situation.state, **changes))  # type: ignore[arg-type]

    def resolve(self, happened: WaitCondition, status: ExitStatus) -> None:
        """Tells everyone who waits for `happened`; a removal also ends every other wait."""
        kept = []
        for waiter in self.waiters:
            if waiter.condition is happened or happened is WaitCondition.REMOVED:
                if not waiter.future.done():
                    waiter.future.set_result(status)
            else:
                kept.append(waiter)
        self.waiters = kept

    def view(self, directory: str) -> Container:
        """What inspect tells; `directory` holds the container's files."""
        definition, situation = self.definition, self.situation
        if self.leaving and not self.state.running:
            situation = self.with_state(status=Status.REMOVING)
        return Container(
            id=definition.id,
            name=definition.name,
            created=definition.created,
            path=definition.path,
            args=definition.args,
            image_id=definition.image_id,
            spec=definition.spec,
            state=situation.state,
            mounts=definition.mounts,
            endpoints=situation.endpoints,
            ports=situation.ports,
            restart_count=situation.restart_count,
            log_path="" if definition.spec.log_config.driver == "none" else f"{directory}/{definition.id}-json.log",
            exec_ids=tuple(self.exec_ids),
            hosts_path=f"{directory}/hosts",
            hostname_path=f"{directory}/hostname",
            resolv_conf_path=f"{directory}/resolv.conf",
        )


class Registry:
    """Entries by id and by name. A name is reserved before its container exists, so that two creations cannot both win."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Its name is taken already by `reserve`."""
        self._entries[entry.id] = entry
        self._names[entry.name] = entry.id

    def remove(self, entry: Entry) -> None:
        self._entries.pop(entry.id, None)
        self.release(entry.name, entry.id)

    def reserve(self, name: str, container_id: str) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        holder = self._names.setdefault(name, container_id)
        if holder != container_id:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    def release(self, name: str, container_id: str) -> None:
        if self._names.get(name) == container_id:
            del self._names[name]

    def find(self, ref: str) -> Entry:
        """NotFound "No such container: x"; InvalidArgument when a prefix fits several."""
        bare = ref.removeprefix("/")
        entry = self._entries.get(bare) or self._entries.get(self._names.get(bare, ""))
        if entry is not None:
            return entry
        found = [one for key, one in self._entries.items() if key.startswith(bare)] if _ID_PREFIX.fullmatch(bare) else []
        if len(found) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {ref}")
        if not found:
            raise NotFound(f"No such container: {ref}")
        return found[0]

    def get(self, container_id: str) -> Entry | None:
        return self._entries.get(container_id)

    def using_volume(self, name: str) -> tuple[str, ...]:
        return tuple(one.id for one in self if any(mount.name == name for mount in one.definition.mounts))

    def on_network(self, network_id: str) -> tuple[tuple[Entry, Endpoint], ...]:
        """Who is on a network, each with its endpoint."""
        return tuple((one, endpoint) for one in self for endpoint in one.endpoints if endpoint.network_id == network_id)
