"""Published ports: who else wants them, and who can reach them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stackrun.compose.origins import Note
from stackrun.compose.rules.networks import can_meet
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Node, Service, Stack
from stackrun.compose.scalar import is_digits, text_of
from stackrun.compose.tree import Place

GROUP = Group("ports")

GROUP.reported("invalid-port", "The short form of a port cannot be read.", stage="schema")
GROUP.reported("invalid-address", "A port is published on what is no IP address.", stage="references")
GROUP.reported("invalid-published-port", "A published port is no number or range.", stage="references")
GROUP.reported("zero-port", "The port in the container is 0, on which nothing can listen.", stage="references")
GROUP.reported("scaled-host-port", "Several containers would publish one port of the machine.", stage="references")

_EPHEMERAL = (32768, 60999)
_MOST_COMPARED = 20
_DATABASES = {
    1433: "SQL Server", 1521: "Oracle", 2379: "etcd", 3306: "MySQL", 5432: "PostgreSQL", 5984: "CouchDB", 6379: "Redis", 7687: "Neo4j",
    8086: "InfluxDB", 9042: "Cassandra", 9200: "Elasticsearch", 9300: "Elasticsearch", 11211: "memcached", 27017: "MongoDB",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Port:
    """`first` and `last` are what may be published on the machine, 0 when any free one; `target` is the port in the container."""

    first: int
    last: int
    target: int
    address: str
    protocol: str
    place: Place
    node: Node

    @property
    def written(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def everywhere(self) -> bool:
        return self.address in ("", "0.0.0.0", "::")

    def meets(self, other: Port) -> bool:
        """Whether both listen on one address by one protocol."""
        return self.protocol == other.protocol and (self.address == other.address or self.everywhere or other.everywhere)


def ports_of(stack: Stack, service: Service) -> tuple[Port, ...]:
    """What the service publishes; entries with a finding of their own are left out."""
    return stack.once(_find_ports)[service.name]


def _find_ports(stack: Stack) -> Mapping[str, tuple[Port, ...]]:
    return {service.name: tuple(_ports_of(service)) for service in stack.services}


def _ports_of(service: Service) -> Iterator[Port]:
    for node in service.nodes("ports"):
        target, published = node.get("target"), node.text("published")
        first, _, last = published.partition("-")
        if isinstance(target, int) and (not published or (is_digits(first) and (not last or is_digits(last)))):
            begin = int(first or 0)
            place = node.at("published") if "published" in node.node.values_at else node.place
            yield Port(begin, int(last or begin), target, node.text("host_ip"), node.text("protocol"), place, node)


def container_ports(stack: Stack, service: Service) -> frozenset[int]:
    """What it is said to listen on: targets of `ports`, and `expose`."""
    return stack.once(_find_container_ports)[service.name]


def _find_container_ports(stack: Stack) -> Mapping[str, frozenset[int]]:
    return {service.name: _container_ports(stack, service) for service in stack.services}


def _container_ports(stack: Stack, service: Service) -> frozenset[int]:
    found = {port.target for port in ports_of(stack, service)}
    for item, _ in service.items("expose"):
        first, _, last = text_of(item).partition("/")[0].partition("-")
        if is_digits(first) and (not last or is_digits(last)):
            found.update(range(int(first), min(int(last or first), int(first) + 1000) + 1))
    return frozenset(found)


def replicas(service: Service) -> int:
    count = service.get("scale")
    count = count if isinstance(count, int) else service.get("deploy", "replicas")
    return count if isinstance(count, int) else 1


def _all(stack: Stack) -> Iterator[tuple[Service, Port]]:
    for service in stack.services:
        for port in ports_of(stack, service):
            yield service, port


# --- clashes --------------------------------------------------------------------------------------


@GROUP.rule("port-clash", "error", "One port of the machine is published twice.")
def port_clash(stack: Stack) -> Iterator[Found]:
    taken: dict[int, list[tuple[Service, Port]]] = {}
    for service, port in _all(stack):
        if not port.first or port.first != port.last or has_no_own_network(service):
            continue
        holders = taken.setdefault(port.first, [])
        for owner, other in holders[:_MOST_COMPARED]:
            if port.meets(other) and (owner is service or (can_meet(owner, service) and owner.enabled and service.enabled)):
                who = "already" if owner is service else f'by service "{owner.name}", too'
                message = f'service "{service.name}" publishes port {port.first}, which is published {who}'
                notes = (Note(other.place, "the other one"),)
                yield Found(port.place, message, "only one of them can have it: publish another port", notes)
                break
        holders.append((service, port))


@GROUP.rule("port-range-clash", "warning", "A range of ports has one that is published elsewhere.")
def port_range_clash(stack: Stack) -> Iterator[Found]:
    """The engine takes a free one of the range: it is enough that one is left, but which one is anybody's guess."""
    listed = [(service, port) for service, port in _all(stack) if port.first and not has_no_own_network(service)]
    for service, port in [one for one in listed if one[1].first != one[1].last][:_MOST_COMPARED]:
        for owner, other in listed:
            overlap = port.first <= other.last and other.first <= port.last
            both = other.first == other.last or (other.place > port.place)
            if other is not port and overlap and both and port.meets(other) and can_meet(owner, service):
                message = f'service "{service.name}" takes one of the ports {port.written}, and "{owner.name}" {other.written}'
                yield Found(port.place, message, "ranges without a common port", (Note(other.place, "the other one"),))
                break


