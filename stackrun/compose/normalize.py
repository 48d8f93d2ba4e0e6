"""What a model means although nobody wrote it: names, the default network, implied dependencies, defaults of long forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stackrun.compose.paths import clean
from stackrun.compose.scalar import text_of
from stackrun.compose.template import Lookup
from stackrun.compose.tree import Map, Place, Seq

NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")
"""Keys whose value may be `service:NAME`."""


def services_of(root: Map) -> Iterator[tuple[str, Map]]:
    services = root.get("services")
    for name, service in services.items() if isinstance(services, Map) else ():
        if isinstance(service, Map):
            yield name, service


def set_defaults(root: Map) -> None:
    """Defaults that long forms have, before paths are resolved. In place."""
    for _, service in services_of(root):
        build = service.get("build")
        if isinstance(build, Map):
            build.setdefault("context", ".")
        for secret in service.get("secrets") or ():
            if isinstance(secret, Map) and "target" not in secret:
                secret["target"] = f"/run/secrets/{text_of(secret.get('source'))}"
        for port in service.get("ports") or ():
            if isinstance(port, Map):
                port.setdefault("mode", "ingress")
                port.setdefault("protocol", "tcp")
        for volume in service.get("volumes") or ():
            _clean_target(volume)
        for request in _device_requests(service):
            if "count" not in request and "device_ids" not in request:
                request["count"] = -1


def _clean_target(volume: Any) -> None:
    target = volume.get("target") if isinstance(volume, Map) else None
    if isinstance(target, str):
        volume["target"] = clean(target)


def _device_requests(service: Map) -> Iterator[Map]:
    deploy = service.get("deploy")
    resources = deploy.get("resources") if isinstance(deploy, Map) else None
    reservations = resources.get("reservations") if isinstance(resources, Map) else None
    for requests in (service.get("gpus"), reservations.get("devices") if isinstance(reservations, Map) else None):
        yield from (request for request in requests or () if isinstance(request, Map))


def resolve_environment(root: Map, lookup: Lookup) -> None:
    """Variables named without a value get the caller's, where there is one. In place."""
    for _, service in services_of(root):
        _resolve_variables(service.get("environment"), lookup)


def _resolve_variables(variables: Any, lookup: Lookup) -> None:
    if isinstance(variables, Map):
        for name, value in variables.items():
            if value is None and (found := lookup(name)) is not None:
                variables[name] = found
    elif isinstance(variables, Seq):
        for index, item in enumerate(variables):
            if isinstance(item, str) and "=" not in item and (found := lookup(item)) is not None:
                variables[index] = f"{item}={found}"


def normalize(root: Map, project_name: str, lookup: Lookup, *, variables: bool = True) -> None:
    """The whole project, once all files are merged; `variables` also gives those named without a value the caller's. In place."""
    for _, service in services_of(root):
        _join_default_network(root, service)
        if service.get("pull_policy") == "if_not_present":
            service["pull_policy"] = "missing"
        if isinstance(service.get("build"), Map):
            _complete_build(service["build"], lookup)
        if variables:
            _resolve_variables(service.get("environment"), lookup)
        _imply_dependencies(service)
        service.setdefault("command", None)
        service.setdefault("entrypoint", None)
    for section in ("networks", "volumes", "configs", "secrets"):
        _name_resources(root, section, project_name)


def _join_default_network(root: Map, service: Map) -> None:
    if service.get("provider") is not None:
        return
    if not service.get("networks") and "network_mode" not in service:
        service["networks"] = Map({"default": None}, service.place)
    if "default" in (service.get("networks") or ()):
        networks = root.get("networks")
        if not isinstance(networks, Map):
            networks = root["networks"] = Map(place=root.place)
        networks.setdefault("default", None)


def _complete_build(build: Map, lookup: Lookup) -> None:
    if "dockerfile" not in build and "dockerfile_inline" not in build:
        build["dockerfile"] = "Dockerfile"
    args = build.get("args")
    _resolve_variables(args, lookup)
    if isinstance(args, Map):
        for name in [name for name, value in args.items() if value is None]:
            del args[name]
    elif isinstance(args, Seq):
        args[:] = [item for item in args if "=" in text_of(item)]


def implied(service: Map) -> Iterator[tuple[str, bool, str, Place]]:
    """Services that others are named by: (service, restarts with it, key, place)."""
    links = _items(service.get("links"))
    for index, link in enumerate(links):
        yield text_of(link).split(":")[0], True, "links", links.item_place(index)
    for key in NAMESPACES:
        reference = service.get(key)
        if isinstance(reference, str) and reference.startswith("service:"):
            yield reference.removeprefix("service:"), True, key, service.value_place(key)
    volumes = _items(service.get("volumes_from"))
    for index, source in enumerate(volumes):
        if not text_of(source).startswith("container:"):
            yield text_of(source).split(":")[0], False, "volumes_from", volumes.item_place(index)


def _items(value: Any) -> Seq:
    return value if isinstance(value, Seq) else Seq()


def _imply_dependencies(service: Map) -> None:
    for name, restart, _, at in implied(service):
        dependencies = service.get("depends_on")
        if not isinstance(dependencies, Map):
            dependencies = service["depends_on"] = Map(place=at)
        if name not in dependencies:
            entry = Map({"condition": "service_started", "restart": restart, "required": True}, at)
            dependencies.put(name, entry, at, at)


def _name_resources(root: Map, section: str, project_name: str) -> None:
    resources = root.get(section)
    if not isinstance(resources, Map):
        return
    for key, resource in resources.items():
        if not isinstance(resource, Map):
            resource = resources[key] = Map(place=resources.value_place(key))
        if not resource.get("name"):
            resource["name"] = key if resource.get("external") is True else f"{project_name}_{key}"
        if section == "networks" and not resource.get("ipam"):
            resource["ipam"] = Map(place=resource.place)
