"""Docker's nouns as frozen values: what an Engine takes and gives.

Wire names (`HostConfig.NanoCpus`) live in `api.wire` alone; here are the field's words with units last.
Mappings are read-only by convention; sequences are tuples.  Times are ISO 8601 strings in UTC with
nanoseconds, as Docker writes them; an empty string is "never".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time, which Docker prints for "not yet"."""


# --- containers: what is asked for -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`name` is one of no, always, on-failure, unless-stopped; `maximum_retries` 0 means no limit."""

    name: str = "no"
    maximum_retries: int = 0


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """`test` is Docker's form: ("NONE",), ("CMD", argv…), ("CMD-SHELL", line) or () to take the image's.

    A 0 takes the default: interval 30 s, timeout 30 s, retries 3, start_period 0 s, start_interval 5 s.
    """

    test: tuple[str, ...] = ()
    interval_s: float = 0.0
    timeout_s: float = 0.0
    retries: int = 0
    start_period_s: float = 0.0
    start_interval_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PortBinding:
    """One published port. `host_port` 0 asks for an ephemeral one; `host_ip` empty is every address."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0
    """With a range, its last port: the first free one is taken. 0: no range."""


class MountType(StrEnum):
    BIND = "bind"
    VOLUME = "volume"
    TMPFS = "tmpfs"


@dataclass(frozen=True, slots=True)
class Mount:
    """`source` is an absolute host path (bind), a volume's name or empty for an anonymous one (volume), empty (tmpfs)."""

    type: MountType
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = ""
    create_host_path: bool = False
    """bind: make the source a directory when it is missing (the short form's habit)."""
    non_recursive: bool = False
    no_copy: bool = False
    """volume: do not fill a new volume from the image."""
    subpath: str = ""
    volume_driver: str = ""
    volume_labels: Mapping[str, str] = field(default_factory=dict)
    volume_options: Mapping[str, str] = field(default_factory=dict)
    tmpfs_size_bytes: int = 0
    tmpfs_mode: int = 0
    tmpfs_options: str = ""
    """Raw comma-separated options of `--tmpfs`."""


