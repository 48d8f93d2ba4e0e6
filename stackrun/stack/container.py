"""One service as the container it asks for: Compose's keys → `ContainerSpec`, pure.

What differs between replicas (number, name, its alias) is left out here and added by `desired`.
Keys that no `ContainerSpec` can carry never come so far: `compose.support` refuses them with their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from stackrun.api.types import (
    ContainerSpec,
    DeviceMapping,
    EndpointSpec,
    Healthcheck,
    LogConfig,
    Mount,
    MountType,
    PortBinding,
    Resources,
    RestartPolicy,
    Ulimit,
)
from stackrun.compose import model
from stackrun.errors import Unsupported
from stackrun.units import parse_nano_cpus

RESTART_BY_CONDITION = {"none": "no", "no": "no", "on-failure": "on-failure", "any": "always", "always": "always"}
"""deploy.restart_policy.condition → Docker's policy, as Docker Compose maps it."""


@dataclass(frozen=True, slots=True)
class Names:
    """How the file's names are written in the engine."""

    networks: Mapping[str, str]
    volumes: Mapping[str, str]
    containers: Callable[[str], tuple[str, ...]]
    """A service's containers, first replica first."""

    def container(self, service: str) -> str:
        return self.containers(service)[0]


def container_template(
    service: model.Service, names: Names, image: str, labels: Mapping[str, str], file_mounts: Iterable[Mount]
) -> ContainerSpec:
    return ContainerSpec(
        image=image,
        command=service.command,
        entrypoint=service.entrypoint,
        environment=tuple(name if value is None else f"{name}={value}" for name, value in service.environment.items()),
        labels=labels,
        user=service.user,
        working_dir=service.working_dir,
        hostname=service.hostname,
        domainname=service.domainname,
        tty=service.tty,
        open_stdin=service.stdin_open,
        stop_signal=service.stop_signal,
        stop_timeout_s=None if service.stop_grace_period_s is None else math.ceil(service.stop_grace_period_s),
        healthcheck=_healthcheck(service.healthcheck),
        exposed_ports=_exposed(service),
        mounts=(*(_mount(one, names) for one in service.volumes), *file_mounts),
        tmpfs=dict(_split_tmpfs(one) for one in service.tmpfs),
        ports=tuple(_port(one) for one in service.ports),
        network_mode=_network_mode(service, names),
        endpoints=_endpoints(service, names),
        restart_policy=_restart_policy(service),
        resources=_resources(service),
        log_config=_log_config(service.logging),
        cap_add=service.cap_add,
        cap_drop=service.cap_drop,
        privileged=service.privileged,
        read_only_rootfs=service.read_only,
        init=service.init,
        security_opt=service.security_opt,
        dns=service.dns,
        dns_options=service.dns_opt,
        dns_search=service.dns_search,
        extra_hosts=tuple(one.replace("=", ":", 1) for one in service.extra_hosts),
        group_add=service.group_add,
        sysctls=service.sysctls,
        shm_size_bytes=service.shm_size_bytes,
        ipc_mode=_joined(service.ipc, names),
        pid_mode=_joined(service.pid, names),
        uts_mode=service.uts,
        cgroupns_mode=service.cgroup,
        userns_mode=service.userns_mode,
        cgroup_parent=service.cgroup_parent,
        oom_score_adj=service.oom_score_adj,
        volumes_from=tuple(_volumes_from(one, names) for one in service.volumes_from),
        runtime=service.runtime,
        annotations=service.annotations,
        storage_options=service.storage_opt,
    )


def joined_services(service: model.Service) -> tuple[str, ...]:
    """The services whose containers it shares namespaces or volumes with: it is bound to those very containers."""
    modes = (mode.removeprefix("service:") for mode in (service.network_mode, service.ipc, service.pid) if mode.startswith("service:"))
    volumes = (one.split(":")[0] for one in service.volumes_from if not one.startswith("container:"))
    return tuple(sorted({*modes, *volumes}))


def _healthcheck(check: model.Healthcheck | None) -> Healthcheck | None:
    if check is None:
        return None
    if check.disable:
        return Healthcheck(test=("NONE",))
    return Healthcheck(
        test=check.test,
        interval_s=check.interval_s or 0.0,
        timeout_s=check.timeout_s or 0.0,
        retries=check.retries or 0,
        start_period_s=check.start_period_s or 0.0,
        start_interval_s=check.start_interval_s or 0.0,
    )


def _exposed(service: model.Service) -> tuple[str, ...]:
    exposed = {one if "/" in one else f"{one}/tcp" for one in service.expose}
    return tuple(sorted(exposed | {f"{port.target}/{port.protocol}" for port in service.ports}))


def _port(port: model.Port) -> PortBinding:
    first, _, last = port.published.partition("-")
    return PortBinding(
        container_port=port.target,
        protocol=port.protocol,
        host_ip=port.host_ip,
        host_port=int(first or 0),
        host_port_end=int(last) if last and last != first else 0,
    )


def _split_tmpfs(text: str) -> tuple[str, str]:
    path, _, options = text.partition(":")
    return path, options