@GROUP.rule("container-port-twice", "note", "A container's port is published twice.")
def container_port_twice(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        first: dict[tuple[int, str], Port] = {}
        for port in ports_of(stack, service):
            other = first.setdefault((port.target, port.protocol), port)
            if other is not port and other.meets(port):
                message = f'service "{service.name}" publishes its port {port.target} twice'
                yield Found(port.place, message, "one of them is enough", (Note(other.place, "the first one"),))


@GROUP.rule("too-few-ports", "error", "A range of ports has fewer than there are containers.")
def too_few_ports(stack: Stack) -> Iterator[Found]:
    for service, port in _all(stack):
        size = port.last - port.first + 1
        if port.first and size > 1 and replicas(service) > size:
            message = f'service "{service.name}": {replicas(service)} containers share the {size} ports {port.written}'
            yield Found(port.place, message, f"publish {port.first}-{port.first + replicas(service) - 1}")


def has_no_own_network(service: Service) -> bool:
    """Whether nothing can be published for it."""
    mode = service.text("network_mode")
    return mode in ("host", "none") or mode.startswith(("service:", "container:"))


@GROUP.rule("ports-without-effect", "warning", "A service publishes ports and has no network of its own.")
def ports_without_effect(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if has_no_own_network(service) and service.seq("ports"):
            mode = service.text("network_mode")
            hint = f"publish it at {mode.removeprefix('service:')}" if mode.startswith("service:") else "remove ports"
            yield Found(service.key_at("ports"), f'ports of service "{service.name}" have no effect with network_mode: {mode}', hint)


_EXPOSED = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:/(?:tcp|udp|sctp))?", re.IGNORECASE)


@GROUP.rule("invalid-expose", "warning", "What a service is said to listen on is no port.")
def invalid_expose(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for item, place in service.items("expose"):
            if not _EXPOSED.fullmatch(text_of(item)) or int(re.match("[0-9]+", text_of(item))[0]) > 65535:  # type: ignore[index]
                hint = "publish it with ports" if ":" in text_of(item) else "a port, or a range such as 8000-8010"
                yield Found(place, f'service "{service.name}" exposes {text_of(item)!r}, which is no port', hint)


# --- who can reach them ---------------------------------------------------------------------------


def _public(stack: Stack) -> Iterator[tuple[Service, Port]]:
    for service, port in _all(stack):
        if port.first and port.everywhere and not has_no_own_network(service):
            yield service, port


@GROUP.rule("public-port", "note", "A port is published on every address of the machine.")
def public_port(stack: Stack) -> Iterator[Found]:
    for service, port in _public(stack):
        if port.target not in _DATABASES and port.target != 22 and not port.address:
            message = f'port {port.written} of service "{service.name}" can be reached from everywhere'
            yield Found(port.place, message, f'"127.0.0.1:{port.written}:{port.target}", for this machine alone')


@GROUP.rule("public-database-port", "warning", "A database can be reached from everywhere.")
def public_database_port(stack: Stack) -> Iterator[Found]:
    for service, port in _public(stack):
        if port.target in _DATABASES:
            message = f'{_DATABASES[port.target]} of service "{service.name}" can be reached from everywhere, at port {port.written}'
            hint = f'"127.0.0.1:{port.written}:{port.target}", or no port at all: services reach each other without'
            yield Found(port.place, message, hint)


@GROUP.rule("public-ssh-port", "warning", "A container's shell can be reached from everywhere.")
def public_ssh_port(stack: Stack) -> Iterator[Found]:
    for service, port in _public(stack):
        if port.target == 22 and port.protocol == "tcp" and not re.search("git|gogs|forgejo|sftp", service.text("image") + service.name):
            message = f'ssh of service "{service.name}" can be reached from everywhere, at port {port.written}'
            yield Found(port.place, message, "stackrun exec needs no port; or publish it on 127.0.0.1")


@GROUP.rule("privileged-port", "note", "A port below 1024 is published.")
def privileged_port(stack: Stack) -> Iterator[Found]:
    for service, port in _all(stack):
        if 0 < port.first < 1024:
            message = f'port {port.written} of service "{service.name}" is one that only a privileged engine can publish'
            yield Found(port.place, message, "publish a port from 1024 on, with a proxy in front")


@GROUP.rule("ephemeral-port", "note", "A published port may be taken by an outgoing connection.")
def ephemeral_port(stack: Stack) -> Iterator[Found]:
    for service, port in _all(stack):
        if port.first <= _EPHEMERAL[1] and port.last >= _EPHEMERAL[0]:
            message = f'port {port.written} of service "{service.name}" is one that the kernel gives to outgoing connections'
            yield Found(port.place, message, f"publish a port below {_EPHEMERAL[0]}")
