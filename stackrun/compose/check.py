"""What must hold between the parts of a project: names that are referred to exist, settings do not contradict each other.

The same verdict as Docker Compose's `config`, except that everything is found at once; what only this engine cannot do
is in `support`.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from stackrun.compose.faults import did_you_mean
from stackrun.compose.normalize import implied, services_of
from stackrun.compose.read import Reader
from stackrun.compose.scalar import signal_name, text_of
from stackrun.compose.tree import Map, Place, Seq

if TYPE_CHECKING:
    from stackrun.compose.model import Project

SIGNALS = frozenset(one.name for one in signal.Signals)


class Edge(NamedTuple):
    """`source` needs `target`; `reason` is the key that says so: depends_on, links, volumes_from, network_mode, ipc, pid, …"""

    source: str
    target: str
    condition: str
    required: bool
    restart: bool
    place: Place
    reason: str


def dependency_edges(project: Project) -> tuple[Edge, ...]:
    """Every dependency of the enabled services with the place that declares it, by source and target."""
    return edges((name, service.canonical) for name, service in project.services.items())


def edges(services: Iterable[tuple[str, Map]]) -> tuple[Edge, ...]:
    """The same of normalized services, which may still have faults: what is no dependency to tell from its form is left out."""
    return tuple(edge for name, service in services for edge in _edges_of(name, service))


def _edges_of(name: str, service: Map) -> Iterator[Edge]:
    reasons = {target: (reason, place) for target, _, reason, place in reversed(list(implied(service)))}
    written = service.get("depends_on")
    if not isinstance(written, Map):
        return
    for target in sorted(written):
        entry, place = written[target], written.key_place(target)
        if isinstance(entry, Map):
            reason, at = reasons.get(target, ("", None))
            condition = text_of(entry.get("condition", "service_started"))
            required, restart = bool(entry.get("required", True)), bool(entry.get("restart", False))
            yield Edge(name, target, condition, required, restart, place, reason if at == place else "depends_on")


def check_project(root: Map, disabled: Map, reader: Reader) -> None:
    """Report what does not hold; when a file is missing, only what can be judged without it."""
    checker = _Checker(root, disabled, reader)
    for name, service in services_of(root):
        checker.service(name, service)
    checker.resources()
    if not reader.incomplete:
        checker.references()
        checker.container_names()


class _Checker:
    def __init__(self, root: Map, disabled: Map, reader: Reader) -> None:
        self.root, self.disabled, self.faults = root, disabled, reader.faults
        self.broken = reader.broken
        self.services: Map = root.get("services") or Map()

    # --- one service ------------------------------------------------------------------------------

    def service(self, name: str, service: Map) -> None:
        at = self.services.key_place(name)
        if not any(service.get(key) for key in ("image", "build", "provider")) and not self._may_have_image(name):
            self.faults.error(at, f'service "{name}" has neither an image nor a build', hint="give it an image", code="no-image")
        if service.get("network_mode") and service.get("networks"):
            place = service.key_place("networks")
            message = "networks and network_mode exclude each other"
            self.faults.error(place, message, hint="remove one of them", code="network-mode-conflict")
        self._healthcheck(service)
        self._build(name, service)
        self._scale(name, service)
        self._job(service)
        self._followed(service)
        self._limits(service)
        self._mounts(service)
        self._watch(service)
        self._addresses(service)
        self._device_requests(service)

    def _may_have_image(self, name: str) -> bool:
        """Whether what was refused may have said where the image comes from."""
        said = [path[2:3] for path in self.broken if path[:2] == ("services", name)]
        return any(not key or did_you_mean(str(key[0]), ("image", "build", "extends", "provider")) for key in said)

    def _broken(self, *path: str) -> bool:
        return any(broken[: len(path)] == path for broken in self.broken)

    def _healthcheck(self, service: Map) -> None:
        check = service.get("healthcheck")
        test = check.get("test") if isinstance(check, Map) else None
        if isinstance(test, Seq) and test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
            hint = f'write ["CMD", "{test[0]}", …], or one string for a shell'
            at = check.value_place("test") if isinstance(check, Map) else test.place
            self.faults.error(at, "a healthcheck's test starts with CMD, CMD-SHELL or NONE", hint=hint, code="healthcheck-form")

    def _build(self, name: str, service: Map) -> None:
        build = service.get("build")
        if not isinstance(build, Map):
            return
        if build.get("dockerfile") and build.get("dockerfile_inline"):
            place = build.key_place("dockerfile_inline")
            message = "dockerfile and dockerfile_inline exclude each other"
            self.faults.error(place, message, hint="remove one of them", code="dockerfile-conflict")
        for key, context in (build.get("additional_contexts") or {}).items():
            target = text_of(context).removeprefix("service:")
            if not text_of(context).startswith("service:"):
                continue
            at = build["additional_contexts"].value_place(key)
            if target not in self.services:
                self.faults.error(at, f'no service "{target}"', hint=did_you_mean(target, self.services), code="undefined-service")
            elif not isinstance(self.services[target], Map) or not self.services[target].get("build"):
                self.faults.error(at, f'service "{target}" is not built, so its files are no context', code="context-not-built")
        platforms = build.get("platforms")
        if platforms and service.get("platform") and service["platform"] not in platforms:
            place = build.value_place("platforms")
            self.faults.error(place, f"build.platforms lacks the service's platform {service['platform']}", code="platform-conflict")

    def _scale(self, name: str, service: Map) -> None:
        replicas = (service.get("deploy") or {}).get("replicas")
        scale = service.get("scale")
        if scale is not None and replicas is not None and scale != replicas:
            hint = f"deploy.replicas is {replicas}: write one of them"
            self.faults.error(service.value_place("scale"), f"scale is {scale}, deploy.replicas is not", hint=hint, code="scale-conflict")
        elif scale is not None and isinstance(service.get("deploy"), Map):
            service["deploy"]["replicas"] = scale
        count = scale if scale is not None else replicas
        if isinstance(count, int) and count < 0:
            self.faults.error(
                service.value_place("scale" if scale is not None else "deploy"), f"{count} containers make no sense", code="negative-scale"
            )
        if isinstance(count, int) and count > 1 and service.get("container_name"):
            message = f"{count} containers cannot all be named {service['container_name']}"
            self.faults.error(service.value_place("container_name"), message, hint="remove container_name", code="scaled-container-name")

    def _job(self, service: Map) -> None:
        own = service.get("x-stackrun")
        if not isinstance(own, Map) or own.get("kind") != "job":
            return
        policy = (service.get("deploy") or {}).get("restart_policy")
        said = policy.get("condition", "any") if isinstance(policy, Map) else service.get("restart")
        if said in ("any", "always", "unless-stopped"):
            at = service.value_place("deploy" if isinstance(policy, Map) else "restart")
            message = "a job that is always restarted is never done"
            self.faults.error(at, message, hint="restart: on-failure, or no", code="job-always-restarted")

    def _followed(self, service: Map) -> None:
        """What `on_dependency` names is a dependency."""
        own = service.get("x-stackrun")
        said = own.get("on_dependency") if isinstance(own, Map) else None
        known = service.get("depends_on") or ()
        if not isinstance(said, Map):
            return
        for name in said:
            if name not in known:
                hint = did_you_mean(name, known) or f"write it under depends_on: {name}"
                self.faults.error(said.key_place(name), f'"{name}" is no dependency of this service', hint=hint, code="undefined-service")

    def _limits(self, service: Map) -> None:
        """The older keys and deploy.resources must say the same, once deploy.resources says anything."""
        resources = (service.get("deploy") or {}).get("resources") or {}
        for old, group, new in (
            ("mem_limit", "limits", "memory"), ("cpus", "limits", "cpus"), ("pids_limit", "limits", "pids"),
            ("mem_reservation", "reservations", "memory"),
        ):  # fmt: skip
            limits = resources.get(group)
            if service.get(old) and isinstance(limits, Map) and limits.get(new) != service[old]:
                said = f"is {limits[new]}" if limits.get(new) else "is not given"
                hint = "write the limit in one of the two places"
                message = f"{old} is {service[old]}, deploy.resources.{group}.{new} {said}"
                self.faults.error(service.value_place(old), message, hint=hint, code="limits-conflict")

    def _mounts(self, service: Map) -> None:
        mounts = service.get("volumes") or Seq()
        for index, mount in enumerate(mounts):
            at = mounts.item_place(index)
            if not mount.get("target"):
                self.faults.error(at, "the mount has no target", hint="target: path in the container", code="mount-without-target")
            if mount.get("type") == "bind" and not mount.get("source"):
                self.faults.error(at, "a bind mount needs a source", hint="source: path on the host", code="bind-without-source")
        self._mounted_twice(service)

    def _mounted_twice(self, service: Map) -> None:
        """tmpfs and volumes at one path of the container; of volumes alone the later one has replaced the earlier."""
        taken: dict[str, str] = {}
        for key in ("tmpfs", "volumes"):
            mounts = service.get(key) or Seq()
            for index, mount in enumerate(mounts):
                target = mount.get("target") if isinstance(mount, Map) else text_of(mount).partition(":")[0]
                if target and target in taken:
                    message = f"{target} is mounted already, by {taken[target]}"
                    self.faults.error(mounts.item_place(index), message, hint="remove one of the two", code="mount-conflict")
                elif target:
                    taken[target] = f"item {index + 1} of {key}"

    def _watch(self, service: Map) -> None:
        develop = service.get("develop")
        rules = develop.get("watch") if isinstance(develop, Map) else None
        for rule in rules or ():
            if not rule.get("path"):
                self.faults.error(rule.value_place("path"), "path must not be empty", code="watch-without-path")
            if str(rule.get("action", "")).startswith("sync") and not rule.get("target"):
                hint = "target: path in the container"
                self.faults.error(rule.place, f"action {rule['action']} needs a target", hint=hint, code="watch-without-target")

    def _addresses(self, service: Map) -> None:
        ports = service.get("ports") or Seq()
        for index, port in enumerate(ports):
            address = port.get("host_ip")
            if address and not _is_address(address):
                at = port.value_place("host_ip") if "host_ip" in port.values_at else ports.item_place(index)
                self.faults.error(at, f"{address!r} is not an IP address", code="invalid-address")

    def _device_requests(self, service: Map) -> None:
        reservations = ((service.get("deploy") or {}).get("resources") or {}).get("reservations") or {}
        for requests in (service.get("gpus"), reservations.get("devices")):
            for request in requests or ():
                if "count" in request and "device_ids" in request:
                    place = request.key_place("count")
                    message = "count and device_ids exclude each other"
                    self.faults.error(place, message, hint="remove one of them", code="device-count-conflict")

    # --- references -------------------------------------------------------------------------------

    def references(self) -> None:
        for name, service in services_of(self.root):
            self._dependencies(name, service)
            self._named(service, "networks", "network", self._network_names)
            self._mentioned(service.get("volumes"), "volume", lambda item: item.get("source") if item.get("type") == "volume" else "")
            for section in ("configs", "secrets"):
                self._mentioned(service.get(section), section.removesuffix("s"), lambda item: text_of(item.get("source")), empty=True)
            self._mentioned((service.get("build") or {}).get("secrets"), "secret", lambda item: text_of(item.get("source")), empty=True)
            self._named(service, "models", "model", lambda: self._known("models"))

    def _known(self, section: str) -> Map:
        return _map(self.root.get(section))

    def _network_names(self) -> Map:
        return self._known("networks")

    @functools.cached_property
    def _some_services(self) -> str:
        return ", ".join(sorted(self.services)[:20])

    def _dependencies(self, name: str, service: Map) -> None:
        dependencies = _map(service.get("depends_on"))
        for target in list(dependencies):
            at = dependencies.key_place(target)
            if target in self.services or self.faults.full:
                continue
            if target in self.disabled:
                self._hidden(dependencies, target, at)
            else:
                hint = did_you_mean(target, self.services) or f"the services are {self._some_services}"
                self.faults.error(at, f'service "{name}" depends on "{target}", which is no service', hint=hint, code="undefined-service")

    def _hidden(self, dependencies: Map, target: str, at: Place) -> None:
        """A dependency that no profile enables: an error, unless it is not required."""
        entry = dependencies[target]
        if isinstance(entry, Map) and entry.get("required") is False:
            return
        profiles = ", ".join(text_of(profile) for profile in (self.disabled[target].get("profiles") or ())[:5])
        hint = f"enable it with --profile {profiles}, or say required: false"
        self.faults.error(at, f'service "{target}" is not enabled: it belongs to profile {profiles}', hint=hint, code="disabled-service")

    def _named(self, service: Map, key: str, kind: str, known: Callable[[], Map]) -> None:
        names = _map(service.get(key))
        for name in names:
            if name not in known():
                self._undefined(names.key_place(name), kind, name, known())

    def _mentioned(self, items: Any, kind: str, name_of: Callable[[Any], Any], *, empty: bool = False) -> None:
        known = self._known(f"{kind}s")
        for index, item in enumerate(items if isinstance(items, Seq) else ()):
            name = name_of(item)
            if (name or empty) and name not in known:
                at = item.value_place("source") if "source" in item.values_at else items.item_place(index)
                self._undefined(at, kind, name, known)

    def _undefined(self, at: Place, kind: str, name: str, known: Map) -> None:
        if self.faults.full:
            return
        hint = did_you_mean(name, known) or f"define it at the top level: {kind}s: {{{name}: }}"
        self.faults.error(at, f'undefined {kind} "{name}"', hint=hint, code=f"undefined-{kind}")

    def container_names(self) -> None:
        owners: dict[str, str] = {}
        for name, service in services_of(self.root):
            container = service.get("container_name")
            if container and container in owners:
                at = service.value_place("container_name")
                message = f'container_name "{container}" is also that of service "{owners[container]}"'
                self.faults.error(at, message, hint="names of containers are unique", code="duplicate-container-name")
            elif container:
                owners[container] = name

    # --- resources --------------------------------------------------------------------------------

    def resources(self) -> None:
        for section, keys in (("configs", ("file", "environment", "content")), ("secrets", ("file", "environment"))):
            for name, resource in self._known(section).items():
                if isinstance(resource, Map) and not self._broken(section, name):
                    self._one_source(section, name, resource, keys)
                    self._on_change(resource)
        for name, volume in self._known("volumes").items():
            if isinstance(volume, Map) and volume.get("external") is True:
                for key in ("driver", "driver_opts", "labels"):
                    if key in volume:
                        place = volume.key_place(key)
                        hint = "an external volume is taken as it is"
                        message = f'volume "{name}" is external and cannot have {key}'
                        self.faults.error(place, message, hint=hint, code="external-volume-options")

    def _on_change(self, resource: Map) -> None:
        own = resource.get("x-stackrun")
        if not isinstance(own, Map) or not isinstance(own.get("on_change"), Map):
            return
        said: Map = own["on_change"]
        if ("signal" in said) == ("exec" in said):
            hint = "signal: HUP, or exec: [command]"
            message = "on_change is a signal or an exec, one of them"
            self.faults.error(own.value_place("on_change"), message, hint=hint, code="invalid-on-change")
        elif "signal" in said and signal_name(said["signal"]) not in SIGNALS:
            hint = did_you_mean(text_of(said["signal"]), (name.removeprefix("SIG") for name in SIGNALS))
            message = f"there is no signal {text_of(said['signal'])}"
            self.faults.error(said.value_place("signal"), message, hint=hint, code="invalid-on-change")
        elif "exec" in said and not said["exec"]:
            self.faults.error(said.value_place("exec"), "exec has no command", code="invalid-on-change")

    def _one_source(self, section: str, name: str, resource: Map, keys: tuple[str, ...]) -> None:
        given = [key for key in keys if resource.get(key) is not None or key in resource.keys_at]
        kind = section.removesuffix("s")
        at = self._known(section).key_place(name)
        if resource.get("external") is True:
            return
        if not given or (kind == "secret" and not any(resource.get(key) for key in (*keys, "driver"))):
            hint = f"give it one of {', '.join(keys)}, or say external: true"
            self.faults.error(at, f'{kind} "{name}" has no value', hint=hint, code="no-source")
        elif len(given) > 1:
            place = resource.key_place(given[1])
            self.faults.error(place, f"{' and '.join(given)} exclude each other", hint="keep one of them", code="several-sources")


def _map(value: Any) -> Map:
    return value if isinstance(value, Map) else Map()


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
