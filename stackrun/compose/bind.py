"""The decoded tree → the frozen model. Every value has its final type here: nothing can fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from stackrun import units
from stackrun.compose import model
from stackrun.compose.normalize import services_of
from stackrun.compose.scalar import signal_name, text_of
from stackrun.compose.source import Inputs
from stackrun.compose.template import Lookup
from stackrun.compose.tree import Map, plain
from stackrun.errors import Diagnostic

T = TypeVar("T")
Node = Mapping[str, Any]


def _items(value: Any, bind: Callable[[Any], T]) -> tuple[T, ...]:
    return tuple(bind(item) for item in value or ())


def _named(value: Any, bind: Callable[[Any], T]) -> dict[str, T]:
    return {name: bind(item or {}) for name, item in (value or {}).items()}


def _seconds(value: Any) -> float | None:
    return None if value is None else units.parse_duration(value)


def _extensions(node: Node) -> dict[str, Any]:
    return {key: plain(value) for key, value in node.items() if key.startswith("x-")}


def _picked(node: Node, *keys: str) -> dict[str, Any]:
    """The values of `keys` that are there: field and key have the same name."""
    return {key: node[key] for key in keys if node.get(key) is not None}


def _tuples(node: Node, *keys: str) -> dict[str, Any]:
    return {key: tuple(node[key]) for key in keys if node.get(key) is not None}


def _own(node: Node) -> Node:
    """What stands under x-stackrun, which the schema has checked."""
    return node.get("x-stackrun") or {}


def _on_dependency(node: Node) -> dict[str, str]:
    said = _own(node).get("on_dependency")
    return dict.fromkeys(node.get("depends_on") or (), said) if isinstance(said, str) else dict(said or {})


# --- parts of a service ---------------------------------------------------------------------------


def port(node: Node) -> model.Port:
    return model.Port(**_picked(node, "target", "published", "protocol", "host_ip", "mode", "name", "app_protocol"))


def mount(node: Node) -> model.VolumeMount:
    bind, volume, tmpfs = node.get("bind"), node.get("volume"), node.get("tmpfs")
    return model.VolumeMount(
        **_picked(node, "type", "source", "read_only", "consistency"),
        target=node.get("target", ""),
        bind=None if bind is None else model.BindOptions(**_picked(bind, "propagation", "create_host_path", "selinux", "recursive")),
        volume=None if volume is None else model.VolumeOptions(**_picked(volume, "nocopy", "subpath", "labels")),
        tmpfs=None if tmpfs is None else model.TmpfsOptions(int(tmpfs.get("size", 0)), tmpfs.get("mode", 0)),
        image_subpath=(node.get("image") or {}).get("subpath", ""),
    )


def attachment(node: Node) -> model.NetworkAttachment:
    return model.NetworkAttachment(
        **_picked(node, "ipv4_address", "ipv6_address", "mac_address", "interface_name", "driver_opts", "priority", "gw_priority"),
        **_tuples(node, "aliases", "link_local_ips"),
    )


def healthcheck(node: Node) -> model.Healthcheck:
    return model.Healthcheck(
        **_tuples(node, "test"),
        **_picked(node, "retries", "disable"),
        interval_s=_seconds(node.get("interval")),
        timeout_s=_seconds(node.get("timeout")),
        start_period_s=_seconds(node.get("start_period")),
        start_interval_s=_seconds(node.get("start_interval")),
    )


def dependency(node: Node) -> model.Dependency:
    return model.Dependency(**_picked(node, "condition", "restart", "required"))


def ulimits(node: Node | None) -> tuple[model.Ulimit, ...]:
    pairs = ((name, value if isinstance(value, Mapping) else {"soft": value, "hard": value}) for name, value in (node or {}).items())
    return tuple(model.Ulimit(name, value["soft"], value["hard"]) for name, value in pairs)


def device(node: Node) -> model.Device:
    return model.Device(node.get("source", ""), node.get("target", ""), **_picked(node, "permissions"))


def device_request(node: Node) -> model.DeviceRequest:
    return model.DeviceRequest(**_picked(node, "driver", "count", "options"), **_tuples(node, "capabilities", "device_ids"))


def file_reference(node: Node) -> model.FileReference:
    mode = node.get("mode")
    return model.FileReference(**_picked(node, "source", "target", "uid", "gid"), mode=None if mode is None else int(mode, 8))


def hook(node: Node) -> model.Hook:
    return model.Hook(command=tuple(node.get("command") or ()), **_picked(node, "user", "privileged", "working_dir", "environment"))


def blkio(node: Node) -> model.BlkioConfig:
    rates = {
        key: _items(node.get(key), lambda item: model.ThrottleDevice(item.get("path", ""), int(item.get("rate", 0))))
        for key in ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops")
    }
    weights = _items(node.get("weight_device"), lambda item: model.WeightDevice(item.get("path", ""), item.get("weight", 0)))
    return model.BlkioConfig(weight=node.get("weight", 0), weight_device=weights, **rates)


def limits(node: Node | None) -> model.ResourceLimits:
    node = node or {}
    generic = (item.get("discrete_resource_spec") or {} for item in node.get("generic_resources") or ())
    return model.ResourceLimits(
        cpus=float(node.get("cpus", 0)),
        memory_bytes=int(node.get("memory", 0)),
        pids=node.get("pids", 0),
        devices=_items(node.get("devices"), device_request),
        generic_resources=tuple((item.get("kind", ""), int(item.get("value", 0))) for item in generic),
    )


def update_config(node: Node | None) -> model.UpdateConfig | None:
    if node is None:
        return None
    return model.UpdateConfig(
        **_picked(node, "parallelism", "failure_action", "max_failure_ratio", "order"),
        delay_s=_seconds(node.get("delay")),
        monitor_s=_seconds(node.get("monitor")),
    )


def restart_policy(node: Node | None) -> model.RestartPolicy | None:
    if node is None:
        return None
    return model.RestartPolicy(
        **_picked(node, "condition", "max_attempts"), delay_s=_seconds(node.get("delay")), window_s=_seconds(node.get("window"))
    )


def deploy(node: Node) -> model.Deploy:
    resources, placement = node.get("resources") or {}, node.get("placement") or {}
    return model.Deploy(
        **_picked(node, "mode", "replicas", "labels", "endpoint_mode"),
        limits=limits(resources.get("limits")),
        reservations=limits(resources.get("reservations")),
        restart_policy=restart_policy(node.get("restart_policy")),
        update_config=update_config(node.get("update_config")),
        rollback_config=update_config(node.get("rollback_config")),
        placement=model.Placement(
            **_tuples(placement, "constraints"),
            **_picked(placement, "max_replicas_per_node"),
            preferences=_items(placement.get("preferences"), lambda item: item.get("spread", "")),
        ),
    )


def build(node: Node) -> model.Build:
    pairs = (key.partition("=") for key in node.get("ssh") or ())
    return model.Build(
        **_picked(
            node, "context", "dockerfile", "dockerfile_inline", "args", "labels", "no_cache", "additional_contexts", "pull", "isolation",
            "network", "target", "privileged", "provenance", "sbom",
        ),
        **_tuples(node, "entitlements", "cache_from", "cache_to", "extra_hosts", "tags", "platforms"),
        ssh={name: value for name, _, value in pairs},
        secrets=_items(node.get("secrets"), file_reference),
        shm_size_bytes=int(node.get("shm_size", 0)),
        ulimits=ulimits(node.get("ulimits")),
    )  # fmt: skip


def trigger(node: Node) -> model.Trigger:
    command = node.get("exec")
    return model.Trigger(
        **_picked(node, "path", "action", "target", "initial_sync"),
        **_tuples(node, "include", "ignore"),
        exec=hook(command) if command else None,
    )


def provider(node: Node) -> model.Provider:
    return model.Provider(node.get("type", ""), {name: tuple(values) for name, values in (node.get("options") or {}).items()})


def model_reference(node: Node) -> model.ModelReference:
    return model.ModelReference(node.get("endpoint_var", ""), node.get("model_var", ""))


_PLAIN = (
    "image", "environment", "labels", "annotations", "container_name", "hostname", "domainname", "network_mode", "restart", "scale",
    "pull_policy", "platform", "user", "working_dir", "tty", "stdin_open", "init", "attach", "read_only", "privileged", "sysctls",
    "mac_address", "ipc", "pid", "uts", "cgroup", "cgroup_parent", "userns_mode", "isolation", "runtime", "stop_signal",
    "oom_kill_disable", "oom_score_adj", "pids_limit", "cpu_shares", "cpu_count", "cpuset", "storage_opt", "volume_driver",
    "use_api_socket",
)  # fmt: skip
_TUPLES = (
    "profiles", "expose", "volumes_from", "tmpfs", "group_add", "cap_add", "cap_drop", "security_opt", "device_cgroup_rules", "dns",
    "dns_opt", "dns_search", "extra_hosts", "links", "external_links",
)  # fmt: skip
_BYTES = ("shm_size", "mem_limit", "mem_reservation", "memswap_limit")
_MICROSECONDS = ("cpu_quota", "cpu_period", "cpu_rt_runtime", "cpu_rt_period")


def service(name: str, node: Map) -> model.Service:
    swappiness, command, entrypoint = node.get("mem_swappiness"), node.get("command"), node.get("entrypoint")
    return model.Service(
        name=name,
        canonical=node,
        **_fields(node),
        command=None if command is None else tuple(command),
        entrypoint=None if entrypoint is None else tuple(entrypoint),
        mem_swappiness=None if swappiness is None else int(swappiness),
        cpus=float(node.get("cpus", 0)),
        cpu_percent=float(node.get("cpu_percent", 0)),
        stop_grace_period_s=_seconds(node.get("stop_grace_period")),
        extensions=_extensions(node),
        kind=_own(node).get("kind", "service"),
        on_unhealthy=_own(node).get("on_unhealthy", "ignore"),
        on_dependency=_on_dependency(node),
    )


_PARTS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("healthcheck", healthcheck),
    ("deploy", deploy),
    ("build", build),
    ("logging", lambda node: model.Logging(**_picked(node, "driver", "options"))),
    ("blkio_config", blkio),
    ("credential_spec", lambda node: model.CredentialSpec(**_picked(node, "config", "file", "registry"))),
    ("provider", provider),
    ("depends_on", lambda node: _named(node, dependency)),
    ("networks", lambda node: _named(node, attachment)),
    ("models", lambda node: _named(node, model_reference)),
    ("ports", lambda node: _items(node, port)),
    ("volumes", lambda node: _items(node, mount)),
    ("configs", lambda node: _items(node, file_reference)),
    ("secrets", lambda node: _items(node, file_reference)),
    ("devices", lambda node: _items(node, device)),
    ("gpus", lambda node: _items(node, device_request)),
    ("post_start", lambda node: _items(node, hook)),
    ("pre_stop", lambda node: _items(node, hook)),
    ("ulimits", ulimits),
    ("develop", lambda node: _items(node.get("watch"), trigger)),
)


def _fields(node: Map) -> dict[str, Any]:
    units_last = {f"{key}_bytes": int(node.get(key, 0)) for key in _BYTES} | {f"{key}_us": node.get(key, 0) for key in _MICROSECONDS}
    parts = {key: bind(node[key]) for key, bind in _PARTS if node.get(key) is not None}
    return _picked(node, *_PLAIN) | _tuples(node, *_TUPLES) | units_last | parts


# --- resources ------------------------------------------------------------------------------------


def pool(node: Node) -> model.IpamPool:
    return model.IpamPool(**_picked(node, "subnet", "gateway", "ip_range", "aux_addresses"))


def network(key: str, node: Node) -> model.Network:
    ipam = node.get("ipam") or {}
    return model.Network(
        key=key,
        **_picked(node, "name", "driver", "driver_opts", "external", "internal", "attachable", "enable_ipv4", "enable_ipv6", "labels"),
        ipam_driver=ipam.get("driver", ""),
        ipam_options=ipam.get("options") or {},
        pools=_items(ipam.get("config"), pool),
        extensions=_extensions(node),
    )


def volume(key: str, node: Node) -> model.Volume:
    return model.Volume(key=key, **_picked(node, "name", "driver", "driver_opts", "external", "labels"), extensions=_extensions(node))


def on_change(node: Node) -> model.OnChange:
    said = _own(node).get("on_change", "recreate")
    if isinstance(said, str):
        return model.OnChange(said)
    if "signal" in said:
        return model.OnChange("signal", signal=signal_name(said["signal"]))
    return model.OnChange("exec", command=tuple(text_of(word) for word in said["exec"]))


def config(key: str, node: Node, lookup: Lookup) -> model.Config:
    content = node.get("content", lookup(node["environment"]) if node.get("environment") else None)
    picked = _picked(node, "name", "file", "environment", "external", "labels", "template_driver")
    return model.Config(key=key, content=content, **picked, on_change=on_change(node), extensions=_extensions(node))


def secret(key: str, node: Node, lookup: Lookup) -> model.Secret:
    content = lookup(node["environment"]) if node.get("environment") else None
    picked = _picked(node, "name", "file", "environment", "external", "labels", "driver", "driver_opts", "template_driver")
    return model.Secret(key=key, content=content, **picked, on_change=on_change(node), extensions=_extensions(node))


def language_model(key: str, node: Node) -> model.Model:
    name = text_of(node.get("name")) or key
    return model.Model(key, name, node.get("model", ""), node.get("context_size", 0), tuple(node.get("runtime_flags") or ()))


def env_files(node: Node) -> tuple[model.EnvFile, ...]:
    return _items(node.get("env_file"), lambda item: model.EnvFile(**_picked(item, "path", "required", "format")))


def label_files(node: Node) -> tuple[str, ...]:
    return tuple(os.fspath(path) for path in node.get("label_file") or ())


# --- the whole ----------------------------------------------------------------------------------


def project(
    root: Map, disabled: Map, inputs: Inputs, environment: Mapping[str, str], warnings: tuple[Diagnostic, ...], read: tuple[str, ...]
) -> model.Project:
    """`read`: every stack file, env file and label file that was read."""
    lookup = environment.get
    return model.Project(
        name=root["name"],
        working_dir=inputs.directory,
        files=inputs.files,
        services={name: _enabled(name, node, root["services"]) for name, node in sorted(services_of(root))},
        disabled_services={name: service(name, node) for name, node in sorted(disabled.items())},
        networks={key: network(key, node) for key, node in _section(root, "networks")},
        volumes={key: volume(key, node) for key, node in _section(root, "volumes")},
        configs={key: config(key, node, lookup) for key, node in _section(root, "configs")},
        secrets={key: secret(key, node, lookup) for key, node in _section(root, "secrets")},
        models={key: language_model(key, node) for key, node in _section(root, "models")},
        environment=environment,
        env_files=inputs.env_files,
        profiles=inputs.profiles,
        extensions={key: value for key, value in root.items() if key.startswith("x-")},
        warnings=warnings,
        inputs=(*read, *inputs.env_files),
        canonical=root,
    )


def _enabled(name: str, node: Map, known: Map) -> model.Service:
    """Without the dependencies that no profile enables and that are not required."""
    found = service(name, node)
    dependencies = {target: entry for target, entry in found.depends_on.items() if target in known}
    return found if len(dependencies) == len(found.depends_on) else replace(found, depends_on=dependencies)


def _section(root: Map, name: str) -> list[tuple[str, Any]]:
    return sorted((root.get(name) or {}).items())
