"""What a project asks of an engine: networks, volumes and, a service, the containers it should have.  Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any

from stackrun.api import labels
from stackrun.api.types import ContainerSpec, EndpointSpec, IpamPool, Mount, MountType, NetworkSpec, VolumeSpec
from stackrun.compose import model
from stackrun.errors import ComposeError, Diagnostic, InvalidArgument
from stackrun.stack.container import Names, container_template, joined_services
from stackrun.stack.content import Contents, content_digest, encoded, live_path, private_path
from stackrun.stack.plan import Condition, WriteFile

JOINED = "stackrun.joined-containers"
"""Label: ids of the containers whose namespaces or volumes a container shares; when one is replaced, it must be too."""

CONTENTS = "stackrun.contents"
"""Label: what its configs and secrets held when it was made, JSON of where each is mounted → `config nginx 3f2a…`."""
KIND = "stackrun.kind"
"""Label: `job` for what is done once it has exited 0."""

RECREATE = model.OnChange()

_UNHASHED_LABELS = frozenset({
    labels.CONFIG_HASH, labels.CONFIG_FILES, labels.WORKING_DIR, labels.ENVIRONMENT_FILE, labels.DEPENDS_ON, labels.VERSION, CONTENTS, KIND,
})  # fmt: skip
"""Where a stack was read from, and its order, are no part of a container; contents count by themselves."""


@dataclass(frozen=True, slots=True)
class Dependency:
    service: str
    condition: Condition = Condition.STARTED
    restart: bool = False
    required: bool = True
    follow: str = "ignore"
    """What the dependent does while the stack is kept: ignore, restart (after it has started anew), hold (stop while it is not met)."""

    def label(self) -> str:
        return f"{self.service}:{self.condition}:{str(self.restart).lower()}"


@dataclass(frozen=True, slots=True)
class FileMount:
    """A config or secret in a container. `digest` is of its content; `label` is `config nginx` or `secret token`."""

    target: str
    label: str
    digest: str
    on_change: model.OnChange = RECREATE

    @property
    def live(self) -> bool:
        """Whether the container stays when the content changes."""
        return self.on_change.action != "recreate"


@dataclass(frozen=True, slots=True)
class DesiredService:
    name: str
    image: str
    spec: ContainerSpec
    """Of every replica; `container_spec` adds what is each one's own."""
    config_hash: str
    replicas: int = 1
    dependencies: tuple[Dependency, ...] = ()
    joins: tuple[str, ...] = ()
    """Services to whose very containers (replica 1) it is bound: shared namespaces, volumes_from."""
    files: tuple[WriteFile, ...] = ()
    """The private ones that have to be there."""
    file_mounts: tuple[FileMount, ...] = ()
    container_name: str = ""
    pull_policy: str = ""
    platform: str = ""
    job: bool = False
    """Somebody waits for it to complete, or it says so itself: done is done, it is not run again while nothing about it has changed."""
    buildable: bool = False
    restarts: bool = True
    """False: the file says `restart: no`, so what has ended by itself is left so."""
    on_unhealthy: str = "ignore"
    update: model.UpdateConfig | None = None
    """How its containers are replaced; None: all at once, each one's old container before its new one."""

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(endpoint.network for endpoint in self.spec.endpoints)

    @property
    def volumes(self) -> tuple[str, ...]:
        return tuple(mount.source for mount in self.spec.mounts if mount.type is MountType.VOLUME and mount.source)

    @property
    def signalled(self) -> bool:
        """Whether it is told by signals that something has changed."""
        return any(one.on_change.action == "signal" for one in self.file_mounts)

    def name_of(self, number: int, project: str) -> str:
        return self.container_name or f"{project}-{self.name}-{number}"


@dataclass(frozen=True, slots=True)
class DesiredNetwork:
    key: str
    spec: NetworkSpec
    external: bool = False


@dataclass(frozen=True, slots=True)
class DesiredVolume:
    key: str
    spec: VolumeSpec
    external: bool = False


@dataclass(frozen=True, slots=True)
class Desired:
    """`services` come in start order, dependencies first; networks and volumes are keyed by their name in the engine."""

    project: str
    services: Mapping[str, DesiredService]
    networks: Mapping[str, DesiredNetwork] = field(default_factory=dict)
    volumes: Mapping[str, DesiredVolume] = field(default_factory=dict)
    dormant: frozenset[str] = frozenset()
    """Services that no active profile enables: their containers are no orphans."""
    state_dir: str = ""
    """Where private files and the notes about live ones are kept."""

    def container_name(self, service: str, number: int = 1) -> str:
        return self.services[service].name_of(number, self.project)