@dataclass(frozen=True, slots=True)
class DeviceMapping:
    host_path: str
    container_path: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class Ulimit:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class LogConfig:
    """`driver` is json-file, local (both kept as json-file here) or none; options: max-size, max-file."""

    driver: str = "json-file"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of one container; 0 or empty is "no limit"; `memory_swap_bytes` -1 is unlimited swap."""

    memory_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swap_bytes: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    oom_kill_disable: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    devices: tuple[DeviceMapping, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """How a container joins one network (name or id)."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    mac_address: str = ""
    links: tuple[str, ...] = ()
    driver_options: Mapping[str, str] = field(default_factory=dict)
    gateway_priority: int = 0


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything `POST /containers/create` asks for. `None` where "not given" differs from "empty"."""

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: tuple[str, ...] = ()
    """`NAME=value`, or `NAME` alone to remove the image's."""
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = True
    attach_stderr: bool = True
    stop_signal: str = ""
    stop_timeout_s: int | None = None
    healthcheck: Healthcheck | None = None
    exposed_ports: tuple[str, ...] = ()
    """`80/tcp`."""
    anonymous_volumes: tuple[str, ...] = ()
    """Container paths of Config.Volumes."""
    mac_address: str = ""
    shell: tuple[str, ...] = ()
    # HostConfig
    binds: tuple[str, ...] = ()
    """Docker's short form `src:dst[:opts]`, kept for inspect; `mounts` holds the long form."""
    mounts: tuple[Mount, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    publish_all_ports: bool = False
    network_mode: str = ""
    """default, bridge, none, host, container:REF or a network's name."""
    endpoints: tuple[EndpointSpec, ...] = ()
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    resources: Resources = Resources()
    log_config: LogConfig = LogConfig()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    read_only_rootfs: bool = False
    init: bool | None = None
    security_opt: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    """`name:address`; the address `host-gateway` is the bridge's."""
    group_add: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    shm_size_bytes: int = 0
    ipc_mode: str = ""
    pid_mode: str = ""
    uts_mode: str = ""
    cgroupns_mode: str = ""
    userns_mode: str = ""
    cgroup_parent: str = ""
    oom_score_adj: int = 0
    volumes_from: tuple[str, ...] = ()
    runtime: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    storage_options: Mapping[str, str] = field(default_factory=dict)
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None


# --- containers: what is ------------------------------------------------------------------------


class Status(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class HealthStatus(StrEnum):
    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class HealthProbe:
    start: str
    end: str
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    status: HealthStatus = HealthStatus.NONE
    failing_streak: int = 0
    log: tuple[HealthProbe, ...] = ()


class EndedBy(StrEnum):
    """Who brought a container's last run to its end; foreign engines do not tell."""

    ITSELF = ""
    CALLER = "caller"
    """It was told to stop, or killed, over the API."""
    LOST = "lost"
    """Nobody saw: the machine went down, or its shim was killed."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    status: Status = Status.CREATED
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = NEVER
    finished_at: str = NEVER
    health: Health | None = None
    ended_by: EndedBy = EndedBy.ITSELF
    """None: the container has no healthcheck."""

    @property
    def running(self) -> bool:
        return self.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A mount as it was resolved at creation. `name` is the volume's, `source` the host path."""

    type: MountType
    target: str
    source: str = ""
    name: str = ""
    driver: str = ""
    mode: str = ""
    read_write: bool = True
    propagation: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place on one network. Addresses are empty while it is not running."""

    network_name: str
    network_id: str
    endpoint_id: str = ""
    ipv4_address: str = ""
    ipv4_prefix_length: int = 0
    ipv4_gateway: str = ""
    ipv6_address: str = ""
    ipv6_prefix_length: int = 0
    ipv6_gateway: str = ""
    mac_address: str = ""
    aliases: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    spec: EndpointSpec | None = None


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """What is really published; `host_port` 0: exposed only."""

    container_port: int
    protocol: str
    host_ip: str = ""
    host_port: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """What inspect tells. `name` has no leading slash (the wire adds it)."""

    id: str
    name: str
    created: str
    path: str
    args: tuple[str, ...]
    image_id: str
    """`sha256:…`"""
    spec: ContainerSpec
    """As asked, with the image's defaults filled in (environment, labels, command, user, …)."""
    state: ContainerState
    mounts: tuple[MountPoint, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    restart_count: int = 0
    log_path: str = ""
    driver: str = "overlay2"
    exec_ids: tuple[str, ...] = ()
    size_rw_bytes: int | None = None
    size_root_bytes: int | None = None
    hosts_path: str = ""
    hostname_path: str = ""
    resolv_conf_path: str = ""


@dataclass(frozen=True, slots=True)
class Created:
    id: str
    warnings: tuple[str, ...] = ()


class WaitCondition(StrEnum):
    NOT_RUNNING = "not-running"
    NEXT_EXIT = "next-exit"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ExitStatus:
    code: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """`tail` None is everything. `since_s` and `until_s` are seconds since the epoch, 0 for no bound."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    tail: int | None = None
    since_s: float = 0.0
    until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """`stream` 1 stdout, 2 stderr; `data` with its newline if it had one; `time` RFC 3339 with nanoseconds."""

    stream: int
    time: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes of an attached stream: 1 stdout, 2 stderr (always 1 with a tty)."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class AttachQuery:
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    stream: bool = True
    logs: bool = False


@dataclass(frozen=True, slots=True)
class ExecSpec:
    command: tuple[str, ...]
    environment: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    privileged: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = True
    attach_stderr: bool = True
    detach_keys: str = ""


@dataclass(frozen=True, slots=True)
class Exec:
    id: str
    container_id: str
    spec: ExecSpec
    running: bool = False
    pid: int = 0
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessTable:
    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


# --- images --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an image's configuration that a container inherits (OCI image-spec config.config)."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """`id` is the digest of the image's configuration, `sha256:…`."""

    id: str
    config: ImageConfig
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    created: str = ""
    size_bytes: int = 0
    architecture: str = ""
    os: str = "linux"
    variant: str = ""
    author: str = ""
    diff_ids: tuple[str, ...] = ()
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of a long operation. `id` names the part (a short layer id), `current`/`total` are bytes."""

    status: str = ""
    id: str = ""
    current: int = 0
    total: int = 0
    stream: str = ""
    aux: Mapping[str, object] = field(default_factory=dict)
    error: str = ""
    """A failure after the first line; the operation is over."""


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    server_address: str = ""


@dataclass(frozen=True, slots=True)
class ImageDeletion:
    untagged: str = ""
    deleted: str = ""


# --- networks and volumes ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IpamPool:
    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary_addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    name: str
    driver: str = "bridge"
    internal: bool = False
    attachable: bool = False
    enable_ipv6: bool = False
    pools: tuple[IpamPool, ...] = ()
    ipam_driver: str = "default"
    ipam_options: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkMember:
    container_id: str
    name: str
    endpoint_id: str
    mac_address: str
    ipv4_address: str
    """With its prefix length: `172.20.0.2/16`."""
    ipv6_address: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    id: str
    created: str
    spec: NetworkSpec
    """With the pools that were really chosen."""
    members: tuple[NetworkMember, ...] = ()
    scope: str = "local"

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    name: str = ""
    """Empty: anonymous, a 64 hex digit name is made."""
    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    name: str
    mountpoint: str
    created: str
    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    scope: str = "local"


# --- the engine itself ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    version: str
    api_version: str
    min_api_version: str
    os: str
    arch: str
    kernel_version: str
    build_time: str = ""
    git_commit: str = ""
    name: str = "stackrun"
    python_version: str = ""
    rootless: bool = False


@dataclass(frozen=True, slots=True)
class Info:
    id: str
    name: str
    """The host's."""
    server_version: str
    root_dir: str
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    memory_total_bytes: int
    cpus: int
    kernel_version: str
    operating_system: str
    architecture: str
    cgroup_version: str
    """1, 2 (hybrid counts as 1, as Docker does)."""
    cgroup_driver: str = "cgroupfs"
    storage_driver: str = "overlay2"
    security_options: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """`type` container, image, network, volume; `action` start, die, …; `attributes` all labels, name, image, exitCode, …"""

    type: str
    action: str
    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Filters:
    """Docker's filters: key → the values asked for; an unknown key is the Engine's InvalidArgument."""

    terms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def get(self, key: str) -> tuple[str, ...]:
        return self.terms.get(key, ())

    def __bool__(self) -> bool:
        return bool(self.terms)


NO_FILTERS = Filters()
