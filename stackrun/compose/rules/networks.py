"""Who can reach whom: the networks of services, and the names that they answer to there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.tree import Place


def shared_with(stack: Stack, service: Service) -> Service | None:
    """The service whose network it uses (`network_mode: service:NAME`), followed to its end, itself when it has its own.

    None when a container of another stack has it.
    """
    return stack.once(_find_owners)[service.name]


def _find_owners(stack: Stack) -> Mapping[str, Service | None]:
    owners: dict[str, Service | None] = {}
    for service in stack.services:
        way: list[str] = []
        current: Service | None = service
        while current is not None and current.name not in owners and current.text("network_mode").startswith("service:"):
            way.append(current.name)
            owners[current.name] = None  # what a circle comes back to
            current = stack.service.get(current.text("network_mode").removeprefix("service:"))
        if current is not None and current.name not in owners:
            owners[current.name] = None if current.text("network_mode").startswith("container:") else current
        owner = owners[current.name] if current is not None else None
        owners.update(dict.fromkeys(way, owner))
    return owners


def networks_of(stack: Stack, service: Service) -> frozenset[str] | None:
    """Names of the networks that a service is on, None where they cannot be told: the host's, a container's, one of a driver.

    A service without any has the empty set.
    """
    return stack.once(_find_networks)[service.name]


def _find_networks(stack: Stack) -> Mapping[str, frozenset[str] | None]:
    return {service.name: _networks_of(stack, service) for service in stack.services}


def _networks_of(stack: Stack, service: Service) -> frozenset[str] | None:
    owner = shared_with(stack, service)
    mode = owner.text("network_mode") if owner is not None else "container:"
    if owner is None or mode not in ("", "none", "bridge"):
        return None
    return frozenset() if mode == "none" else frozenset(("\0bridge",)) if mode == "bridge" else frozenset(owner.map("networks"))


def names_of(service: Service) -> Iterator[tuple[str, str, Place]]:
    """(network or empty for all of them, name, place) of each name that a service answers to, its own first."""
    yield "", service.name, service.place
    for key in ("container_name", "hostname"):
        if service.text(key):
            yield "", service.text(key), service.at(key)
    for network in service.map("networks"):
        for alias, place in service.items("networks", network, "aliases"):
            if isinstance(alias, str):
                yield network, alias, place


def known_names(stack: Stack) -> Mapping[str, Service]:
    """Every name that a service of the stack answers to, in lower case → the service."""
    return stack.once(_find_names)


def _find_names(stack: Stack) -> Mapping[str, Service]:
    found: dict[str, Service] = {}
    for service in stack.services:
        for _, name, _ in names_of(service):
            found.setdefault(name.lower(), service)
    return found


def can_meet(one: Service, other: Service) -> bool:
    """Whether both may run: services of different profiles are alternatives."""
    profiles = set(map(str, one.seq("profiles"))), set(map(str, other.seq("profiles")))
    return not all(profiles) or bool(profiles[0] & profiles[1])
