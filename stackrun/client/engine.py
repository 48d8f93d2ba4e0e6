"""The Engine contract over HTTP: our own daemon's, or any Docker engine's from API 1.24 on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from stackrun.api import filters as docker_filters
from stackrun.api.archives import PathStat
from stackrun.api.builds import BuildSpec
from stackrun.api.history import HistoryEntry
from stackrun.api.routes import as_numbers
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
from stackrun.api.wire import archives, builds, containers, images, networks, specs, system
from stackrun.client.address import TlsFiles
from stackrun.client.async_http import AsyncResponse, AsyncTransport
from stackrun.client.streams import HttpStream, log_lines
from stackrun.errors import NotFound, Unsupported

_T = TypeVar("_T")
_AT_ONCE = 16
"""How many objects are inspected at a time."""
_MANY_ENDPOINTS_SINCE = (1, 44)
_NAMED_STREAMS_SINCE = (1, 42)
_MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
_TAR = (("Content-Type", "application/x-tar"),)


class HttpEngine:
    """`host` as in client.http.Transport.  The API version is agreed on at the first call."""

    def __init__(self, host: str, *, tls: TlsFiles | None = None) -> None:
        self._transport = AsyncTransport(host, tls=tls)
        self._agreeing: asyncio.Lock | None = None

    async def __aenter__(self) -> HttpEngine:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def _agree(self) -> None:
        if self._transport.api_version:
            return
        self._agreeing = self._agreeing or asyncio.Lock()
        async with self._agreeing:
            if not self._transport.api_version:
                await self._transport.negotiate()

    async def _json(self, method: str, path: str, query: dict[str, object] | None = None, payload: object = None) -> Any:
        await self._agree()
        return await self._transport.json(method, path, query=query, payload=payload)

    async def _request(self, method: str, path: str, query: dict[str, object] | None = None, **more: Any) -> AsyncResponse:
        await self._agree()
        return await self._transport.request(method, path, query=query, **more)

    def _speaks(self, version: tuple[int, int]) -> bool:
        return as_numbers(self._transport.api_version) >= version

    # --- containers

    async def containers(self, *, all: bool = False, filters: Filters = NO_FILTERS, size: bool = False) -> tuple[Container, ...]:
        """The list form lacks most of a container, so each one is inspected; those that vanish meanwhile are left out."""
        found = await self._json("GET", "/containers/json", {"all": all, "filters": docker_filters.to_json(filters)})
        return await _each([one["Id"] for one in found], lambda ref: self.container(ref, size=size))

    async def container(self, ref: str, *, size: bool = False) -> Container:
        return containers.container_from_json(await self._json("GET", f"/containers/{_ref(ref)}/json", {"size": size or None}))

    async def create_container(self, name: str, spec: ContainerSpec) -> Created:
        await self._agree()
        body, later = (specs.create_body(spec), ()) if self._speaks(_MANY_ENDPOINTS_SINCE) else _first_endpoint(spec)
        created = containers.created_from_json(await self._json("POST", "/containers/create", {"name": name or None}, body))
        try:
            for endpoint in later:
                await self.connect_network(endpoint.network, created.id, endpoint)
        except BaseException:
            await asyncio.shield(self.remove_container(created.id, force=True, volumes=True))
            raise
        return created

    async def _act(self, ref: str, verb: str, query: dict[str, object] | None = None) -> None:
        await self._json("POST", f"/containers/{_ref(ref)}/{verb}", query)

    async def start_container(self, ref: str) -> None:
        await self._act(ref, "start")

    async def stop_container(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        await self._act(ref, "stop", _grace(timeout_s, signal))

    async def restart_container(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        await self._act(ref, "restart", _grace(timeout_s, signal))

    async def kill_container(self, ref: str, signal: str = "SIGKILL") -> None:
        await self._act(ref, "kill", {"signal": signal})

    async def pause_container(self, ref: str) -> None:
        await self._act(ref, "pause")

    async def unpause_container(self, ref: str) -> None:
        await self._act(ref, "unpause")

    async def rename_container(self, ref: str, name: str) -> None:
        await self._act(ref, "rename", {"name": name})

    async def update_container(self, ref: str, resources: Resources | None, restart_policy: RestartPolicy | None) -> tuple[str, ...]:
        told = await self._json("POST", f"/containers/{_ref(ref)}/update", None, specs.update_to_json(resources, restart_policy))
        return tuple(told.get("Warnings") or ())

    async def remove_container(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        await self._json("DELETE", f"/containers/{_ref(ref)}", {"force": force, "v": volumes})

    async def wait_container(self, ref: str, condition: WaitCondition = WaitCondition.NOT_RUNNING) -> Awaitable[ExitStatus]:
        """The answer's head tells that the wait is registered, its body the exit."""
        response = await self._request("POST", f"/containers/{_ref(ref)}/wait", {"condition": str(condition)})
        return asyncio.ensure_future(_exit(response))

    async def resize_container(self, ref: str, *, rows: int, columns: int) -> None:
        await self._act(ref, "resize", {"h": rows, "w": columns})

    async def attach_container(self, ref: str, query: AttachQuery) -> HttpStream:
        await self._agree()
        tty = None if self._speaks(_NAMED_STREAMS_SINCE) else (await self.container(ref)).spec.tty
        asked = dict(containers.attach_query_to_query(query))
        return await self._attached(f"/containers/{_ref(ref)}/attach", asked, None, tty)

    async def _attached(self, path: str, query: dict[str, object] | None, payload: object, tty: bool | None) -> HttpStream:
        """`tty` None: the answer's Content-Type tells it."""
        wire, early, head = await self._transport.hijack("POST", path, query=query, payload=payload)
        return HttpStream(wire, early, tty=head.headers.get("content-type") != _MULTIPLEXED if tty is None else tty)

    async def container_logs(self, ref: str, query: LogQuery) -> AsyncIterator[LogLine]:
        await self._agree()
        tty = (await self.container(ref)).spec.tty
        response = await self._request("GET", f"/containers/{_ref(ref)}/logs", containers.log_query_to_query(query))
        return log_lines(response, tty=tty)

    async def container_top(self, ref: str, ps_args: str = "-ef") -> ProcessTable:
        return containers.processes_from_json(await self._json("GET", f"/containers/{_ref(ref)}/top", {"ps_args": ps_args}))

    async def path_stat(self, ref: str, path: str) -> PathStat:
        response = await self._request("HEAD", f"/containers/{_ref(ref)}/archive", {"path": path})
        await response.read()
        return archives.from_header(response.headers.get(archives.HEADER.lower(), ""))

    async def get_archive(self, ref: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        response = await self._request("GET", f"/containers/{_ref(ref)}/archive", {"path": path})
        return archives.from_header(response.headers.get(archives.HEADER.lower(), "")), response.pieces()

    async def put_archive(
        self, ref: str, path: str, archive: AsyncIterator[bytes], *, same_kind: bool = False, to_user: bool = False
    ) -> None:
        query: dict[str, object] = {"path": path, "noOverwriteDirNonDir": same_kind or None, "copyUIDGID": to_user or None}
        response = await self._request("PUT", f"/containers/{_ref(ref)}/archive", query, body=archive, headers=_TAR)
        await response.read()

    async def remove_files(self, ref: str, paths: tuple[str, ...]) -> None:
        try:
            await self._json("POST", f"/stackrun/v1/containers/{_ref(ref)}/removals", None, {"paths": list(paths)})
        except NotFound as error:
            if "page not found" not in error.message:
                raise
            raise Unsupported("this engine cannot remove files of a container") from error

    async def create_exec(self, ref: str, spec: ExecSpec) -> str:
        told = await self._json("POST", f"/containers/{_ref(ref)}/exec", None, containers.exec_spec_to_json(spec))
        return str(told["Id"])

    async def start_exec(self, exec_id: str, *, tty: bool = False, rows: int = 0, columns: int = 0) -> HttpStream:
        await self._agree()
        size = {"ConsoleSize": [rows, columns]} if tty and rows and columns else {}
        known = None if self._speaks(_NAMED_STREAMS_SINCE) else tty
        return await self._attached(f"/exec/{exec_id}/start", None, {"Detach": False, "Tty": tty, **size}, known)

    async def start_exec_detached(self, exec_id: str) -> None:
        await self._json("POST", f"/exec/{exec_id}/start", None, {"Detach": True})

    async def exec(self, exec_id: str) -> Exec:
        return containers.exec_from_json(await self._json("GET", f"/exec/{exec_id}/json"))

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None:
        await self._json("POST", f"/exec/{exec_id}/resize", {"h": rows, "w": columns})

    # --- images

    async def images(self, *, all: bool = False, filters: Filters = NO_FILTERS) -> tuple[Image, ...]:
        found = await self._json("GET", "/images/json", {"all": all, "filters": docker_filters.to_json(filters)})
        return await _each([one["Id"] for one in found], self.image)

    async def image(self, ref: str) -> Image:
        return images.image_from_json(await self._json("GET", f"/images/{ref}/json"))

    async def pull_image(self, ref: str, *, auth: RegistryAuth | None = None, platform: str = "") -> AsyncIterator[Progress]:
        repository, tag = _split_reference(ref)
        query: dict[str, object] = {"fromImage": repository, "tag": tag, "platform": platform or None}
        return _progress(await self._request("POST", "/images/create", query, headers=(("X-Registry-Auth", images.auth_to_header(auth)),)))

    async def load_image(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        return _progress(await self._request("POST", "/images/load", {"quiet": True}, body=archive, headers=_TAR))

    async def import_image(
        self, archive: AsyncIterator[bytes], *, reference: str = "", message: str = "", changes: tuple[str, ...] = ()
    ) -> AsyncIterator[Progress]:
        repository, tag = _split_reference(reference) if reference else ("", "")
        query: dict[str, object] = {
            "fromSrc": "-", "repo": repository or None, "tag": tag or None, "message": message or None, "changes": changes,
        }  # fmt: skip
        return _progress(await self._request("POST", "/images/create", query, body=archive, headers=_TAR))

    async def build_image(self, context: AsyncIterator[bytes], spec: BuildSpec) -> AsyncIterator[Progress]:
        await self._agree()
        if (spec.contexts or spec.secrets) and not self._transport.is_ours:
            what = "secrets" if spec.secrets else "named contexts"
            raise Unsupported(f"building with {what} is beyond Docker's classic builder, which this engine has",
                              hint="build it on stackrun's own engine, or without them")  # fmt: skip
        query, headers = builds.spec_to_query(spec), builds.spec_to_headers(spec)
        return _build_lines(await self._request("POST", "/build", query, body=context, headers=(*_TAR, *headers)))

    async def prune_builds(self) -> int:
        return int((await self._json("POST", "/build/prune", {"all": True})).get("SpaceReclaimed") or 0)

    async def image_history(self, ref: str) -> tuple[HistoryEntry, ...]:
        return images.history_from_json(await self._json("GET", f"/images/{ref}/history"))

    async def tag_image(self, ref: str, reference: str) -> None:
        repository, tag = _split_reference(reference)
        await self._json("POST", f"/images/{ref}/tag", {"repo": repository, "tag": tag})

    async def remove_image(self, ref: str, *, force: bool = False) -> tuple[ImageDeletion, ...]:
        return images.deletions_from_json(await self._json("DELETE", f"/images/{ref}", {"force": force}))

    # --- networks and volumes

    async def networks(self, *, filters: Filters = NO_FILTERS) -> tuple[Network, ...]:
        found = await self._json("GET", "/networks", {"filters": docker_filters.to_json(filters)})
        return tuple(networks.network_from_json(one) for one in found)

    async def network(self, ref: str) -> Network:
        return networks.network_from_json(await self._json("GET", f"/networks/{_ref(ref)}"))

    async def create_network(self, spec: NetworkSpec) -> Created:
        return containers.created_from_json(await self._json("POST", "/networks/create", None, networks.network_spec_to_json(spec)))

    async def remove_network(self, ref: str) -> None:
        await self._json("DELETE", f"/networks/{_ref(ref)}")

    async def connect_network(self, ref: str, container: str, endpoint: EndpointSpec) -> None:
        await self._json("POST", f"/networks/{_ref(ref)}/connect", None, networks.connect_to_json(container, endpoint))

    async def disconnect_network(self, ref: str, container: str, *, force: bool = False) -> None:
        await self._json("POST", f"/networks/{_ref(ref)}/disconnect", None, {"Container": container, "Force": force})

    async def volumes(self, *, filters: Filters = NO_FILTERS) -> tuple[Volume, ...]:
        found = await self._json("GET", "/volumes", {"filters": docker_filters.to_json(filters)})
        return tuple(networks.volume_from_json(one) for one in found.get("Volumes") or ())

    async def volume(self, name: str) -> Volume:
        return networks.volume_from_json(await self._json("GET", f"/volumes/{_ref(name)}"))

    async def create_volume(self, spec: VolumeSpec) -> Volume:
        return networks.volume_from_json(await self._json("POST", "/volumes/create", None, networks.volume_spec_to_json(spec)))

    async def remove_volume(self, name: str, *, force: bool = False) -> None:
        await self._json("DELETE", f"/volumes/{_ref(name)}", {"force": force})

    # --- the engine itself

    async def version(self) -> Version:
        return system.version_from_json(await self._json("GET", "/version"))

    async def info(self) -> Info:
        return system.info_from_json(await self._json("GET", "/info"))

    async def events(self, *, since_s: float = 0.0, until_s: float = 0.0, filters: Filters = NO_FILTERS) -> AsyncGenerator[Event, None]:
        query: dict[str, object] = {
            "since": f"{since_s:.9f}" if since_s else None, "until": f"{until_s:.9f}" if until_s else None,
            "filters": docker_filters.to_json(filters),
        }  # fmt: skip
        return _events(await self._request("GET", "/events", query))


def _ref(ref: str) -> str:
    """An empty reference would name another route."""
    if not ref.strip("/"):
        raise NotFound(f"No such object: {ref!r}")
    return ref.removeprefix("/")


def _grace(timeout_s: float | None, signal: str) -> dict[str, object]:
    """The API knows whole seconds; a fraction is rounded up, so that a short grace does not become none."""
    return {"t": None if timeout_s is None else -int(-timeout_s // 1), "signal": signal or None}


def _first_endpoint(spec: ContainerSpec) -> tuple[dict[str, Any], tuple[EndpointSpec, ...]]:
    """Engines before API 1.44 join one network at creation, that of NetworkMode; the others are connected afterwards."""
    body = specs.create_body(spec)
    mode = body["HostConfig"]["NetworkMode"]
    first = next((one for one in spec.endpoints if one.network == mode), spec.endpoints[0] if spec.endpoints else None)
    named = {first.network: specs.endpoint_to_json(first)} if first else {}
    return {**body, "NetworkingConfig": {"EndpointsConfig": named}}, tuple(one for one in spec.endpoints if one is not first)


def _split_reference(reference: str) -> tuple[str, str]:
    """`repo:tag` or `repo@digest` → (repo, tag or digest); without either the tag is `latest`."""
    repository, at, digest = reference.partition("@")
    if at:
        return repository, digest
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")


async def _each(refs: list[str], inspect: Callable[[str], Awaitable[_T]]) -> tuple[_T, ...]:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(ref: str) -> _T | None:
        async with limit:
            try:
                return await inspect(ref)
            except NotFound:
                return None

    return tuple(found for found in await asyncio.gather(*map(one, refs)) if found is not None)


async def _exit(response: AsyncResponse) -> ExitStatus:
    async for told in response.lines():
        return containers.exit_from_json(told)
    return ExitStatus(-1, "the engine went away before the container exited")


async def _progress(response: AsyncResponse) -> AsyncIterator[Progress]:
    try:
        async for told in response.lines():
            yield images.progress_from_json(told)
    finally:
        response.close()


async def _build_lines(response: AsyncResponse) -> AsyncIterator[Progress]:
    try:
        async for told in response.lines():
            if error := builds.failure_from_json(told):
                raise error
            yield images.progress_from_json(told)
    finally:
        response.close()


async def _events(response: AsyncResponse) -> AsyncGenerator[Event, None]:
    try:
        async for told in response.lines():
            yield system.event_from_json(told)
    finally:
        response.close()