def desired(
    project: model.Project,
    order: Sequence[str],
    *,
    contents: Contents,
    state_dir: str,
    scale: Mapping[str, int] | None = None,
    version: str = "",
) -> Desired:
    """`order`: the services dependencies first (graph.start_order). `contents`: what the files of configs and secrets hold.

    Raises ComposeError for a config or secret that has no content here (external).
    """
    for name in scale or ():
        if name not in project.services:
            raise InvalidArgument(f"no such service: {name}", hint=f"the services are {', '.join(sorted(project.services))}")
    writer = _Writer(project, contents, state_dir, scale or {}, version)
    services = {name: writer.service(project.services[name]) for name in order}
    if writer.faults:
        raise ComposeError(writer.faults)
    networks = {one.name: _network(project.name, one, version) for one in project.networks.values()}
    volumes = {one.name: _volume(project.name, one, version) for one in project.volumes.values()}
    return Desired(project.name, services, networks, volumes, frozenset(project.disabled_services), state_dir)


def container_spec(
    service: DesiredService, number: int, project: str, *, image_id: str = "", replaces: str = "", stop_signal: str = ""
) -> ContainerSpec:
    """The spec of one replica: its number, its own name as an alias, the image it is made from.

    `stop_signal` is its image's.  Engines take any signal for an order to stop, after which no restart policy holds, unless a
    container has a stop signal of its own: one that is told by signals gets the usual one.
    """
    own = {labels.CONTAINER_NUMBER: str(number)}
    if image_id:
        own[labels.IMAGE] = image_id
    if replaces:
        own[labels.REPLACE] = replaces
    name = service.name_of(number, project)
    endpoints = tuple(replace(one, aliases=_with_alias(one, name)) for one in service.spec.endpoints)
    stops_by = service.spec.stop_signal
    if service.signalled and not stops_by:
        stops_by = stop_signal or "SIGTERM"
    return replace(service.spec, labels={**service.spec.labels, **own}, endpoints=endpoints, stop_signal=stops_by)


def contents_of(spec: ContainerSpec) -> dict[str, str]:
    """Where a container's configs and secrets are mounted → `config nginx 3f2a…`, as its label has it."""
    try:
        found = json.loads(spec.labels.get(CONTENTS) or "{}")
    except ValueError:
        return {}
    return {str(target): str(held) for target, held in found.items()} if isinstance(found, dict) else {}


def _with_alias(endpoint: EndpointSpec, name: str) -> tuple[str, ...]:
    return endpoint.aliases if name in endpoint.aliases else (name, *endpoint.aliases)


def bound(spec: ContainerSpec, ids: Mapping[str, str]) -> ContainerSpec:
    """The spec with the names of the containers it joins replaced by their ids, and those ids in a label.

    An id says "this very container": once it has been replaced, the label shows it.
    """
    joined: list[str] = []

    def to_id(text: str, prefix: str = "") -> str:
        name, colon, rest = text.removeprefix(prefix).partition(":")
        if not text.startswith(prefix) or name not in ids:
            return text
        joined.append(ids[name])
        return f"{prefix}{ids[name]}{colon}{rest}"

    modes = {name: to_id(getattr(spec, name), "container:") for name in ("network_mode", "ipc_mode", "pid_mode")}
    volumes_from = tuple(to_id(one) for one in spec.volumes_from)
    if not joined:
        return spec
    return replace(spec, **modes, volumes_from=volumes_from, labels={**spec.labels, JOINED: ",".join(sorted(set(joined)))})  # type: ignore[arg-type]


