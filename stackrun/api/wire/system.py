"""The engine itself: version, info and events, both ways."""

from __future__ import annotations

from typing import Any

from stackrun.api.types import Event, Info, Version
from stackrun.api.wire.fields import INTEGER, TEXT, TEXTS, Field, Table, members, pairs, read, write

_VERSION: Table = (
    Field("version", "Version", TEXT), Field("api_version", "ApiVersion", TEXT), Field("min_api_version", "MinAPIVersion", TEXT),
    Field("os", "Os", TEXT), Field("arch", "Arch", TEXT), Field("kernel_version", "KernelVersion", TEXT),
    Field("build_time", "BuildTime", TEXT), Field("git_commit", "GitCommit", TEXT),
)  # fmt: skip
_NO_VERSION = {"version": "", "api_version": "", "min_api_version": "", "os": "", "arch": "", "kernel_version": ""}


def version_to_json(version: Version) -> dict[str, Any]:
    return {
        **write(_VERSION, version),
        "Platform": {"Name": version.name},
        "Components": [{"Name": "Engine", "Version": version.version, "Details": _details(version)}],
        # Docker's clients print Go's version here; ours is told in its place, and the name says so.
        "GoVersion": f"none (Python {version.python_version})",
        "Experimental": False,
    }


def _details(version: Version) -> dict[str, str]:
    return {
        "ApiVersion": version.api_version, "MinAPIVersion": version.min_api_version, "Os": version.os, "Arch": version.arch,
        "KernelVersion": version.kernel_version, "BuildTime": version.build_time, "GitCommit": version.git_commit,
        "PythonVersion": version.python_version, "GoVersion": f"none (Python {version.python_version})", "Experimental": "false",
        **({"Rootless": "true"} if version.rootless else {}),
    }  # fmt: skip


def version_from_json(body: Any) -> Version:
    source = members(body, "the version")
    components = source.get("Components") or [{}]
    details = members(components[0].get("Details"), "Details")
    name = str(members(source.get("Platform"), "Platform").get("Name") or "docker")
    return Version(
        **{**_NO_VERSION, **read(_VERSION, source)},
        name=name,
        python_version=str(details.get("PythonVersion") or ""),
        rootless=details.get("Rootless") == "true",
    )


_INFO: Table = (
    Field("id", "ID", TEXT), Field("name", "Name", TEXT), Field("server_version", "ServerVersion", TEXT),
    Field("root_dir", "DockerRootDir", TEXT), Field("containers_running", "ContainersRunning", INTEGER),
    Field("containers_paused", "ContainersPaused", INTEGER), Field("containers_stopped", "ContainersStopped", INTEGER),
    Field("images", "Images", INTEGER), Field("memory_total_bytes", "MemTotal", INTEGER), Field("cpus", "NCPU", INTEGER),
    Field("kernel_version", "KernelVersion", TEXT), Field("operating_system", "OperatingSystem", TEXT),
    Field("architecture", "Architecture", TEXT), Field("cgroup_version", "CgroupVersion", TEXT),
    Field("cgroup_driver", "CgroupDriver", TEXT), Field("storage_driver", "Driver", TEXT),
    Field("security_options", "SecurityOptions", TEXTS), Field("warnings", "Warnings", TEXTS), Field("labels", "Labels", TEXTS),
)  # fmt: skip
_NO_INFO = {
    "id": "", "name": "", "server_version": "", "root_dir": "", "containers_running": 0, "containers_paused": 0, "containers_stopped": 0,
    "images": 0, "memory_total_bytes": 0, "cpus": 0, "kernel_version": "", "operating_system": "", "architecture": "", "cgroup_version": "",
}  # fmt: skip


_PLUGINS = {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": None, "Log": ["json-file", "local", "none"]}
_REGISTRIES = {
    "InsecureRegistryCIDRs": ["127.0.0.0/8"], "Mirrors": [],
    "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}},
}  # fmt: skip


def info_to_json(info: Info) -> dict[str, Any]:
    return {
        **write(_INFO, info),
        "Containers": info.containers_running + info.containers_paused + info.containers_stopped,
        "OSType": "linux",
        "DriverStatus": [],
        "Plugins": _PLUGINS,
        "MemoryLimit": True, "SwapLimit": True, "CpuCfsPeriod": True, "CpuCfsQuota": True, "CPUShares": True, "CPUSet": True,
        "PidsLimit": True,
        "OomKillDisable": True, "IPv4Forwarding": True, "BridgeNfIptables": True, "BridgeNfIp6tables": True,
        "Debug": False, "NFd": 0, "NGoroutines": 0, "NEventsListener": 0,
        "LoggingDriver": "json-file", "ExperimentalBuild": False, "LiveRestoreEnabled": True, "Isolation": "",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _REGISTRIES,
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": ""},
        "DefaultRuntime": "stackrun-runtime", "Runtimes": {"stackrun-runtime": {"path": "stackrun-runtime"}},
        "InitBinary": "",
        "ContainerdCommit": {"ID": "", "Expected": ""}, "RuncCommit": {"ID": "", "Expected": ""}, "InitCommit": {"ID": "", "Expected": ""},
        "HttpProxy": "", "HttpsProxy": "", "NoProxy": "", "GenericResources": None,
    }  # fmt: skip


def info_from_json(body: Any) -> Info:
    return Info(**{**_NO_INFO, **read(_INFO, body)})


def event_to_json(event: Event) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Type": event.type, "Action": event.action, "Actor": {"ID": event.id, "Attributes": dict(event.attributes)},
        "scope": "local", "time": event.time_ns // 1_000_000_000, "timeNano": event.time_ns,
    }  # fmt: skip
    if event.type in ("container", "image"):
        body = {"status": event.action, "id": event.id, "from": event.attributes.get("image", ""), **body}
    return body


def event_from_json(body: Any) -> Event:
    source = members(body, "the event")
    actor = members(source.get("Actor"), "Actor")
    return Event(
        type=str(source.get("Type") or ""), action=str(source.get("Action") or ""), id=str(actor.get("ID") or ""),
        attributes=pairs(actor.get("Attributes"), "Attributes"),
        time_ns=int(source.get("timeNano") or int(source.get("time") or 0) * 1_000_000_000),
    )  # fmt: skip
