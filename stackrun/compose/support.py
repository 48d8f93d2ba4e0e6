"""What is valid Compose but not what this engine can do: refused with its place, or named as having no effect. Never silence.

`config` prints such a file all the same; `up` and `validate` do not take it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from stackrun.compose.faults import Faults
from stackrun.compose.normalize import services_of
from stackrun.compose.paths import is_remote
from stackrun.compose.patterns import Pattern
from stackrun.compose.scalar import is_digits, text_of
from stackrun.compose.tree import Map, Place, Seq

Verdict = Callable[[Any], str]
"""Gives what is wrong with a value, or an empty string."""


def _any(reason: str) -> Verdict:
    return lambda value: "" if value in (None, "", 0, False) or value == [] or value == {} else reason


def _unless(*allowed: Any, reason: str) -> Verdict:
    return lambda value: "" if value is None or value in allowed else reason.format(value)


def _named_context(value: Any) -> str:
    text = text_of(value)
    allowed = text.startswith(("service:", "docker-image://")) or re.fullmatch(r"[\w.-]*", text)
    return "" if allowed else "a named context is an image here: service:NAME or docker-image://IMAGE"


_WINDOWS = "is for Windows containers"
_ERRORS: dict[str, Verdict] = {
    "services.*.blkio_config.weight_device": _any("block device weights are not supported"),
    "services.*.blkio_config.device_read_bps": _any("block device rates are not supported"),
    "services.*.blkio_config.device_read_iops": _any("block device rates are not supported"),
    "services.*.blkio_config.device_write_bps": _any("block device rates are not supported"),
    "services.*.blkio_config.device_write_iops": _any("block device rates are not supported"),
    "services.*.build.additional_contexts.*": _named_context,
    "services.*.build.isolation": _unless("", "default", reason=f"isolation {_WINDOWS}"),
    "services.*.cpu_rt_period": _any("real-time scheduling is not supported"),
    "services.*.cpu_rt_runtime": _any("real-time scheduling is not supported"),
    "services.*.credential_spec": _any(f"credential_spec {_WINDOWS}"),
    "services.*.deploy.mode": _unless("", "replicated", "global", reason="deploy mode {} is not supported"),
    "services.*.deploy.resources.reservations.devices": _any("reserving devices is not supported"),
    "services.*.deploy.resources.reservations.generic_resources": _any("generic resources are Swarm's"),
    "services.*.deploy.update_config.failure_action": _unless("", "pause", "continue", "rollback", reason="there is no failure action {}"),
    "services.*.deploy.update_config.order": _unless("", "start-first", "stop-first", reason="there is no order {}"),
    "services.*.gpus": _any("GPUs are not supported"),
    "services.*.isolation": _unless("", "default", reason=f"isolation {_WINDOWS}"),
    "services.*.logging.driver": _unless("", "json-file", "local", "none", reason="there is no log driver {}"),
    "services.*.models": _any("models are not supported"),
    "services.*.networks.*.interface_name": _any("naming a container's interface is not supported"),
    "services.*.networks.*.link_local_ips": _any("link-local addresses are not supported"),
    "services.*.post_start": _any("post_start hooks are not supported"),
    "services.*.pre_stop": _any("pre_stop hooks are not supported"),
    "services.*.provider": _any("providers are not supported"),
    "services.*.runtime": _unless("", "runc", "stackrun", reason="there is no runtime {}"),
    "services.*.storage_opt": _any("options of the storage driver are not supported"),
    "services.*.use_api_socket": _any("giving a container the engine's socket is not supported"),
    "services.*.userns_mode": _unless("", "host", reason="user namespace mode {} is not supported"),
    "services.*.volume_driver": _unless("", "local", reason="there is no volume driver {}"),
    "services.*.volumes.*.type": _unless("bind", "volume", "tmpfs", reason="mounts of type {} are not supported"),
    "services.*.volumes.*.bind.recursive": _unless("", "enabled", "disabled", reason="recursive: {} is not supported"),
    "networks.*.driver": _unless("", "bridge", "default", reason="there is no network driver {}"),
    "networks.*.enable_ipv4": _unless(True, reason="a network without IPv4 is not supported"),
    "networks.*.ipam.driver": _unless("", "default", reason="there is no address management driver {}"),
    "secrets.*.driver": _any("secret drivers are not supported"),
    "secrets.*.template_driver": _any("template drivers are not supported"),
    "configs.*.template_driver": _any("template drivers are not supported"),
    "volumes.*.driver": _unless("", "local", reason="there is no volume driver {}"),
}
_WARNINGS: dict[str, Verdict] = {
    "services.*.build.cache_from": _any("the builder has its own cache: cache_from has no effect"),
    "services.*.build.cache_to": _any("the builder has its own cache: cache_to has no effect"),
    "services.*.build.entitlements": _any("no build has more rights than others: entitlements have no effect"),
    "services.*.build.no_cache_filter": _any("no_cache_filter has no effect: say no_cache"),
    "services.*.build.privileged": _any("no build has more rights than others: privileged has no effect"),
    "services.*.build.provenance": _unless("", "false", reason="attestations are not made: provenance has no effect"),
    "services.*.build.sbom": _unless("", "false", reason="attestations are not made: sbom has no effect"),
    "services.*.build.ssh": _any("no build is given the SSH agent: ssh has no effect"),
    "services.*.build.ulimits": _any("limits of a build have no effect"),
    "services.*.cpu_count": _any(f"cpu_count {_WINDOWS} and has no effect"),
    "services.*.cpu_percent": _any(f"cpu_percent {_WINDOWS} and has no effect"),
    "services.*.deploy.endpoint_mode": _unless("", "dnsrr", reason="names are resolved to every replica, as with dnsrr"),
    "services.*.deploy.placement.constraints": _any("there is one machine: constraints have no effect"),
    "services.*.deploy.placement.preferences": _any("there is one machine: preferences have no effect"),
    "services.*.deploy.placement.max_replicas_per_node": _any("there is one machine: max_replicas_per_node has no effect"),
    "services.*.deploy.resources.reservations.cpus": _any("cpus are not reserved: the value has no effect"),
    "services.*.deploy.restart_policy.delay": _any("restarts back off by themselves: delay has no effect"),
    "services.*.deploy.restart_policy.window": _any("window has no effect"),
    "services.*.deploy.rollback_config": _any("a failed update goes back at once, in update_config's order: rollback_config has no effect"),
    "services.*.mem_swappiness": _any("mem_swappiness has no effect"),
    "services.*.pull_policy": _unless(
        "", "always", "missing", "if_not_present", "never", "build", reason="pull policy {} pulls every time, as always does"
    ),
    "services.*.pull_refresh_after": _any("pull_refresh_after has no effect, as in Docker Compose: say pull_policy: daily"),
    "services.*.volumes.*.bind.selinux": _any("files are not relabelled: this option has no effect"),
}
_TABLE: Pattern[tuple[str, Verdict]] = Pattern.table(
    {path: ("error", verdict) for path, verdict in _ERRORS.items()} | {path: ("warning", verdict) for path, verdict in _WARNINGS.items()}
)

_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:\d+)?")


def check_support(root: Map, faults: Faults) -> None:
    """Report on the enabled services, and on the networks, volumes, configs and secrets they use."""
    _walk(root, _TABLE, root.place, faults)
    for _, service in services_of(root):
        _restart(service, faults)
        _platform(service, faults)
        _builds(service, faults)
        _ports(service, faults)
        _fixed_ports(service, faults)
        _targets(service, faults)
        _devices(service, faults)
        _health_conditions(root, service, faults)
    for _, network in (root.get("networks") or {}).items():
        _subnets(network, faults)


def _walk(node: Any, known: Pattern[tuple[str, Verdict]], at: Place, faults: Faults) -> None:
    if known.known is not None:
        level, verdict = known.known
        reason = verdict(node)
        if reason and level == "error":
            faults.error(at, reason, code="unsupported")
        elif reason:
            faults.warning(at, reason, code="no-effect")
    if isinstance(node, Map):
        external = node.get("external") is True
        for key, value in node.items():
            if (inner := known.at(key)) is not None and not external:
                _walk(value, inner, node.key_place(key), faults)
    elif isinstance(node, Seq) and known.any is not None:
        for index, item in enumerate(node):
            _walk(item, known.any, node.item_place(index), faults)


def _restart(service: Map, faults: Faults) -> None:
    policy = service.get("restart")
    if policy and not _RESTART.fullmatch(policy):
        hint = "one of no, always, unless-stopped, on-failure, on-failure:N"
        faults.error(service.value_place("restart"), f"there is no restart policy {policy!r}", hint=hint, code="invalid-restart-policy")


def _platform(service: Map, faults: Faults) -> None:
    platform = text_of(service.get("platform"))
    if platform and platform.partition("/")[2].partition("/")[0] not in ("", _architecture()):
        message = f"the image is for {platform}, this machine is linux/{_architecture()}"
        hint = "it runs only where an emulator is registered"
        faults.warning(service.value_place("platform"), message, hint=hint, code="foreign-platform")


def _builds(service: Map, faults: Faults) -> None:
    """A context is a folder here, an image for this machine."""
    build = service.get("build")
    if not isinstance(build, Map):
        return
    context, platforms, own = text_of(build.get("context")), build.get("platforms") or (), f"linux/{_architecture()}"
    if is_remote(context) or "://" in context:
        at = build.value_place("context") if "context" in build.values_at else service.value_place("build")
        hint = "fetch it, and name the folder"
        faults.error(at, f"a build context that has to be fetched is not supported: {context}", hint=hint, code="unsupported")
    if service.get("platform") and text_of(service["platform"]) not in map(text_of, platforms):
        return  # told already, or nothing to tell
    if platforms and not any(text_of(one) == own or text_of(one).startswith(f"{own}/") for one in platforms):
        faults.error(build.value_place("platforms"), f"images are built for this machine, {own}", code="unsupported")
    elif len(platforms) > 1:
        faults.warning(build.value_place("platforms"), f"it is built for this machine alone, {own}", code="no-effect")


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}.get(machine, machine)


def _ports(service: Map, faults: Faults) -> None:
    ports = service.get("ports") or Seq()
    for index, port in enumerate(ports):
        published, protocol = text_of(port.get("published")), port.get("protocol", "tcp")
        at = port.value_place("published") if "published" in port.values_at else ports.item_place(index)
        if published and not _is_published(published):
            hint = "a number up to 65535, or a range such as 8000-8010"
            faults.error(at, f"invalid published port {published!r}", hint=hint, code="invalid-published-port")
        if not port.get("target"):
            faults.error(ports.item_place(index), "port 0 is none that a container could listen on", code="zero-port")
        if protocol not in ("tcp", "udp"):
            faults.error(at, f"publishing {protocol} ports is not supported", hint="tcp or udp", code="unsupported")


def _is_published(text: str) -> bool:
    first, separator, last = text.partition("-")
    numbers = [first, last] if separator else [first]
    return all(is_digits(number) and int(number) <= 65535 for number in numbers) and int(numbers[0]) <= int(numbers[-1])


def _fixed_ports(service: Map, faults: Faults) -> None:
    """Replicas cannot share one port of the machine."""
    replicas = service.get("scale", (service.get("deploy") or {}).get("replicas", 1))
    ports = service.get("ports") or Seq()
    for index, port in enumerate(ports):
        if replicas > 1 and text_of(port.get("published")).isdigit() and port["published"] != "0":
            message = f"{replicas} containers cannot all publish port {port['published']}"
            hint = "publish a range of ports, or put a proxy in front"
            faults.error(ports.item_place(index), message, hint=hint, code="scaled-host-port")


def _targets(service: Map, faults: Faults) -> None:
    """A mount's target is an absolute path."""
    mounts = service.get("volumes") or Seq()
    for index, mount in enumerate(mounts):
        target = text_of(mount.get("target"))
        if target and not target.startswith("/"):
            at = mount.value_place("target") if "target" in mount.values_at else mounts.item_place(index)
            drive = "a name of one letter before a colon is read as a Windows drive: give the volume a longer name"
            hint = drive if ":" in target or ":" in text_of(mount.get("source")) else "it starts with a slash"
            faults.error(at, f"the mount's target {target!r} is not an absolute path", hint=hint, code="relative-mount-target")


