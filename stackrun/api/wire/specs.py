"""`POST /containers/create`: Config, HostConfig and NetworkingConfig ↔ ContainerSpec, both ways from one table each."""

from __future__ import annotations

from typing import Any

from stackrun.api.types import (
    ContainerSpec,
    DeviceMapping,
    EndpointSpec,
    Healthcheck,
    LogConfig,
    Resources,
    RestartPolicy,
    Ulimit,
)
from stackrun.api.wire.fields import (
    FLAG,
    INTEGER,
    KEYS,
    NANOSECONDS,
    OPTIONAL_TEXTS,
    PAIRS,
    TEXT,
    TEXTS,
    Field,
    Kind,
    Table,
    integer,
    meaningful,
    members,
    read,
    record,
    records,
    write,
)
from stackrun.api.wire.mounts import mounts_from_json, mounts_to_json
from stackrun.api.wire.ports import ports_from_json, ports_to_json
from stackrun.errors import InvalidArgument

_RESTART_POLICIES = ("no", "always", "on-failure", "unless-stopped")
_OR_DEFAULT_DRIVER = Kind(lambda value, place: value or LogConfig().driver, lambda value: value)
_OR_NO = Kind(lambda value, place: value or "no", lambda value: value)
_UNLIMITED_OR = Kind(lambda value, place: max(0, integer(value, place)), lambda value: value or None)
"""PidsLimit: null, 0 and -1 all mean that there is no limit."""

HEALTHCHECK: Table = (
    Field("test", "Test", TEXTS), Field("interval_s", "Interval", NANOSECONDS), Field("timeout_s", "Timeout", NANOSECONDS),
    Field("retries", "Retries", INTEGER), Field("start_period_s", "StartPeriod", NANOSECONDS),
    Field("start_interval_s", "StartInterval", NANOSECONDS),
)  # fmt: skip
_CONFIG: Table = (
    Field("image", "Image", TEXT), Field("command", "Cmd", OPTIONAL_TEXTS), Field("entrypoint", "Entrypoint", OPTIONAL_TEXTS),
    Field("environment", "Env", TEXTS), Field("labels", "Labels", PAIRS), Field("user", "User", TEXT),
    Field("working_dir", "WorkingDir", TEXT), Field("hostname", "Hostname", TEXT), Field("domainname", "Domainname", TEXT),
    Field("tty", "Tty", FLAG), Field("open_stdin", "OpenStdin", FLAG), Field("stdin_once", "StdinOnce", FLAG),
    Field("attach_stdin", "AttachStdin", FLAG), Field("attach_stdout", "AttachStdout", FLAG),
    Field("attach_stderr", "AttachStderr", FLAG), Field("stop_signal", "StopSignal", TEXT),
    Field("stop_timeout_s", "StopTimeout", INTEGER), Field("healthcheck", "Healthcheck", record(HEALTHCHECK, Healthcheck)),
    Field("exposed_ports", "ExposedPorts", KEYS), Field("anonymous_volumes", "Volumes", KEYS), Field("mac_address", "MacAddress", TEXT),
    Field("shell", "Shell", TEXTS),
)  # fmt: skip
_CONFIG_LACKING = ("NetworkDisabled", "OnBuild")

