"""Docker's filters: how they are written in a query, and which objects they choose.

The `select_*` functions are pure: every object in, the chosen ones out, in the same order.  An unknown key is an InvalidArgument.
Names and ids are matched as Docker does, exactly or as a regular expression found anywhere in them; labels must all match.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stackrun.api.types import Container, Event, Filters, Image, Network, Status, Volume
from stackrun.errors import InvalidArgument, NotFound

CONTAINER_KEYS = frozenset({
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "publish", "since", "status", "volume",
})  # fmt: skip
IMAGE_KEYS = frozenset({"before", "dangling", "label", "reference", "since", "until"})
NETWORK_KEYS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
VOLUME_KEYS = frozenset({"dangling", "driver", "label", "name"})
EVENT_KEYS = frozenset({
    "config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume",
})  # fmt: skip
PREDEFINED_NETWORKS = frozenset({"bridge", "host", "none"})


def parse(text: str) -> Filters:
    """The query's JSON: a map of maps (`{"label":{"a=b":true}}`, Go clients) or of lists (`{"label":["a=b"]}`, docker-py)."""
    if not text:
        return Filters()
    try:
        asked = json.loads(text)
    except ValueError:
        raise InvalidArgument("invalid filter") from None
    if not isinstance(asked, dict):
        raise InvalidArgument("invalid filter")
    return Filters({key: _terms(value) for key, value in asked.items()})


def _terms(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        return tuple(str(term) for term, wanted in value.items() if wanted)
    if isinstance(value, list):
        return tuple(str(term) for term in value)
    raise InvalidArgument("invalid filter")


def to_json(filters: Filters) -> dict[str, dict[str, bool]] | None:
    """The map of maps, which every engine since API 1.22 reads; None when nothing is asked."""
    return {key: dict.fromkeys(terms, True) for key, terms in filters.terms.items()} or None


def check(filters: Filters, allowed: frozenset[str]) -> None:
    for key in filters.terms:
        if key not in allowed:
            raise InvalidArgument(f"invalid filter '{key}'")


def truth(filters: Filters, key: str, default: bool) -> bool:
    """A boolean filter, which clients write as 1, 0, true, False …"""
    terms = {term.lower() for term in filters.get(key)}
    if not terms <= {"1", "t", "true", "0", "f", "false"}:
        raise InvalidArgument(f"invalid filter '{key}={','.join(filters.get(key))}'")
    chosen = {term in ("1", "t", "true") for term in terms}
    return default if len(chosen) != 1 else chosen.pop()


def matches_labels(labels: Mapping[str, str], terms: Iterable[str]) -> bool:
    """Every `key` or `key=value` holds."""
    for term in terms:
        key, has_value, value = term.partition("=")
        if key not in labels or (has_value and labels[key] != value):
            return False
    return True


def _found(terms: tuple[str, ...], *names: str) -> bool:
    """No terms, or one of them is one of the names or a regular expression found in it."""
    return not terms or any(term == name or _search(term, name) for term in terms for name in names)


def _search(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False


def _among(terms: tuple[str, ...], *values: str) -> bool:
    return not terms or any(value in terms for value in values)


# --- containers -----------------------------------------------------------------------------------


def select_containers(
    containers: Sequence[Container], filters: Filters, *, all: bool = False, images: Sequence[Image] = ()
) -> tuple[Container, ...]:
    """`containers` newest first.  `images` resolves the names of `ancestor`."""
    check(filters, CONTAINER_KEYS)
    _check_container_terms(filters)
    ancestors = _ancestors(filters.get("ancestor"), images)
    low, high = _window(containers, filters, lambda one: (one.id, one.name), "No such container: {}")
    any_state = all or filters.get("status") or filters.get("exited") or filters.get("before") or filters.get("since")
    return tuple(
        one for one in containers[low:high]
        if (any_state or one.state.running) and _container_matches(one, filters) and (ancestors is None or _descends(one, ancestors))
    )  # fmt: skip


def _check_container_terms(filters: Filters) -> None:
    for term in filters.get("status"):
        if term not in tuple(Status):
            raise InvalidArgument(f"invalid filter 'status={term}'")
    for term in filters.get("health"):
        if term not in ("none", "starting", "healthy", "unhealthy"):
            raise InvalidArgument(f"unrecognised filter value for health: {term}")
    for term in filters.get("exited"):
        if not term.lstrip("-").isdigit():
            raise InvalidArgument(f"invalid filter 'exited={term}'")


def _container_matches(one: Container, filters: Filters) -> bool:
    health = str(one.state.health.status) if one.state.health else "none"
    exited = filters.get("exited")
    return (
        matches_labels(one.spec.labels, filters.get("label"))
        and _found(filters.get("name"), one.name, f"/{one.name}")
        and _found(filters.get("id"), one.id)
        and _among(filters.get("status"), one.state.status)
        and _among(filters.get("health"), health)
        and (not exited or (one.state.status is Status.EXITED and str(one.state.exit_code) in exited))
        and _on_network(one, filters.get("network"))
        and _uses_volume(one, filters.get("volume"))
        and _has_port(filters.get("publish"), {(port.host_port, port.protocol) for port in one.ports})
        and _has_port(filters.get("expose"), {(port.container_port, port.protocol) for port in one.ports})
        and not truth(filters, "is-task", False)
    )


def _on_network(one: Container, terms: tuple[str, ...]) -> bool:
    names = {name for endpoint in one.endpoints for name in (endpoint.network_name, endpoint.network_id)}
    return not terms or any(term in names or any(len(term) >= 12 and name.startswith(term) for name in names) for term in terms)


def _uses_volume(one: Container, terms: tuple[str, ...]) -> bool:
    return not terms or any(term in (point.name, point.target, point.source) for term in terms for point in one.mounts)


def _has_port(terms: tuple[str, ...], ports: set[tuple[int, str]]) -> bool:
    return not terms or any(_port_in(term, ports) for term in terms)


def _port_in(term: str, ports: set[tuple[int, str]]) -> bool:
    numbers, _, protocol = term.partition("/")
    first, _, last = numbers.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        raise InvalidArgument(f"invalid port filter: {term!r}")
    return any(int(first) <= port <= int(last or first) and protocol in ("", kind) for port, kind in ports)


def _ancestors(terms: tuple[str, ...], images: Sequence[Image]) -> frozenset[str] | None:
    """None: no such filter.  Names that no image has match the containers that were made from that very name."""
    if not terms:
        return None
    ids = {image.id for image in images for term in terms if image_is(image, term)}
    return frozenset(ids | set(terms))


def _descends(one: Container, ancestors: frozenset[str]) -> bool:
    return one.image_id in ancestors or one.spec.image in ancestors


def image_is(image: Image, ref: str) -> bool:
    """Whether a reference names this image: its id or a prefix of it, or one of its tags or digests."""
    digest = image.id.removeprefix("sha256:")
    return (
        ref in image.repo_tags or f"{ref}:latest" in image.repo_tags or ref in image.repo_digests
        or (len(ref.removeprefix("sha256:")) >= 4 and digest.startswith(ref.removeprefix("sha256:")))
    )  # fmt: skip


def _window(objects: Sequence[Any], filters: Filters, names: Callable[[Any], tuple[str, ...]], missing: str) -> tuple[int, int]:
    """`before` and `since` as bounds in a sequence that is newest first."""
    low, high = 0, len(objects)
    for key in ("before", "since"):
        for term in filters.get(key):
            ref = term.removeprefix("/")
            index = next((at for at, one in enumerate(objects) if _named(ref, names(one))), None)
            if index is None:
                raise NotFound(missing.format(term))
            low, high = (max(low, index + 1), high) if key == "before" else (low, min(high, index))
    return low, high


def _named(ref: str, names: Iterable[str]) -> bool:
    return any(ref == name or (len(ref) >= 4 and name.startswith(ref)) for name in names)


# --- images, networks, volumes, events ---------------------------------------------------------


def select_images(images: Sequence[Image], filters: Filters) -> tuple[Image, ...]:
    """`images` newest first."""
    check(filters, IMAGE_KEYS)
    low, high = _window(images, filters, lambda one: (one.id, one.id.removeprefix("sha256:"), *one.repo_tags), "No such image: {}")
    dangling = filters.get("dangling")
    return tuple(
        one for one in images[low:high]
        if matches_labels(one.config.labels, filters.get("label")) and _referred(one, filters.get("reference"))
        and (not dangling or truth(filters, "dangling", False) != bool(one.repo_tags))
    )  # fmt: skip


def _referred(image: Image, patterns: tuple[str, ...]) -> bool:
    """Shell patterns over `name:tag` or `name`; `*` stops at a slash, as Go's path.Match does."""
    names = {name for tag in image.repo_tags for name in (tag, tag.rpartition(":")[0])}
    return not patterns or any(re.fullmatch(_glob(pattern), name) for pattern in patterns for name in names)


def _glob(pattern: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)) for char in pattern)