class _Writer:
    """The services of one project; gathers the faults of all."""

    def __init__(self, project: model.Project, contents: Contents, state_dir: str, scale: Mapping[str, int], version: str) -> None:
        self._project = project
        self._contents = contents
        self._state_dir = state_dir
        self._scale = scale
        self._names = Names(
            networks={key: one.name for key, one in project.networks.items()},
            volumes={key: one.name for key, one in project.volumes.items()},
            containers=self._container_names,
        )
        self._labels = _project_labels(project, version)
        self._jobs = {
            name
            for service in project.services.values()
            for name, dependency in service.depends_on.items()
            if dependency.condition == Condition.COMPLETED
        }
        self.faults: list[Diagnostic] = []

    def service(self, service: model.Service) -> DesiredService:
        dependencies = tuple(_dependency(service, name) for name in sorted(service.depends_on))
        image = service.image or f"{self._project.name}-{service.name}"
        mounts, files, file_mounts, content = self._files(service)
        own = self._service_labels(service, dependencies)
        if file_mounts:
            own[CONTENTS] = json.dumps({one.target: f"{one.label} {one.digest}" for one in file_mounts}, sort_keys=True)
        spec = container_template(service, self._names, image, own, mounts)
        digest = config_hash(_without_private_paths(spec, files), (*service.links, *content))
        return DesiredService(
            name=service.name,
            image=image,
            spec=replace(spec, labels={**spec.labels, labels.CONFIG_HASH: digest}),
            config_hash=digest,
            replicas=self._replicas(service),
            dependencies=dependencies,
            joins=joined_services(service),
            files=files,
            file_mounts=file_mounts,
            container_name=service.container_name,
            pull_policy=service.pull_policy,
            platform=service.platform,
            job=service.kind == "job" or service.name in self._jobs,
            buildable=service.build is not None and not service.image,
            restarts=not _ends(service),
            on_unhealthy=service.on_unhealthy,
            update=service.deploy.update_config if service.deploy else None,
        )

    def _replicas(self, service: model.Service) -> int:
        wanted = self._scale.get(service.name, service.replicas)
        if wanted > 1 and service.container_name:
            hint = "remove container_name, every replica needs a name of its own"
            raise InvalidArgument(f"service {service.name}: {wanted} containers cannot share the name {service.container_name}", hint=hint)
        return wanted

    def _container_names(self, service: str) -> tuple[str, ...]:
        declared = self._project.services.get(service) or self._project.disabled_services[service]
        if declared.container_name:
            return (declared.container_name,)
        return tuple(f"{self._project.name}-{service}-{number}" for number in range(1, max(1, self._replicas(declared)) + 1))

    def _service_labels(self, service: model.Service, dependencies: tuple[Dependency, ...]) -> dict[str, str]:
        return {
            **service.labels,
            **self._labels,
            labels.SERVICE: service.name,
            labels.ONEOFF: "False",
            labels.DEPENDS_ON: ",".join(one.label() for one in dependencies),
            **({KIND: service.kind} if service.kind == "job" else {}),
        }

    def _files(self, service: model.Service) -> tuple[list[Mount], tuple[WriteFile, ...], tuple[FileMount, ...], list[str]]:
        """Mounts, the private files behind them, what they hold, and what of that counts for the container's hash."""
        mounts: list[Mount] = []
        files: list[WriteFile] = []
        held: list[FileMount] = []
        counted: list[str] = []
        for section, directory, references in (("configs", "/", service.configs), ("secrets", "/run/secrets/", service.secrets)):
            for position, reference in enumerate(references):
                target = reference.target or reference.source
                target = target if target.startswith("/") else directory + target
                definition = self._definition(section, reference)
                source, file = self._source(section, reference, definition, (service.name, section, position))
                content = file.content if file else self._contents.get(source, b"")
                mounts.append(Mount(MountType.BIND, target, source, read_only=True))
                files += [file] if file else []
                held.append(FileMount(target, f"{section[:-1]} {reference.source}", content_digest(content), definition.on_change))
                counted.append(f"{target} live" if held[-1].live else f"{target} {hashlib.sha256(content).hexdigest()}")
        return mounts, tuple(files), tuple(held), counted

    def _definition(self, section: str, reference: model.FileReference) -> model.Config | model.Secret:
        return (self._project.configs if section == "configs" else self._project.secrets)[reference.source]

    def _source(
        self, section: str, reference: model.FileReference, definition: model.Config | model.Secret, place: tuple[str, str, int]
    ) -> tuple[str, WriteFile | None]:
        """The host path to mount, and the private file to write there unless it is the user's own."""
        live = definition.on_change.action != "recreate"
        if definition.file and not live and not (reference.uid or reference.gid or reference.mode is not None):
            return definition.file, None
        content = self._content(definition)
        if content is None:
            self._fault(section, reference, place)
            return "", None
        mode = 0o444 if reference.mode is None else reference.mode
        uid, gid = int(reference.uid or 0), int(reference.gid or 0)
        label = f"{section[:-1]} {reference.source}"
        if live:
            path = live_path(self._state_dir, self._project.name, label, mode, uid, gid)
        else:
            path = private_path(self._state_dir, self._project.name, content, mode, uid, gid)
        return path, WriteFile(path, content, mode, uid, gid, label, live=live)

    def _content(self, definition: model.Config | model.Secret) -> bytes | None:
        if definition.external:
            return None
        if definition.file:
            return self._contents.get(definition.file, b"")
        if definition.content is not None:
            return encoded(definition.content)
        value = self._project.environment.get(definition.environment)
        return None if value is None else encoded(value)

    def _fault(self, section: str, reference: model.FileReference, place: tuple[str, str, int]) -> None:
        at = self._project.place("services", *place)
        message = f"service {place[0]}: {section[:-1]} {reference.source} has no content on this machine"
        hint = "external configs and secrets need a swarm; give it a file, content or a set environment variable"
        self.faults.append(Diagnostic(at.path, at.line, at.column, message, hint=hint, code="no-content"))