_RESTART: Table = (Field("name", "Name", _OR_NO), Field("maximum_retries", "MaximumRetryCount", INTEGER))
_LOG: Table = (Field("driver", "Type", _OR_DEFAULT_DRIVER), Field("options", "Config", PAIRS))
_ULIMIT: Table = (Field("name", "Name", TEXT), Field("soft", "Soft", INTEGER), Field("hard", "Hard", INTEGER))
_DEVICE: Table = (
    Field("host_path", "PathOnHost", TEXT), Field("container_path", "PathInContainer", TEXT),
    Field("permissions", "CgroupPermissions", TEXT),
)  # fmt: skip
_RESOURCES: Table = (
    Field("memory_bytes", "Memory", INTEGER), Field("memory_reservation_bytes", "MemoryReservation", INTEGER),
    Field("memory_swap_bytes", "MemorySwap", INTEGER), Field("nano_cpus", "NanoCpus", INTEGER), Field("cpu_shares", "CpuShares", INTEGER),
    Field("cpu_quota_us", "CpuQuota", INTEGER), Field("cpu_period_us", "CpuPeriod", INTEGER), Field("cpuset_cpus", "CpusetCpus", TEXT),
    Field("cpuset_mems", "CpusetMems", TEXT), Field("pids_limit", "PidsLimit", _UNLIMITED_OR),
    Field("blkio_weight", "BlkioWeight", INTEGER), Field("oom_kill_disable", "OomKillDisable", FLAG),
    Field("ulimits", "Ulimits", records(_ULIMIT, Ulimit)), Field("devices", "Devices", records(_DEVICE, DeviceMapping)),
    Field("device_cgroup_rules", "DeviceCgroupRules", TEXTS),
)  # fmt: skip
_RESOURCES_LACKING = (
    "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps",
    "CpuRealtimePeriod", "CpuRealtimeRuntime", "DeviceRequests", "KernelMemory", "KernelMemoryTCP",
)  # fmt: skip
_HOST: Table = (
    Field("tmpfs", "Tmpfs", PAIRS), Field("publish_all_ports", "PublishAllPorts", FLAG), Field("network_mode", "NetworkMode", TEXT),
    Field("restart_policy", "RestartPolicy", record(_RESTART, RestartPolicy)), Field("auto_remove", "AutoRemove", FLAG),
    Field("log_config", "LogConfig", record(_LOG, LogConfig)), Field("cap_add", "CapAdd", TEXTS), Field("cap_drop", "CapDrop", TEXTS),
    Field("privileged", "Privileged", FLAG), Field("read_only_rootfs", "ReadonlyRootfs", FLAG), Field("init", "Init", FLAG),
    Field("security_opt", "SecurityOpt", TEXTS), Field("dns", "Dns", TEXTS), Field("dns_options", "DnsOptions", TEXTS),
    Field("dns_search", "DnsSearch", TEXTS), Field("extra_hosts", "ExtraHosts", TEXTS), Field("group_add", "GroupAdd", TEXTS),
    Field("sysctls", "Sysctls", PAIRS), Field("shm_size_bytes", "ShmSize", INTEGER), Field("ipc_mode", "IpcMode", TEXT),
    Field("pid_mode", "PidMode", TEXT), Field("uts_mode", "UTSMode", TEXT), Field("cgroupns_mode", "CgroupnsMode", TEXT),
    Field("userns_mode", "UsernsMode", TEXT), Field("cgroup_parent", "CgroupParent", TEXT),
    Field("oom_score_adj", "OomScoreAdj", INTEGER), Field("volumes_from", "VolumesFrom", TEXTS), Field("runtime", "Runtime", TEXT),
    Field("annotations", "Annotations", PAIRS), Field("storage_options", "StorageOpt", PAIRS),
    Field("masked_paths", "MaskedPaths", OPTIONAL_TEXTS), Field("readonly_paths", "ReadonlyPaths", OPTIONAL_TEXTS),
)  # fmt: skip
_HOST_LACKING = ("Cgroup", "Links", "VolumeDriver")

_ADDRESSES: Table = (Field("ipv4_address", "IPv4Address", TEXT), Field("ipv6_address", "IPv6Address", TEXT))
_ENDPOINT: Table = (
    Field("aliases", "Aliases", TEXTS), Field("mac_address", "MacAddress", TEXT), Field("links", "Links", TEXTS),
    Field("driver_options", "DriverOpts", PAIRS), Field("gateway_priority", "GwPriority", INTEGER),
)  # fmt: skip


_DEFAULT_NETWORKS = {"default": "bridge"}
"""Docker's client calls the network of a container that names none `default`."""


def container_spec(body: Any) -> tuple[ContainerSpec, tuple[str, ...]]:
    """The body of create → what is asked, and a warning for each thing asked that this version does not do."""
    config = members(body, "the body")
    host = members(config.get("HostConfig"), "HostConfig")
    warnings = tuple(f"{place} is not supported and was left out" for place in _lacking(config, host))
    return spec_from_json(config, host, _endpoints(config)), warnings


