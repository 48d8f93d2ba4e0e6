"""The resolved stack as frozen values: what the rest of stackrun works with after a file was read.

Words are the Compose Specification's; units are last in a name (`_s` seconds, `_bytes`).  `None` is "not given"
where that differs from an empty or zero value.  Mappings are read-only by convention, sequences are tuples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stackrun.compose.tree import Map, Place, place_of, plain
from stackrun.errors import Diagnostic

Strings = tuple[str, ...]
Command = tuple[str, ...] | None
"""None: the image's own; an empty tuple clears it."""


@dataclass(frozen=True, slots=True)
class Port:
    """One container port. `published` is "", a port or a range such as `8000-8010`."""

    target: int
    published: str = ""
    protocol: str = "tcp"
    host_ip: str = ""
    mode: str = "ingress"
    name: str = ""
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class BindOptions:
    propagation: str = ""
    create_host_path: bool = False
    selinux: str = ""
    recursive: str = ""


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    nocopy: bool = False
    subpath: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TmpfsOptions:
    size_bytes: int = 0
    mode: int = 0


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """`source` is a key of the project's volumes (type volume), an absolute host path (bind) or empty (anonymous, tmpfs)."""

    type: str
    target: str
    source: str = ""
    read_only: bool = False
    consistency: str = ""
    bind: BindOptions | None = None
    volume: VolumeOptions | None = None
    tmpfs: TmpfsOptions | None = None
    image_subpath: str = ""


@dataclass(frozen=True, slots=True)
class NetworkAttachment:
    """How a service joins one network; the key in `Service.networks` is a key of the project's networks."""

    aliases: Strings = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: Strings = ()
    mac_address: str = ""
    interface_name: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    gw_priority: int = 0


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """`test` is Docker's form: ("NONE",), ("CMD", argv…), ("CMD-SHELL", line), or () to keep the image's."""

    test: Strings = ()
    interval_s: float | None = None
    timeout_s: float | None = None
    retries: int | None = None
    start_period_s: float | None = None
    start_interval_s: float | None = None
    disable: bool = False


@dataclass(frozen=True, slots=True)
class Dependency:
    """`condition` is service_started, service_healthy or service_completed_successfully."""

    condition: str = "service_started"
    restart: bool = False
    required: bool = True


@dataclass(frozen=True, slots=True)
class Logging:
    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ulimit:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Device:
    source: str
    target: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One entry of `gpus` or `deploy.resources.reservations.devices`; `count` -1 is "all"."""

    capabilities: Strings = ()
    driver: str = ""
    count: int | None = None
    device_ids: Strings = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileReference:
    """A config or secret as a service mounts it; `source` is a key of the project's configs or secrets. `mode` is a number."""

    source: str
    target: str = ""
    uid: str = ""
    gid: str = ""
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class EnvFile:
    path: str
    required: bool = True
    format: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """One `post_start` or `pre_stop` command."""

    command: Strings
    user: str = ""
    privileged: bool = False
    working_dir: str = ""
    environment: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WeightDevice:
    path: str
    weight: int


@dataclass(frozen=True, slots=True)
class ThrottleDevice:
    """`rate` is bytes a second or operations a second."""

    path: str
    rate: int


