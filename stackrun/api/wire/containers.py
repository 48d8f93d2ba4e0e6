"""What inspect, list, exec, top, wait and logs tell of containers, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stackrun.api.types import (
    AttachQuery,
    Container,
    ContainerState,
    Created,
    Endpoint,
    Exec,
    ExecSpec,
    ExitStatus,
    Health,
    HealthProbe,
    HealthStatus,
    LogQuery,
    ProcessTable,
    Status,
)
from stackrun.api.wire.fields import FLAG, INTEGER, TEXT, TEXTS, Field, Kind, Table, items, members, read, record, records, text, write
from stackrun.api.wire.mounts import mount_point_from_json, mount_point_to_json
from stackrun.api.wire.ports import listed_ports, published_from_json, published_to_json
from stackrun.api.wire.specs import config_to_json, endpoint_to_json, host_config_to_json, spec_from_json
from stackrun.api.wire.specs import endpoint_from_json as endpoint_spec_from_json
from stackrun.api.wire.times import epoch_ns, in_words
from stackrun.errors import InvalidArgument

_HEALTH_STATUS = Kind(lambda value, place: HealthStatus(value or "none"), str)
_STATUS = Kind(lambda value, place: Status(value), str)
_PROBE: Table = (
    Field("start", "Start", TEXT), Field("end", "End", TEXT), Field("exit_code", "ExitCode", INTEGER), Field("output", "Output", TEXT),
)  # fmt: skip
_HEALTH: Table = (
    Field("status", "Status", _HEALTH_STATUS), Field("failing_streak", "FailingStreak", INTEGER),
    Field("log", "Log", records(_PROBE, HealthProbe)),
)  # fmt: skip
_STATE: Table = (
    Field("status", "Status", _STATUS), Field("pid", "Pid", INTEGER), Field("exit_code", "ExitCode", INTEGER),
    Field("error", "Error", TEXT), Field("oom_killed", "OOMKilled", FLAG), Field("started_at", "StartedAt", TEXT),
    Field("finished_at", "FinishedAt", TEXT), Field("health", "Health", record(_HEALTH, Health)),
)  # fmt: skip
_CONTAINER: Table = (
    Field("id", "Id", TEXT), Field("created", "Created", TEXT), Field("path", "Path", TEXT), Field("args", "Args", TEXTS),
    Field("image_id", "Image", TEXT), Field("state", "State", record(_STATE, ContainerState)),
    Field("restart_count", "RestartCount", INTEGER), Field("log_path", "LogPath", TEXT), Field("driver", "Driver", TEXT),
    Field("exec_ids", "ExecIDs", TEXTS), Field("hosts_path", "HostsPath", TEXT), Field("hostname_path", "HostnamePath", TEXT),
    Field("resolv_conf_path", "ResolvConfPath", TEXT),
)  # fmt: skip
_SIZES: Table = (Field("size_rw_bytes", "SizeRw", INTEGER), Field("size_root_bytes", "SizeRootFs", INTEGER))
_ENDPOINT: Table = (
    Field("network_id", "NetworkID", TEXT), Field("endpoint_id", "EndpointID", TEXT), Field("ipv4_address", "IPAddress", TEXT),
    Field("ipv4_prefix_length", "IPPrefixLen", INTEGER), Field("ipv4_gateway", "Gateway", TEXT),
    Field("ipv6_address", "GlobalIPv6Address", TEXT), Field("ipv6_prefix_length", "GlobalIPv6PrefixLen", INTEGER),
    Field("ipv6_gateway", "IPv6Gateway", TEXT), Field("mac_address", "MacAddress", TEXT), Field("aliases", "Aliases", TEXTS),
    Field("dns_names", "DNSNames", TEXTS),
)  # fmt: skip


def state_to_json(state: ContainerState) -> dict[str, Any]:
    body = write(_STATE, state)
    if state.health is None:
        del body["Health"]
    return body | {
        "Running": state.running,
        "Paused": state.status is Status.PAUSED,
        "Restarting": state.status is Status.RESTARTING,
        "Dead": state.status is Status.DEAD,
    }


def endpoint_to_json_full(endpoint: Endpoint) -> dict[str, Any]:
    asked = endpoint_to_json(endpoint.spec) if endpoint.spec else {"IPAMConfig": None}
    return {"Links": None, "DriverOpts": None, **asked, **write(_ENDPOINT, endpoint)}


def _endpoint_from_json(name: str, value: Any) -> Endpoint:
    asked = members(value, f"Networks.{name}")
    return Endpoint(network_name=name, spec=endpoint_spec_from_json(name, asked), **{"network_id": "", **read(_ENDPOINT, asked)})


def _network_settings(container: Container) -> dict[str, Any]:
    bridge = next((one for one in container.endpoints if one.network_name == "bridge"), None)
    legacy = write(_ENDPOINT, bridge) if bridge else {}
    return {
        "Bridge": "",
        "SandboxID": container.id if container.state.running else "",
        "SandboxKey": "",
        "Ports": published_to_json(container.ports),
        "EndpointID": legacy.get("EndpointID", ""),
        "Gateway": legacy.get("Gateway", ""),
        "IPAddress": legacy.get("IPAddress", ""),
        "IPPrefixLen": legacy.get("IPPrefixLen", 0),
        "MacAddress": legacy.get("MacAddress", ""),
        "Networks": {one.network_name: endpoint_to_json_full(one) for one in container.endpoints},
    }


def container_to_json(container: Container) -> dict[str, Any]:
    """The inspect form."""
    sizes = write(_SIZES, container) if container.size_rw_bytes is not None else {}
    return {
        **write(_CONTAINER, container),
        **sizes,
        "Name": f"/{container.name}",
        "State": state_to_json(container.state),
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "Config": config_to_json(container.spec),
        "HostConfig": host_config_to_json(container.spec),
        "GraphDriver": {"Name": container.driver, "Data": {}},
        "Mounts": [mount_point_to_json(one) for one in container.mounts],
        "NetworkSettings": _network_settings(container),
    }


def container_from_json(body: Any) -> Container:
    source = members(body, "the container")
    settings = members(source.get("NetworkSettings"), "NetworkSettings")
    endpoints = tuple(_endpoint_from_json(name, one) for name, one in members(settings.get("Networks"), "Networks").items())
    config, host = members(source.get("Config"), "Config"), members(source.get("HostConfig"), "HostConfig")
    spec = spec_from_json(config, host, tuple(one.spec for one in endpoints if one.spec))
    return Container(
        **read(_CONTAINER, source), **read(_SIZES, source), name=text(source.get("Name"), "Name").removeprefix("/"), spec=spec,
        mounts=tuple(mount_point_from_json(one) for one in items(source.get("Mounts"), "Mounts")),
        endpoints=endpoints, ports=published_from_json(settings.get("Ports")),
    )  # fmt: skip


def status_text(state: ContainerState, now_ns: int) -> str:
    """The words of `docker ps`: `Up 3 seconds (healthy)`, `Exited (0) 2 minutes ago`."""
    ago = in_words((now_ns - epoch_ns(state.finished_at)) / 1e9)
    match state.status:
        case Status.RUNNING | Status.PAUSED:
            return f"Up {in_words((now_ns - epoch_ns(state.started_at)) / 1e9)}{_remark(state)}"
        case Status.RESTARTING:
            return f"Restarting ({state.exit_code}) {ago} ago"
        case Status.EXITED:
            return f"Exited ({state.exit_code}) {ago} ago"
        case Status.REMOVING:
            return "Removal In Progress"
        case Status.DEAD:
            return "Dead"
        case Status.CREATED:
            return "Created"


def _remark(state: ContainerState) -> str:
    if state.status is Status.PAUSED:
        return " (Paused)"
    if state.health is None or state.health.status is HealthStatus.NONE:
        return ""
    return " (health: starting)" if state.health.status is HealthStatus.STARTING else f" ({state.health.status})"


def summary_to_json(container: Container, now_ns: int) -> dict[str, Any]:
    """The list form."""
    sizes = write(_SIZES, container) if container.size_rw_bytes is not None else {}
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.spec.image,
        "ImageID": container.image_id,
        "Command": " ".join((container.path, *container.args)),
        "Created": epoch_ns(container.created) // 1_000_000_000,
        "Ports": listed_ports(container.ports),
        **sizes,
        "Labels": dict(container.spec.labels),
        "State": str(container.state.status),
        "Status": status_text(container.state, now_ns),
        "HostConfig": {"NetworkMode": container.spec.network_mode or "default"},
        "NetworkSettings": {"Networks": {one.network_name: endpoint_to_json_full(one) for one in container.endpoints}},
        "Mounts": [mount_point_to_json(one) for one in container.mounts],
    }


def created_to_json(created: Created, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"Id": created.id, "Warnings": [*warnings, *created.warnings]}


def created_from_json(body: Any) -> Created:
    source = members(body, "the answer")
    warnings = source.get("Warnings") or ([source["Warning"]] if source.get("Warning") else [])
    return Created(text(source.get("Id"), "Id"), tuple(warnings))


def exit_to_json(status: ExitStatus) -> dict[str, Any]:
    return {"StatusCode": status.code, "Error": {"Message": status.error} if status.error else None}


def exit_from_json(body: Any) -> ExitStatus:
    source = members(body, "the answer")
    return ExitStatus(int(source.get("StatusCode") or 0), str((source.get("Error") or {}).get("Message") or ""))


_ROWS = Kind(lambda value, place: tuple(map(tuple, items(value, place))), lambda value: [list(one) for one in value])
_PROCESSES: Table = (
    Field("titles", "Titles", TEXTS),
    Field("processes", "Processes", _ROWS),
)


def processes_to_json(table: ProcessTable) -> dict[str, Any]:
    return write(_PROCESSES, table)


def processes_from_json(body: Any) -> ProcessTable:
    return ProcessTable(**{"titles": (), "processes": (), **read(_PROCESSES, body)})


# --- exec ---------------------------------------------------------------------------------------

_EXEC_SPEC: Table = (
    Field("command", "Cmd", TEXTS), Field("environment", "Env", TEXTS), Field("user", "User", TEXT),
    Field("working_dir", "WorkingDir", TEXT), Field("tty", "Tty", FLAG), Field("privileged", "Privileged", FLAG),
    Field("attach_stdin", "AttachStdin", FLAG), Field("attach_stdout", "AttachStdout", FLAG),
    Field("attach_stderr", "AttachStderr", FLAG), Field("detach_keys", "DetachKeys", TEXT),
)  # fmt: skip
_EXEC: Table = (
    Field("id", "ID", TEXT), Field("container_id", "ContainerID", TEXT), Field("running", "Running", FLAG), Field("pid", "Pid", INTEGER),
    Field("exit_code", "ExitCode", INTEGER),
)  # fmt: skip


def exec_spec_from_json(body: Any) -> ExecSpec:
    asked = read(_EXEC_SPEC, body)
    if not asked.get("command"):
        raise InvalidArgument("No exec command specified")
    return ExecSpec(**{"attach_stdout": False, "attach_stderr": False, **asked})


def exec_spec_to_json(spec: ExecSpec) -> dict[str, Any]:
    return write(_EXEC_SPEC, spec)


def exec_to_json(one: Exec) -> dict[str, Any]:
    spec = one.spec
    return {
        **write(_EXEC, one),
        "ProcessConfig": {
            "tty": spec.tty,
            "entrypoint": spec.command[0],
            "arguments": list(spec.command[1:]),
            "privileged": spec.privileged,
            "user": spec.user,
        },
        "OpenStdin": spec.attach_stdin,
        "OpenStdout": spec.attach_stdout,
        "OpenStderr": spec.attach_stderr,
        "CanRemove": False,
        "DetachKeys": spec.detach_keys,
    }


def exec_from_json(body: Any) -> Exec:
    """Environment and working directory are not told by Docker's answer: they are empty here."""
    source = members(body, "the exec")
    process = members(source.get("ProcessConfig"), "ProcessConfig")
    spec = ExecSpec(
        command=(str(process.get("entrypoint") or ""), *(process.get("arguments") or ())),
        user=str(process.get("user") or ""), tty=bool(process.get("tty")), privileged=bool(process.get("privileged")),
        attach_stdin=bool(source.get("OpenStdin")), attach_stdout=bool(source.get("OpenStdout")),
        attach_stderr=bool(source.get("OpenStderr")),
    )  # fmt: skip
    one = Exec(spec=spec, **read(_EXEC, source))
    return replace(one, exit_code=None) if one.running else one


# --- query strings ---------------------------------------------------------------------------------


def log_query_to_query(query: LogQuery) -> dict[str, object]:
    return {
        "stdout": query.stdout, "stderr": query.stderr, "follow": query.follow, "timestamps": True,
        "tail": "all" if query.tail is None else query.tail, "since": _bound(query.since_s), "until": _bound(query.until_s),
    }  # fmt: skip


def _bound(seconds: float) -> str | None:
    return f"{seconds:.9f}" if seconds else None


def attach_query_to_query(query: AttachQuery) -> Mapping[str, object]:
    return {"stdin": query.stdin, "stdout": query.stdout, "stderr": query.stderr, "stream": query.stream, "logs": query.logs}
