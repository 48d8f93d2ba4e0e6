"""Dependencies: who waits for whom, for what, and whether they can reach each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from stackrun.compose.check import Edge
from stackrun.compose.faults import did_you_mean
from stackrun.compose.origins import Note
from stackrun.compose.rules.health import has_healthcheck, seconds
from stackrun.compose.rules.networks import known_names, names_of, networks_of, shared_with
from stackrun.compose.rules.ports import container_ports
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.tree import Place

GROUP = Group("graph", "references")

GROUP.reported("cycle", "Services depend on each other in a circle.")
GROUP.reported("self-dependency", "A service depends on itself.")

_SLOW_S = 600


def _edges(stack: Stack) -> Iterator[tuple[Edge, Service, Service]]:
    for edge in stack.edges:
        source, target = stack.service.get(edge.source), stack.service.get(edge.target)
        if source is not None and target is not None and source is not target:
            yield edge, source, target


def _is_job(service: Service) -> bool:
    return service.text("x-stackrun", "kind") == "job"


def _condition_place(edge: Edge, source: Service) -> Place:
    return source.at("depends_on", edge.target, "condition") if edge.reason == "depends_on" else edge.place


# --- conditions -----------------------------------------------------------------------------------


@GROUP.rule("completion-of-restarted", "warning", "A service waits for the end of one that is always started again.", "lint")
def completion_of_restarted(stack: Stack) -> Iterator[Found]:
    for edge, source, target in _edges(stack):
        policy = target.text("deploy", "restart_policy", "condition") or target.text("restart")
        if edge.condition == "service_completed_successfully" and policy in ("always", "unless-stopped", "any") and not _is_job(target):
            message = f'service "{source.name}" waits for the end of "{target.name}", which is started again each time'
            notes = (Note(target.at("restart") if target.text("restart") else target.at("deploy"), "the restart policy"),)
            yield Found(_condition_place(edge, source), message, f"restart: on-failure, or no, for {target.name}", notes)


@GROUP.rule("job-not-awaited", "warning", "A service waits for the start of a job, not for its end.", "lint")
def job_not_awaited(stack: Stack) -> Iterator[Found]:
    for edge, source, target in _edges(stack):
        if _is_job(target) and edge.reason == "depends_on" and edge.condition != "service_completed_successfully":
            message = f'service "{source.name}" does not wait until job "{target.name}" is done'
            yield Found(_condition_place(edge, source), message, "condition: service_completed_successfully")


@GROUP.rule("restart-of-job", "note", "A service would be restarted together with a job that ends by itself.", "lint")
def restart_of_job(stack: Stack) -> Iterator[Found]:
    for edge, source, target in _edges(stack):
        if edge.restart and edge.reason == "depends_on" and edge.condition == "service_completed_successfully":
            place = source.at("depends_on", edge.target, "restart")
            yield Found(place, f'service "{source.name}" has nothing to follow: "{target.name}" ends by itself', "leave restart out")


@GROUP.rule("slow-start", "note", "Everything may be fine, and a service still starts only after many minutes.", "lint")
def slow_start(stack: Stack) -> Iterator[Found]:
    waits: dict[str, dict[str, float]] = {}
    for edge, _, target in _edges(stack):
        healthy = edge.condition == "service_healthy" and has_healthcheck(target)
        waits.setdefault(edge.source, {})[edge.target] = _longest_check(target) if healthy else 0.0
    longest: dict[str, float] = {}
    for name in waits:
        _longest(name, waits, longest)
    for service in stack.services:
        total = longest.get(service.name, 0.0)
        if total > _SLOW_S and total - max(longest.get(one, 0.0) for one in waits[service.name]) > 0:
            message = f'service "{service.name}" may start only {total / 60:.0f} minutes after the first one'
            yield Found(service.key_at("depends_on"), message, "shorter intervals, fewer retries or a shorter start_period")


def _longest(name: str, waits: Mapping[str, Mapping[str, float]], known: dict[str, float]) -> None:
    """The longest way to a service, of it and of what it waits for; of a circle as far as it goes."""
    todo, path = [name], set[str]()
    while todo:
        current = todo[-1]
        waiting = [one for one in waits.get(current, ()) if one not in known and one not in path]
        path.add(current)
        if waiting:
            todo.extend(waiting[:1])
        else:
            known[todo.pop()] = max((known.get(one, 0.0) + wait for one, wait in waits.get(current, {}).items()), default=0.0)
            path.discard(current)


def _longest_check(service: Service) -> float:
    """Seconds until an unhealthy service is known to be so."""
    retries = service.get("healthcheck", "retries")
    tries = retries if isinstance(retries, int) and retries > 0 else 3
    one = seconds(service, "interval", 30.0) + seconds(service, "timeout", 30.0)
    return seconds(service, "start_period", 0.0) + one * tries


# --- reachability ---------------------------------------------------------------------------------


@GROUP.rule("no-common-network", "warning", "A service depends on one that it shares no network with.", "lint")
def no_common_network(stack: Stack) -> Iterator[Found]:
    for edge, source, target in _edges(stack):
        own, others = networks_of(stack, source), networks_of(stack, target)
        waits_for_end = edge.condition == "service_completed_successfully"
        if edge.reason not in ("depends_on", "links") or waits_for_end or not own or not others or own & others:
            continue
        if container_ports(target) and shared_with(stack, source) is not shared_with(stack, target):
            message = f'service "{source.name}" depends on "{target.name}", which none of its networks reaches'
            yield Found(edge.place, message, f"put both on one network: {min(others)}", (_networks_note(target),))


def _networks_note(target: Service) -> Note:
    place = target.key_at("networks") if "networks" in target else target.place
    return Note(place, f"the networks of {target.name}")


_URL = re.compile(
    r"\b([a-z][a-z0-9+.\-]*)://(?:[^\s/@'\"]*@)?([a-z0-9_][a-z0-9_.\-]*)(?::([0-9]{1,5}))?(?=[/\s'\"?,;)\]]|$)", re.IGNORECASE
)
_HOST_VARIABLE = re.compile(r"(?:.*_)?(?:HOST|HOSTNAME|HOSTS|SERVER|ADDR|ADDRESS)", re.IGNORECASE)
_HOST = re.compile(r"([A-Za-z][A-Za-z0-9_\-]*)(?::([0-9]{1,5}))?")
_HERE = frozenset(
    ("localhost", "host", "gateway", "docker", "example", "hostname", "host-gateway", "ip6-localhost", "0.0.0.0", "changeme", "your-domain")
)
_BACKENDS = frozenset((
    "amqp", "amqps", "bolt", "clickhouse", "cockroachdb", "cql", "elasticsearch", "grpc", "http", "https", "kafka", "ldap", "mariadb",
    "memcached", "mongodb", "mqtt", "mysql", "mysql2", "nats", "neo4j", "pgsql", "postgis", "postgres", "postgresql", "pulsar", "redis",
    "rediss", "smtp", "sqlserver", "tcp", "valkey", "ws", "zookeeper",
))  # fmt: skip
"""Schemes of what stacks run themselves; any other may name anything."""


def _mentions(service: Service) -> Iterator[tuple[str, str, int, Place]]:
    """(how, host, port or 0, place) of each host that variables and commands name; `how` is `url` or `variable`."""
    for name, value, place in service.pairs("environment"):
        if isinstance(value, str) and "://" in value:
            yield from _urls(value, place)
        elif isinstance(value, str) and _HOST_VARIABLE.fullmatch(name) and (found := _HOST.fullmatch(value)):
            yield "variable", found[1], int(found[2] or 0), place
    for key in ("command", "entrypoint"):
        for word, place in service.items(key):
            if isinstance(word, str) and "://" in word:
                yield from _urls(word, place)


def _urls(text: str, place: Place) -> Iterator[tuple[str, str, int, Place]]:
    for found in _URL.finditer(text):
        if found[1].lower().partition("+")[0] in _BACKENDS:
            yield "url", found[2], int(found[3] or 0), place


def _outside(service: Service) -> set[str]:
    """Names that the file itself gives an address, or that come from elsewhere."""
    hosts = {str(item).partition("=")[0].lower() for item, _ in service.items("extra_hosts")}
    links = {str(item).rpartition(":")[2].lower() for key in ("links", "external_links") for item, _ in service.items(key)}
    return hosts | links


def _may_be_elsewhere(stack: Stack, service: Service) -> bool:
    """Whether it reaches containers of other stacks, whose names this file does not know."""
    own = networks_of(stack, service)
    if own is None or service.seq("external_links"):
        return True
    wide = ("macvlan", "ipvlan", "overlay")
    return any(
        network.name in own and (network.get("external") is True or network.text("driver") in wide)
        for network in stack.resources("networks")
    )


@GROUP.rule("unknown-host", "warning", "A variable or command names a host that no service answers to.", "lint")
def unknown_host(stack: Stack) -> Iterator[Found]:
    known = known_names(stack)
    for service in stack.services:
        if _may_be_elsewhere(stack, service):
            continue
        told = set[tuple[Place, str]]()
        for how, host, _, place in _mentions(service):
            name = host.lower()
            if "." in name or name in known or name in _HERE or name in _outside(service) or name.isdigit() or (place, name) in told:
                continue
            hint = did_you_mean(name, known) if len(name) > 3 else ""
            if hint or (how == "url" and len(stack.services) > 1):
                told.add((place, name))
                message = f'service "{service.name}" names the host "{host}", which no service answers to'
                yield Found(place, message, hint or "name a service, or one of its aliases")


@GROUP.rule("unreachable-host", "warning", "A variable or command names a service that no common network reaches.", "lint")
def unreachable_host(stack: Stack) -> Iterator[Found]:
    known = known_names(stack)
    for service in stack.services:
        own = networks_of(stack, service)
        told = set[str]()
        for _, host, _, place in _mentions(service) if own else ():
            target = known.get(host.lower())
            if target is None or target is service or host.lower() in told or host.lower() in _outside(service):
                continue
            others = networks_of(stack, target)
            if others and own and not own & others and shared_with(stack, service) is not shared_with(stack, target):
                told.add(host.lower())
                message = f'service "{service.name}" names "{host}", which none of its networks reaches'
                yield Found(place, message, f"put both on one network: {min(others)}", (_networks_note(target),))


@GROUP.rule("unexposed-port", "note", "A variable or command names a port that the other service does not declare.", "lint")
def unexposed_port(stack: Stack) -> Iterator[Found]:
    known = known_names(stack)
    for service in stack.services:
        for _, host, port, place in _mentions(service):
            target = known.get(host.lower())
            ports = container_ports(target) if target is not None else frozenset()
            if port and target is not None and target is not service and ports and port not in ports and not _says(target, port):
                message = f'service "{service.name}" names port {port} of "{target.name}", which declares {_few(ports)}'
                hint = "the port in the container counts here, not the published one"
                yield Found(place, message, hint)


def _says(service: Service, port: int) -> bool:
    """Whether its own variables or command name the port."""
    words = [str(value) for _, value, _ in service.pairs("environment")]
    words += [str(word) for key in ("command", "entrypoint") for word, _ in service.items(key)]
    return any(re.search(rf"(?<![0-9]){port}(?![0-9])", word) for word in words)


def _few(ports: frozenset[int]) -> str:
    listed = sorted(ports)
    return ", ".join(map(str, listed[:3])) + (", …" if len(listed) > 3 else "")


@GROUP.rule("needed-optional-dependency", "note", "A service needs not have what its variables name.", "lint")
def needed_optional_dependency(stack: Stack) -> Iterator[Found]:
    for edge, source, target in _edges(stack):
        if edge.required or edge.reason != "depends_on":
            continue
        names = {name.lower() for _, name, _ in names_of(target)}
        place = next((place for _, host, _, place in _mentions(source) if host.lower() in names), None)
        if place is not None:
            message = f'service "{source.name}" names "{target.name}", but is started without it, too'
            notes = (Note(place, "named here"),)
            yield Found(source.at("depends_on", edge.target, "required"), message, "required: true, if it needs it", notes)
