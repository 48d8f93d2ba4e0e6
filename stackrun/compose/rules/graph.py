"""Dependencies: who waits for whom, for what, and whether they can reach each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from stackrun.compose.check import Edge
from stackrun.compose.origins import Note
from stackrun.compose.rules.health import has_healthcheck, seconds
from stackrun.compose.rules.mentions import Mention, mentions
from stackrun.compose.rules.networks import known_names, names_of, networks_of, shared_with
from stackrun.compose.rules.ports import container_ports
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.tree import Place

GROUP = Group("graph", "references")

GROUP.reported("cycle", "Services depend on each other in a circle.")
GROUP.reported("self-dependency", "A service depends on itself.")

_SLOW_S = 600


def _edges(stack: Stack) -> list[tuple[Edge, Service, Service]]:
    return stack.once(_find_edges)


def _find_edges(stack: Stack) -> list[tuple[Edge, Service, Service]]:
    return list(_each_edge(stack))


def _each_edge(stack: Stack) -> Iterator[tuple[Edge, Service, Service]]:
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
    todo, entered = [name], set[str]()
    while todo:
        current = todo[-1]
        if current in entered or current in known:
            waits_for = waits.get(current, {}).items()
            known.setdefault(current, max((known.get(one, 0.0) + wait for one, wait in waits_for), default=0.0))
            todo.pop()
        else:
            entered.add(current)
            todo.extend(one for one in waits.get(current, ()) if one not in known and one not in entered)


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
        if container_ports(stack, target) and shared_with(stack, source) is not shared_with(stack, target):
            message = f'service "{source.name}" depends on "{target.name}", which none of its networks reaches'
            yield Found(edge.place, message, f"put both on one network: {min(others)}", (_networks_note(target),))


def _networks_note(target: Service) -> Note:
    place = target.key_at("networks") if "networks" in target else target.place
    return Note(place, f"the networks of {target.name}")


_HERE = frozenset(
    ("localhost", "host", "gateway", "docker", "example", "hostname", "host-gateway", "ip6-localhost", "changeme", "domain", "placeholder")
)


def _outside(service: Service) -> set[str]:
    """Names that the file itself gives an address, or that come from elsewhere."""
    hosts = {str(item).partition("=")[0].lower() for item, _ in service.items("extra_hosts")}
    links = {str(item).rpartition(":")[2].lower() for key in ("links", "external_links") for item, _ in service.items(key)}
    return hosts | links


def _may_be_elsewhere(stack: Stack, service: Service) -> bool:
    """Whether it reaches containers of other stacks, whose names this file does not know."""
    own = networks_of(stack, service)
    return own is None or bool(service.seq("external_links")) or bool(own & stack.once(_wide_networks))


def _wide_networks(stack: Stack) -> frozenset[str]:
    """Networks that containers of other stacks may be on."""
    wide = ("macvlan", "ipvlan", "overlay")
    return frozenset(one.name for one in stack.resources("networks") if one.get("external") is True or one.text("driver") in wide)


@GROUP.rule("unknown-host", "warning", "A variable or command names a host that no service answers to.", "lint")
def unknown_host(stack: Stack) -> Iterator[Found]:
    known = known_names(stack)
    for service in stack.services:
        unknown = [one for one in mentions(stack)[service.name] if one.host not in known and one.host not in _HERE and "." not in one.host]
        if not unknown or _may_be_elsewhere(stack, service):
            continue
        outside, told = _outside(service), set[tuple[Place, str]]()
        for host, written, _, in_url, place in unknown:
            if host in outside or (place, host) in told:
                continue
            hint = stack.near(host, known) if len(host) > 3 else ""
            if hint or (in_url and len(stack.services) > 1):
                told.add((place, host))
                message = f'service "{service.name}" names the host "{written}", which no service answers to'
                yield Found(place, message, hint or "name a service, or one of its aliases")


def _named_services(stack: Stack) -> Iterator[tuple[Service, Service, Mention]]:
    """Each service that another one names: (who, whom, how)."""
    known = known_names(stack)
    for service in stack.services:
        for mention in mentions(stack)[service.name]:
            target = known.get(mention.host)
            if target is not None and target is not service:
                yield service, target, mention


@GROUP.rule("unreachable-host", "warning", "A variable or command names a service that no common network reaches.", "lint")
def unreachable_host(stack: Stack) -> Iterator[Found]:
    told = set[tuple[str, str]]()
    for service, target, mention in _named_services(stack):
        own, others = networks_of(stack, service), networks_of(stack, target)
        if not own or not others or own & others or (service.name, mention.host) in told or mention.host in _outside(service):
            continue
        if shared_with(stack, service) is not shared_with(stack, target):
            told.add((service.name, mention.host))
            message = f'service "{service.name}" names "{mention.written}", which none of its networks reaches'
            yield Found(mention.place, message, f"put both on one network: {min(others)}", (_networks_note(target),))


@GROUP.rule("unexposed-port", "note", "A variable or command names a port that the other service does not declare.", "lint")
def unexposed_port(stack: Stack) -> Iterator[Found]:
    for service, target, mention in _named_services(stack):
        ports = container_ports(stack, target) if mention.port else frozenset()
        if ports and mention.port not in ports and not _says(target, mention.port):
            message = f'service "{service.name}" names port {mention.port} of "{target.name}", which declares {_few(ports)}'
            yield Found(mention.place, message, "the port in the container counts here, not the published one")


def _says(service: Service, port: int) -> bool:
    """Whether its own variables or command name the port."""
    words = [str(value) for _, value, _ in service.pairs("environment")]
    words += [str(word) for key in ("command", "entrypoint") for word, _ in service.items(key)]
    return any(str(port) in word and re.search(rf"(?<![0-9]){port}(?![0-9])", word) for word in words)


def _few(ports: frozenset[int]) -> str:
    listed = sorted(ports)
    return ", ".join(map(str, listed[:3])) + (", …" if len(listed) > 3 else "")


@GROUP.rule("needed-optional-dependency", "note", "A service needs not have what its variables name.", "lint")
def needed_optional_dependency(stack: Stack) -> Iterator[Found]:
    for edge, source, target in _edges(stack):
        if edge.required or edge.reason != "depends_on":
            continue
        names = {name.lower() for _, name, _ in names_of(target)}
        place = next((one.place for one in mentions(stack)[source.name] if one.host in names), None)
        if place is not None:
            message = f'service "{source.name}" names "{target.name}", but is started without it, too'
            notes = (Note(place, "named here"),)
            yield Found(source.at("depends_on", edge.target, "required"), message, "required: true, if it needs it", notes)