def _devices(service: Map, faults: Faults) -> None:
    """A device has a path here and one in the container; Docker Compose takes an empty one, as an unset variable leaves it."""
    devices = service.get("devices") or Seq()
    for index, device in enumerate(devices):
        missing = next((key for key in ("source", "target") if not device.get(key)), "")
        if missing:
            hint = "write SOURCE[:TARGET[:PERMISSIONS]]; is a variable in it unset?"
            faults.error(devices.item_place(index), f"the device has no {missing}", hint=hint, code="incomplete-device")


def _health_conditions(root: Map, service: Map, faults: Faults) -> None:
    """A dependency that shall be healthy without a healthcheck in the file: the image must have one."""
    dependencies = service.get("depends_on")
    for name, entry in dependencies.items() if isinstance(dependencies, Map) else ():
        target = root["services"].get(name)
        if not isinstance(entry, Map) or entry.get("condition") != "service_healthy" or not isinstance(target, Map):
            continue
        check = target.get("healthcheck")
        at = entry.value_place("condition")
        if isinstance(check, Map) and (check.get("disable") or (check.get("test") or [""])[0] == "NONE"):
            faults.error(at, f'service "{name}" can never be healthy: its healthcheck is disabled', code="disabled-healthcheck")
        elif not isinstance(check, Map) or not check.get("test"):
            hint = f"give {name} a healthcheck, or wait for service_started"
            faults.warning(at, f'service "{name}" has no healthcheck here: its image must have one', hint=hint, code="no-healthcheck")


def _subnets(network: Any, faults: Faults) -> None:
    pools = ((network or {}).get("ipam") or {}).get("config") or ()
    for pool in pools:
        subnet = pool.get("subnet")
        if not subnet:
            continue
        import ipaddress

        try:
            ipaddress.ip_network(subnet, strict=False)
        except ValueError:
            faults.error(pool.value_place("subnet"), f"{subnet!r} is not a subnet", hint="write 172.30.0.0/16", code="invalid-subnet")