def select_networks(networks: Sequence[Network], filters: Filters) -> tuple[Network, ...]:
    check(filters, NETWORK_KEYS)
    dangling = filters.get("dangling")
    kinds = filters.get("type")
    for kind in kinds:
        if kind not in ("builtin", "custom"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
    return tuple(
        one for one in networks
        if matches_labels(one.spec.labels, filters.get("label")) and _found(filters.get("name"), one.name)
        and _found(filters.get("id"), one.id) and _among(filters.get("driver"), one.spec.driver) and _among(filters.get("scope"), one.scope)
        and _among(kinds, "builtin" if one.name in PREDEFINED_NETWORKS else "custom")
        and (not dangling or truth(filters, "dangling", False) == (not one.members and one.name not in PREDEFINED_NETWORKS))
    )  # fmt: skip


def select_volumes(volumes: Sequence[Volume], filters: Filters, *, used: frozenset[str] = frozenset()) -> tuple[Volume, ...]:
    """`used`: the names of the volumes that some container refers to."""
    check(filters, VOLUME_KEYS)
    dangling = filters.get("dangling")
    return tuple(
        one for one in volumes
        if matches_labels(one.labels, filters.get("label")) and _found(filters.get("name"), one.name)
        and _among(filters.get("driver"), one.driver) and (not dangling or truth(filters, "dangling", False) == (one.name not in used))
    )  # fmt: skip


def event_matches(event: Event, filters: Filters) -> bool:
    """`check(filters, EVENT_KEYS)` comes first, once for the whole stream."""
    name = event.attributes.get("name", "")
    action = event.action.partition(":")[0]
    return (
        _among(filters.get("type"), event.type)
        and _among(filters.get("event"), event.action, action)
        and matches_labels(event.attributes, filters.get("label"))
        and _names_actor(event, "container", filters.get("container"), name)
        and _names_actor(event, "network", filters.get("network"), name)
        and _names_actor(event, "volume", filters.get("volume"), name)
        and _among(filters.get("scope"), "local")
        and _among(filters.get("image"), event.id if event.type == "image" else "", event.attributes.get("image", ""), name)
    )


def _names_actor(event: Event, kind: str, terms: tuple[str, ...], name: str) -> bool:
    """A container filter also keeps the network and volume events that are about the container."""
    if not terms:
        return True
    names = (event.id, name) if event.type == kind else (event.attributes.get(kind, ""),)
    return any(term in names or (len(term) >= 12 and any(one.startswith(term) for one in names)) for term in terms)