def _dependency(service: model.Service, name: str) -> Dependency:
    declared = service.depends_on[name]
    follow = service.on_dependency.get(name) or ("restart" if declared.restart else "ignore")
    return Dependency(name, Condition(declared.condition), declared.restart, declared.required, follow)


def _ends(service: model.Service) -> bool:
    """Whether the file itself says that it is not to be restarted."""
    declared = service.deploy.restart_policy if service.deploy else None
    return declared.condition == "none" if declared is not None else service.restart == "no"


def config_hashes(project: model.Project, contents: Contents) -> dict[str, str]:
    """Each enabled service's hash, as its containers carry it in a label."""
    found = desired(project, tuple(project.services), contents=contents, state_dir="")
    return {name: service.config_hash for name, service in found.services.items()}


def _without_private_paths(spec: ContainerSpec, files: tuple[WriteFile, ...]) -> ContainerSpec:
    """Where this machine keeps a secret's content is no part of the configuration; the content counts by itself."""
    paths = {file.path for file in files}
    return replace(spec, mounts=tuple(replace(one, source="") if one.source in paths else one for one in spec.mounts)) if paths else spec


def _project_labels(project: model.Project, version: str) -> dict[str, str]:
    found = {
        labels.PROJECT: project.name,
        labels.WORKING_DIR: project.working_dir,
        labels.CONFIG_FILES: ",".join(project.files),
        labels.VERSION: version,
    }
    if project.env_files:
        found[labels.ENVIRONMENT_FILE] = ",".join(project.env_files)
    return found


def _network(project: str, network: model.Network, version: str) -> DesiredNetwork:
    pools = tuple(IpamPool(one.subnet, one.ip_range, one.gateway, one.aux_addresses) for one in network.pools)
    spec = NetworkSpec(
        name=network.name,
        driver=network.driver or "bridge",
        internal=network.internal,
        attachable=network.attachable,
        enable_ipv6=bool(network.enable_ipv6),
        pools=pools,
        ipam_driver=network.ipam_driver or "default",
        ipam_options=network.ipam_options,
        options=network.driver_opts,
        labels=network.labels,
    )
    own = {labels.PROJECT: project, labels.NETWORK: network.key, labels.CONFIG_HASH: config_hash(spec), labels.VERSION: version}
    return DesiredNetwork(network.key, replace(spec, labels={**spec.labels, **own}), network.external)


def _volume(project: str, volume: model.Volume, version: str) -> DesiredVolume:
    spec = VolumeSpec(name=volume.name, driver=volume.driver or "local", options=volume.driver_opts, labels=volume.labels)
    own = {labels.PROJECT: project, labels.VOLUME: volume.key, labels.CONFIG_HASH: config_hash(spec), labels.VERSION: version}
    return DesiredVolume(volume.key, replace(spec, labels={**spec.labels, **own}), volume.external)


def config_hash(spec: ContainerSpec | NetworkSpec | VolumeSpec, extra: Iterable[str] = ()) -> str:
    """SHA-256 over the fields that differ from their defaults, so that a field added later changes no hash.

    Links name the replicas of another service and count by `extra`, the file's own words, lest scaling that service recreate this one.
    """
    value = _canonical(spec)
    if isinstance(spec, ContainerSpec):
        value["labels"] = {key: text for key, text in spec.labels.items() if key not in _UNHASHED_LABELS}
        for endpoint in value.get("endpoints", ()):
            endpoint.pop("links", None)
    text = json.dumps([value, list(extra)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    return tuple((one.name, one.default_factory() if callable(one.default_factory) else one.default) for one in fields(kind))


def _canonical(value: Any) -> Any:
    if is_dataclass(value):
        kind: type = type(value)
        held = ((name, getattr(value, name), default) for name, default in _defaults(kind))
        return {name: _canonical(one) for name, one, default in held if one != default}
    if isinstance(value, tuple):
        return [_canonical(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _canonical(one) for key, one in value.items()}
    return value
