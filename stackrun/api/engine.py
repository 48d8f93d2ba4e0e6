"""The contract every engine keeps: our own, a Docker host over HTTP, a fake in tests.

Every method raises from `stackrun.errors`; the phrases clients search for ("No such container: x") are Docker's.
`ref` is an id, a unique prefix of one, or a name (with or without the leading slash).
A method that streams is a coroutine that returns an iterator: whatever can be refused (404, 400, 409) is raised before the
iterator exists, so that a server can still send a status.  Closing the iterator (`aclose`) ends the work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Protocol, runtime_checkable

from stackrun.api.archives import PathStat
from stackrun.api.builds import BuildSpec
from stackrun.api.history import HistoryEntry
from stackrun.api.types import (
    NO_FILTERS,
    AttachQuery,
    Container,
    ContainerSpec,
    Created,
    EndpointSpec,
    Event,
    Exec,
    ExecSpec,
    ExitStatus,
    Filters,
    Image,
    ImageDeletion,
    Info,
    LogLine,
    LogQuery,
    Network,
    NetworkSpec,
    Output,
    ProcessTable,
    Progress,
    RegistryAuth,
    Resources,
    RestartPolicy,
    Version,
    Volume,
    VolumeSpec,
    WaitCondition,
)


class Stream(Protocol):
    """An attached process: read its output by iterating, write its input.

    The iterator ends when the process's output has ended.  `close_stdin` is a half-close: the process sees EOF and its output goes on.
    `close` detaches; it never stops the process.
    """

    tty: bool

    def __aiter__(self) -> AsyncIterator[Output]: ...
    async def write(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def close(self) -> None: ...


class ContainerEngine(Protocol):
    async def containers(self, *, all: bool = False, filters: Filters = NO_FILTERS, size: bool = False) -> tuple[Container, ...]:
        """Newest first. Without `all`, the running ones (unless a `status` filter says otherwise)."""
        ...

    async def container(self, ref: str, *, size: bool = False) -> Container: ...

    async def create_container(self, name: str, spec: ContainerSpec) -> Created:
        """`name` empty: one is made. NotFound "No such image: x", Conflict when the name is taken."""
        ...

    async def start_container(self, ref: str) -> None:
        """NotModified when it runs already."""
        ...

    async def stop_container(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        """Stop signal, grace period, SIGKILL; returns when it has exited. NotModified when it is not running. -1: wait for ever."""
        ...

    async def restart_container(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None: ...
    async def kill_container(self, ref: str, signal: str = "SIGKILL") -> None: ...
    async def pause_container(self, ref: str) -> None: ...
    async def unpause_container(self, ref: str) -> None: ...
    async def rename_container(self, ref: str, name: str) -> None: ...
    async def update_container(self, ref: str, resources: Resources | None, restart_policy: RestartPolicy | None) -> tuple[str, ...]:
        """Returns warnings."""
        ...

    async def remove_container(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """`volumes` also removes its anonymous volumes."""
        ...

    async def wait_container(self, ref: str, condition: WaitCondition = WaitCondition.NOT_RUNNING) -> Awaitable[ExitStatus]:
        """Returns once the wait is registered (nothing that happens after is missed); await the result for the exit."""
        ...

    async def resize_container(self, ref: str, *, rows: int, columns: int) -> None: ...
    async def attach_container(self, ref: str, query: AttachQuery) -> Stream:
        """May come before `start`: nothing the process prints afterwards is missed."""
        ...

    async def container_logs(self, ref: str, query: LogQuery) -> AsyncIterator[LogLine]: ...
    async def container_top(self, ref: str, ps_args: str = "-ef") -> ProcessTable: ...

    async def path_stat(self, ref: str, path: str) -> PathStat:
        """Of a path in a container, running or not. NotFound "Could not find the file /x in container y"."""
        ...

    async def get_archive(self, ref: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """A tar of what is at `path`, called by its last component; `x/` and `x/.` follow a link."""
        ...

    async def put_archive(
        self, ref: str, path: str, archive: AsyncIterator[bytes], *, same_kind: bool = False, to_user: bool = False
    ) -> None:
        """Extracts a tar, plain or gzip, into the directory `path`; InvalidArgument when that is mounted read-only.

        `same_kind`: a directory does not give way to something else, nor the other way round. `to_user`: everything belongs to the
        container's user rather than to whom the archive says.
        """
        ...

    async def remove_files(self, ref: str, paths: tuple[str, ...]) -> None:
        """Removes what is at these paths of a container, with all below; what is not there is no fault.

        Unsupported where the engine is not ours: Docker's API has no such thing.
        """
        ...

    async def create_exec(self, ref: str, spec: ExecSpec) -> str: ...
    async def start_exec(self, exec_id: str, *, tty: bool = False, rows: int = 0, columns: int = 0) -> Stream:
        """Attached start. A command that does not exist is text in the stream and exit code 126 or 127."""
        ...

    async def start_exec_detached(self, exec_id: str) -> None: ...
    async def exec(self, exec_id: str) -> Exec: ...
    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None: ...


class ImageEngine(Protocol):
    async def images(self, *, all: bool = False, filters: Filters = NO_FILTERS) -> tuple[Image, ...]: ...
    async def image(self, ref: str) -> Image:
        """NotFound "No such image: x:latest"."""
        ...

    async def pull_image(self, ref: str, *, auth: RegistryAuth | None = None, platform: str = "") -> AsyncIterator[Progress]: ...
    async def load_image(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        """A docker-archive or an OCI layout, as a tar, plain or gzip. The last line's `stream` is "Loaded image: x:tag\\n"."""
        ...

    async def import_image(
        self, archive: AsyncIterator[bytes], *, reference: str = "", message: str = "", changes: tuple[str, ...] = ()
    ) -> AsyncIterator[Progress]:
        """A tar of a root file system becomes an image of one layer. The last line's `status` is its id."""
        ...

    async def build_image(self, context: AsyncIterator[bytes], spec: BuildSpec) -> AsyncIterator[Progress]:
        """`context` is a tar, plain or compressed.  The lines are those of Docker's classic builder; the last but one has `aux` {"ID": …}.

        A failure after the first line is raised from the iterator: BuildFailed when a command's code was not 0.  Closing the iterator
        ends the build; neither leaves a container, a layer or a file.  Unsupported for `contexts` and `secrets` where the engine is
        not ours.
        """
        ...

    async def prune_builds(self) -> int:
        """Empties the cache of builds; gives the bytes that this has freed."""
        ...

    async def image_history(self, ref: str) -> tuple[HistoryEntry, ...]:
        """The last step first."""
        ...

    async def tag_image(self, ref: str, reference: str) -> None: ...
    async def remove_image(self, ref: str, *, force: bool = False) -> tuple[ImageDeletion, ...]: ...