def _mount(mount: model.VolumeMount, names: Names) -> Mount:
    match mount.type:
        case "volume":
            return _volume_mount(mount, names)
        case "bind":
            bind = mount.bind or model.BindOptions()
            return Mount(
                type=MountType.BIND,
                target=mount.target,
                source=mount.source,
                read_only=mount.read_only,
                propagation=bind.propagation,
                create_host_path=bind.create_host_path,
                non_recursive=bind.recursive == "disabled",
            )
        case "tmpfs":
            tmpfs = mount.tmpfs or model.TmpfsOptions()
            return Mount(
                type=MountType.TMPFS,
                target=mount.target,
                read_only=mount.read_only,
                tmpfs_size_bytes=tmpfs.size_bytes,
                tmpfs_mode=tmpfs.mode,
            )
        case other:
            raise Unsupported(f"mount {mount.target}: type {other} is not supported", hint="use volume, bind or tmpfs")


def _volume_mount(mount: model.VolumeMount, names: Names) -> Mount:
    options = mount.volume or model.VolumeOptions()
    return Mount(
        type=MountType.VOLUME,
        target=mount.target,
        source=names.volumes.get(mount.source, mount.source),
        read_only=mount.read_only,
        no_copy=options.nocopy,
        subpath=options.subpath,
        volume_labels=options.labels,
    )


def _network_mode(service: model.Service, names: Names) -> str:
    if service.network_mode:
        return _joined(service.network_mode, names)
    ordered = _by_priority(service)
    return names.networks[ordered[0][0]] if ordered else "none"


def _by_priority(service: model.Service) -> list[tuple[str, model.NetworkAttachment]]:
    """The network a container joins first is the one with the highest priority, as Docker Compose has it."""
    return sorted(service.networks.items(), key=lambda item: (-item[1].priority, item[0]))


def _endpoints(service: model.Service, names: Names) -> tuple[EndpointSpec, ...]:
    if service.network_mode:
        return ()
    links = tuple(_links(service, names))
    return tuple(
        EndpointSpec(
            network=names.networks[key],
            aliases=(service.name, *(alias for alias in attachment.aliases if alias != service.name)),
            ipv4_address=attachment.ipv4_address,
            ipv6_address=attachment.ipv6_address,
            mac_address=attachment.mac_address or (service.mac_address if position == 0 else ""),
            links=links,
            driver_options=attachment.driver_opts,
            gateway_priority=attachment.gw_priority,
        )
        for position, (key, attachment) in enumerate(_by_priority(service))
    )


def _links(service: model.Service, names: Names) -> Iterable[str]:
    for link in service.links:
        target, _, alias = link.partition(":")
        yield from (f"{container}:{alias or target}" for container in names.containers(target))
    for link in service.external_links:
        container, _, alias = link.partition(":")
        yield f"{container}:{alias or container}"


def _joined(mode: str, names: Names) -> str:
    target = mode.removeprefix("service:")
    return mode if target == mode else f"container:{names.container(target)}"


def _volumes_from(entry: str, names: Names) -> str:
    if entry.startswith("container:"):
        return entry.removeprefix("container:")
    service, _, access = entry.partition(":")
    return f"{names.container(service)}:{access}" if access else names.container(service)


def _restart_policy(service: model.Service) -> RestartPolicy:
    declared = service.deploy.restart_policy if service.deploy else None
    if declared is not None:
        name = RESTART_BY_CONDITION.get(declared.condition or "any", declared.condition)
        return RestartPolicy(name, declared.max_attempts or 0 if name == "on-failure" else 0)
    name, _, attempts = service.restart.partition(":")
    return RestartPolicy(name or "no", int(attempts or 0))


def _resources(service: model.Service) -> Resources:
    """`deploy.resources` wins over the older keys, as in Docker Compose."""
    limits = service.deploy.limits if service.deploy else model.ResourceLimits()
    reserved = service.deploy.reservations if service.deploy else model.ResourceLimits()
    return Resources(
        memory_bytes=limits.memory_bytes or service.mem_limit_bytes,
        memory_reservation_bytes=reserved.memory_bytes or service.mem_reservation_bytes,
        memory_swap_bytes=service.memswap_limit_bytes,
        nano_cpus=parse_nano_cpus(limits.cpus or service.cpus),
        cpu_shares=service.cpu_shares,
        cpu_quota_us=service.cpu_quota_us,
        cpu_period_us=service.cpu_period_us,
        cpuset_cpus=service.cpuset,
        pids_limit=limits.pids or service.pids_limit,
        blkio_weight=service.blkio_config.weight if service.blkio_config else 0,
        oom_kill_disable=service.oom_kill_disable,
        ulimits=tuple(Ulimit(one.name, one.soft, one.hard) for one in service.ulimits),
        devices=tuple(DeviceMapping(one.source, one.target, one.permissions) for one in service.devices),
        device_cgroup_rules=service.device_cgroup_rules,
    )


def _log_config(logging: model.Logging | None) -> LogConfig:
    return LogConfig() if logging is None else LogConfig(logging.driver or "json-file", logging.options)