@dataclass(frozen=True, slots=True)
class BlkioConfig:
    weight: int = 0
    weight_device: tuple[WeightDevice, ...] = ()
    device_read_bps: tuple[ThrottleDevice, ...] = ()
    device_read_iops: tuple[ThrottleDevice, ...] = ()
    device_write_bps: tuple[ThrottleDevice, ...] = ()
    device_write_iops: tuple[ThrottleDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """`deploy.resources.limits` or `.reservations`."""

    cpus: float = 0.0
    memory_bytes: int = 0
    pids: int = 0
    devices: tuple[DeviceRequest, ...] = ()
    generic_resources: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`deploy.restart_policy`; `condition` is none, on-failure, any."""

    condition: str = ""
    delay_s: float | None = None
    max_attempts: int | None = None
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    parallelism: int | None = None
    delay_s: float | None = None
    failure_action: str = ""
    monitor_s: float | None = None
    max_failure_ratio: float = 0.0
    order: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    constraints: Strings = ()
    preferences: Strings = ()
    """The `spread` values."""
    max_replicas_per_node: int = 0


@dataclass(frozen=True, slots=True)
class Deploy:
    mode: str = ""
    replicas: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: ResourceLimits = ResourceLimits()
    reservations: ResourceLimits = ResourceLimits()
    restart_policy: RestartPolicy | None = None
    update_config: UpdateConfig | None = None
    rollback_config: UpdateConfig | None = None
    placement: Placement = Placement()
    endpoint_mode: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """`context` is an absolute path or a URL; `dockerfile` is relative to it."""

    context: str = ""
    dockerfile: str = ""
    dockerfile_inline: str = ""
    entitlements: Strings = ()
    args: Mapping[str, str | None] = field(default_factory=dict)
    ssh: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cache_from: Strings = ()
    cache_to: Strings = ()
    no_cache: bool = False
    no_cache_filter: Strings = ()
    additional_contexts: Mapping[str, str] = field(default_factory=dict)
    pull: bool = False
    extra_hosts: Strings = ()
    isolation: str = ""
    network: str = ""
    target: str = ""
    secrets: tuple[FileReference, ...] = ()
    shm_size_bytes: int = 0
    tags: Strings = ()
    ulimits: tuple[Ulimit, ...] = ()
    platforms: Strings = ()
    privileged: bool = False
    provenance: str = ""
    sbom: str = ""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One `develop.watch` rule; `action` is rebuild, sync, restart, sync+restart or sync+exec."""

    path: str
    action: str
    target: str = ""
    exec: Hook | None = None
    include: Strings = ()
    ignore: Strings = ()
    initial_sync: bool = False


@dataclass(frozen=True, slots=True)
class CredentialSpec:
    config: str = ""
    file: str = ""
    registry: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    type: str
    options: Mapping[str, Strings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelReference:
    """How a service is told of a model: names of the variables that carry its endpoint and name."""

    endpoint_variable: str = ""
    model_variable: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One service, every key of the specification in its long form."""

    name: str
    image: str = ""
    command: Command = None
    entrypoint: Command = None
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """env_file and environment, resolved. None: named without a value and not set by the caller; it unsets the image's."""
    env_files: tuple[EnvFile, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    label_files: Strings = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    profiles: Strings = ()
    container_name: str = ""
    hostname: str = ""
    domainname: str = ""
    depends_on: Mapping[str, Dependency] = field(default_factory=dict)
    """Declared and implied (links, volumes_from, network_mode/ipc/pid: service:NAME)."""
    ports: tuple[Port, ...] = ()
    expose: Strings = ()
    networks: Mapping[str, NetworkAttachment] = field(default_factory=dict)
    network_mode: str = ""
    """"", none, host, bridge, service:NAME, container:NAME or another network's name."""
    volumes: tuple[VolumeMount, ...] = ()
    volumes_from: Strings = ()
    tmpfs: Strings = ()
    configs: tuple[FileReference, ...] = ()
    secrets: tuple[FileReference, ...] = ()
    healthcheck: Healthcheck | None = None
    restart: str = ""
    """"", no, always, unless-stopped, on-failure or on-failure:N."""
    scale: int | None = None
    deploy: Deploy | None = None
    build: Build | None = None
    develop: tuple[Trigger, ...] = ()
    logging: Logging | None = None
    pull_policy: str = ""
    """"", always, never, missing, build, daily, weekly, every_<duration>."""
    platform: str = ""
    user: str = ""
    working_dir: str = ""
    group_add: Strings = ()
    tty: bool = False
    stdin_open: bool = False
    init: bool | None = None
    attach: bool | None = None
    read_only: bool = False
    privileged: bool = False
    cap_add: Strings = ()
    cap_drop: Strings = ()
    security_opt: Strings = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ulimits: tuple[Ulimit, ...] = ()
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: Strings = ()
    gpus: tuple[DeviceRequest, ...] = ()
    dns: Strings = ()
    dns_opt: Strings = ()
    dns_search: Strings = ()
    extra_hosts: Strings = ()
    """`name=address`, one an address."""
    links: Strings = ()
    external_links: Strings = ()
    mac_address: str = ""
    ipc: str = ""
    pid: str = ""
    uts: str = ""
    cgroup: str = ""
    cgroup_parent: str = ""
    userns_mode: str = ""
    isolation: str = ""
    runtime: str = ""
    stop_signal: str = ""
    stop_grace_period_s: float | None = None
    shm_size_bytes: int = 0
    mem_limit_bytes: int = 0
    mem_reservation_bytes: int = 0
    memswap_limit_bytes: int = 0
    """-1: unlimited swap."""
    mem_swappiness: int | None = None
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    pids_limit: int = 0
    cpus: float = 0.0
    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    cpu_rt_runtime_us: int = 0
    cpu_rt_period_us: int = 0
    cpu_count: int = 0
    cpu_percent: float = 0.0
    cpuset: str = ""
    blkio_config: BlkioConfig | None = None
    storage_opt: Mapping[str, str] = field(default_factory=dict)
    volume_driver: str = ""
    credential_spec: CredentialSpec | None = None
    provider: Provider | None = None
    models: Mapping[str, ModelReference] = field(default_factory=dict)
    use_api_socket: bool = False
    post_start: tuple[Hook, ...] = ()
    pre_stop: tuple[Hook, ...] = ()
    kind: str = "service"
    """`x-stackrun.kind`: service, or job: it is done when it has exited 0."""
    on_unhealthy: str = "ignore"
    """`x-stackrun.on_unhealthy`: ignore or restart."""
    on_dependency: Mapping[str, str] = field(default_factory=dict)
    """`x-stackrun.on_dependency` by service of `depends_on`: ignore, restart or hold; one that is not named says nothing."""
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """The service's own `x-…` keys."""
    canonical: Map = field(default_factory=Map, repr=False, compare=False)

    @property
    def replicas(self) -> int:
        """How many containers are wanted: `scale`, else `deploy.replicas`, else 1."""
        if self.scale is not None:
            return self.scale
        if self.deploy is not None and self.deploy.replicas is not None:
            return self.deploy.replicas
        return 1

    def to_dict(self) -> dict[str, Any]:
        """The canonical form as plain JSON values, keys sorted: equal services give equal text."""
        return plain(self.canonical)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class IpamPool:
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    aux_addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Network:
    """`key` is its name in the file, `name` its name in the engine (`shop_default`)."""

    key: str
    name: str
    driver: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    external: bool = False
    internal: bool = False
    attachable: bool = False
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    ipam_driver: str = ""
    ipam_options: Mapping[str, str] = field(default_factory=dict)
    pools: tuple[IpamPool, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    key: str
    name: str
    driver: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnChange:
    """`x-stackrun.on_change`: what a running container is given when the content changes: recreate, restart, signal, exec or none."""

    action: str = "recreate"
    signal: str = ""
    """`SIGHUP`."""
    command: Strings = ()


@dataclass(frozen=True, slots=True)
class Config:
    """Exactly one of `file` (absolute path), `content`, `environment` (a variable's name) unless `external`."""

    key: str
    name: str
    file: str = ""
    content: str | None = None
    environment: str = ""
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    template_driver: str = ""
    on_change: OnChange = OnChange()
    extensions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secret:
    key: str
    name: str
    file: str = ""
    content: str | None = None
    """The value, once a variable named by `environment` was looked up; never printed by `config`."""
    environment: str = ""
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    driver: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    template_driver: str = ""
    on_change: OnChange = OnChange()
    extensions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    key: str
    name: str
    model: str = ""
    context_size: int = 0
    runtime_flags: Strings = ()


@dataclass(frozen=True, slots=True)
class Project:
    """A whole stack. `services` are those the profiles enable, ordered by name; the rest are `disabled_services`."""

    name: str
    working_dir: str
    files: Strings
    """Absolute paths of the stack files (`-` for stdin), without what they include."""
    services: Mapping[str, Service]
    disabled_services: Mapping[str, Service]
    networks: Mapping[str, Network]
    volumes: Mapping[str, Volume]
    configs: Mapping[str, Config]
    secrets: Mapping[str, Secret]
    models: Mapping[str, Model] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What variables were looked up in: the caller's environment over the env files."""
    env_files: Strings = ()
    profiles: Strings = ()
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """The top level's `x-…` keys, `x-stackrun` among them."""
    warnings: tuple[Diagnostic, ...] = ()
    inputs: Strings = ()
    """Every file that was read, or would be if it were there: stack files, includes, extended files, env files, label files."""
    canonical: Map = field(default_factory=Map, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The canonical form, as `docker compose config --format json` prints it (keys sorted)."""
        return plain(self.canonical)  # type: ignore[no-any-return]

    def place(self, *path: str | int) -> Place:
        """Where the value at a key path of the canonical form was written: `place("services", "web", "ports", 0)`.

        A path that was not written (a default) gives the nearest parent that was.
        """
        return place_of(self.canonical, path)
