"""Ports: HostConfig.PortBindings, and what inspect and list tell of the ones really published."""

from __future__ import annotations

import re
from typing import Any

from stackrun.api.types import PortBinding, PublishedPort
from stackrun.api.wire.fields import items, members
from stackrun.errors import InvalidArgument

_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?")
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_LAST_PORT = 65535


def container_port(key: str) -> tuple[int, str]:
    """`80/tcp` or `80` → (80, "tcp")."""
    match = _PORT.fullmatch(key.lower())
    if not match or int(match[1]) > _LAST_PORT:
        raise InvalidArgument(f"invalid port specification: {key!r}", hint="write it as 80/tcp")
    return int(match[1]), match[2] or "tcp"


def _host_ports(value: str, place: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(value or "0")
    first, last = (int(match[1]), int(match[2] or 0)) if match else (_LAST_PORT + 1, 0)
    if first > _LAST_PORT or last > _LAST_PORT or (last and last < first):
        raise InvalidArgument(f"invalid port specification: {value!r} for {place}")
    return first, last if last != first else 0


def ports_from_json(value: Any) -> tuple[PortBinding, ...]:
    bindings = []
    for key, hosts in members(value, "HostConfig.PortBindings").items():
        port, protocol = container_port(key)
        for host in items(hosts, f"HostConfig.PortBindings.{key}"):
            asked = members(host, f"HostConfig.PortBindings.{key}")
            first, last = _host_ports(str(asked.get("HostPort") or ""), key)
            bindings.append(PortBinding(port, protocol, str(asked.get("HostIp") or ""), first, last))
    return tuple(bindings)


def ports_to_json(bindings: tuple[PortBinding, ...]) -> dict[str, list[dict[str, str]]]:
    body: dict[str, list[dict[str, str]]] = {}
    for one in bindings:
        host_port = f"{one.host_port}-{one.host_port_end}" if one.host_port_end else str(one.host_port or "")
        body.setdefault(f"{one.container_port}/{one.protocol}", []).append({"HostIp": one.host_ip, "HostPort": host_port})
    return body


def published_to_json(ports: tuple[PublishedPort, ...]) -> dict[str, list[dict[str, str]] | None]:
    """NetworkSettings.Ports: an exposed port that is not published is null."""
    body: dict[str, list[dict[str, str]] | None] = {}
    for one in ports:
        key = f"{one.container_port}/{one.protocol}"
        if not one.host_port:
            body.setdefault(key, None)
            continue
        body[key] = [*(body.get(key) or ()), {"HostIp": one.host_ip or "0.0.0.0", "HostPort": str(one.host_port)}]
    return body


def published_from_json(value: Any) -> tuple[PublishedPort, ...]:
    ports = []
    for key, hosts in members(value, "NetworkSettings.Ports").items():
        port, protocol = container_port(key)
        ports += [PublishedPort(port, protocol, one["HostIp"], int(one["HostPort"])) for one in hosts or ()]
        if not hosts:
            ports.append(PublishedPort(port, protocol))
    return tuple(ports)


def listed_ports(ports: tuple[PublishedPort, ...]) -> list[dict[str, Any]]:
    """The list form: an exposed port has no IP and no PublicPort."""
    return [
        {"PrivatePort": one.container_port, "Type": one.protocol}
        | ({"IP": one.host_ip or "0.0.0.0", "PublicPort": one.host_port} if one.host_port else {})
        for one in ports
    ]