def spec_from_json(config: dict[str, Any], host: dict[str, Any], endpoints: tuple[EndpointSpec, ...]) -> ContainerSpec:
    """From Config and HostConfig as create takes them and inspect gives them."""
    asked = read(_CONFIG, config) | read(_HOST, host, "HostConfig")
    asked.setdefault("image", "")
    binds, mounts = mounts_from_json(host)
    spec = ContainerSpec(
        **asked, binds=binds, mounts=mounts, ports=ports_from_json(host.get("PortBindings")), endpoints=endpoints,
        resources=resources_from_json(host),
    )  # fmt: skip
    policy = spec.restart_policy.name
    if policy not in _RESTART_POLICIES:
        raise InvalidArgument(f"invalid restart policy: unknown policy '{policy}'; use one of {', '.join(_RESTART_POLICIES)}")
    return spec


def _endpoints(config: dict[str, Any]) -> tuple[EndpointSpec, ...]:
    networking = members(config.get("NetworkingConfig"), "NetworkingConfig")
    listed = members(networking.get("EndpointsConfig"), "NetworkingConfig.EndpointsConfig")
    return tuple(endpoint_from_json(_DEFAULT_NETWORKS.get(name, name), value) for name, value in listed.items())


def _lacking(config: dict[str, Any], host: dict[str, Any]) -> tuple[str, ...]:
    places = [*meaningful(config, _CONFIG_LACKING), *meaningful(host, (*_HOST_LACKING, *_RESOURCES_LACKING), "HostConfig")]
    if host.get("VolumeDriver") == "local":
        places.remove("HostConfig.VolumeDriver")
    if host.get("MemorySwappiness") not in (None, -1):
        places.append("HostConfig.MemorySwappiness")
    return tuple(places)


def endpoint_from_json(network: str, value: Any) -> EndpointSpec:
    source = members(value, f"EndpointsConfig.{network}")
    addresses = members(source.get("IPAMConfig"), f"EndpointsConfig.{network}.IPAMConfig")
    return EndpointSpec(network, **read(_ENDPOINT, source), **read(_ADDRESSES, addresses))


def endpoint_to_json(endpoint: EndpointSpec) -> dict[str, Any]:
    addresses = {key: value for key, value in write(_ADDRESSES, endpoint).items() if value}
    return {**{key: value for key, value in write(_ENDPOINT, endpoint).items() if value}, "IPAMConfig": addresses or None}


def resources_from_json(host: Any) -> Resources:
    return Resources(**read(_RESOURCES, host, "HostConfig"))


def update_from_json(body: Any) -> tuple[Resources | None, RestartPolicy | None]:
    """`POST /containers/{id}/update`: None for what is not mentioned."""
    asked = members(body, "the body")
    policy = members(asked.get("RestartPolicy"), "RestartPolicy")
    resources = resources_from_json(asked)
    return resources if resources != Resources() else None, RestartPolicy(**read(_RESTART, policy)) if policy.get("Name") else None


def update_to_json(resources: Resources | None, policy: RestartPolicy | None) -> dict[str, Any]:
    body = {key: value for key, value in write(_RESOURCES, resources).items() if value} if resources else {}
    return body | ({"RestartPolicy": write(_RESTART, policy)} if policy else {})


def config_to_json(spec: ContainerSpec) -> dict[str, Any]:
    return write(_CONFIG, spec)


def host_config_to_json(spec: ContainerSpec) -> dict[str, Any]:
    return {
        **write(_HOST, spec), **write(_RESOURCES, spec.resources), **mounts_to_json(spec.binds, spec.mounts),
        "PortBindings": ports_to_json(spec.ports),
    }  # fmt: skip


def create_body(spec: ContainerSpec) -> dict[str, Any]:
    """ContainerSpec → the body of create.  Docker wants NetworkMode to name the first network that is joined."""
    host = host_config_to_json(spec)
    if not host["NetworkMode"] and spec.endpoints:
        host["NetworkMode"] = spec.endpoints[0].network
    return {
        **config_to_json(spec),
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {one.network: endpoint_to_json(one) for one in spec.endpoints}},
    }