class NetworkEngine(Protocol):
    async def networks(self, *, filters: Filters = NO_FILTERS) -> tuple[Network, ...]: ...
    async def network(self, ref: str) -> Network:
        """With its members."""
        ...

    async def create_network(self, spec: NetworkSpec) -> Created: ...
    async def remove_network(self, ref: str) -> None:
        """Forbidden while endpoints are active."""
        ...

    async def connect_network(self, ref: str, container: str, endpoint: EndpointSpec) -> None: ...
    async def disconnect_network(self, ref: str, container: str, *, force: bool = False) -> None: ...


class VolumeEngine(Protocol):
    async def volumes(self, *, filters: Filters = NO_FILTERS) -> tuple[Volume, ...]: ...
    async def volume(self, name: str) -> Volume: ...
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        """Idempotent: the volume of that name is returned when it is there."""
        ...

    async def remove_volume(self, name: str, *, force: bool = False) -> None: ...


@runtime_checkable
class HandsOver(Protocol):
    """What our engine can beyond Docker's API: one container takes another's place, and no connection notices.

    An engine that lacks it (`isinstance`) can have one container alone for a published port, and stops that first.
    """

    async def start_container_beside(self, ref: str, other: str) -> None:
        """As `start_container`; host ports that both publish, and the aliases on networks, stay with `other` until `take_over`.

        If `other` ends before that, or does not run, there is nothing to wait for.
        """
        ...

    async def take_over(self, ref: str, *, drain_s: float) -> None:
        """All at once. Connections to the other that are under way go on; returns when they have ended, or `drain_s` later."""
        ...


@runtime_checkable
class Foresees(Protocol):
    """An engine that can say before a container is made what it will not have of what was asked for."""

    def shortfalls(self, spec: ContainerSpec) -> tuple[str, ...]:
        """The warnings of `create_container`, each in one line."""
        ...


class Engine(ContainerEngine, ImageEngine, NetworkEngine, VolumeEngine, Protocol):
    async def version(self) -> Version: ...
    async def info(self) -> Info: ...
    async def events(self, *, since_s: float = 0.0, until_s: float = 0.0, filters: Filters = NO_FILTERS) -> AsyncGenerator[Event, None]:
        """Registered on return: what happens afterwards is not missed. `until_s` 0: for ever."""
        ...
