"""One file laid over another by Compose's rules.

Mappings are merged, sequences appended, scalars replaced; the tables name the exceptions.  The base is in canonical
form already, what is laid over it is as the user wrote it.  Neither is changed: the result is new where they meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stackrun.compose.faults import Faults
from stackrun.compose.patterns import Pattern
from stackrun.compose.scalar import text_of
from stackrun.compose.shortforms import ShortFormError, parse_device, parse_volume
from stackrun.compose.tree import Map, Place, Seq

Rule = Callable[["_Merge", Any, Any, Place], Any]


def merge(base: Map, over: Map, faults: Faults) -> Map:
    """A whole file over what earlier files gave."""
    return _Merge(faults).mappings(base, over, _RULES)


def merge_service(base: Map, over: Map, faults: Faults) -> Map:
    """A service over the one it extends."""
    rules = _RULES.at("services")
    return _Merge(faults).mappings(base, over, rules.at("*") if rules else None)


class _Merge:
    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def mappings(self, base: Map, over: Map, rules: Pattern[Rule] | None) -> Map:
        merged = Map(base, base.place if base.place.line else over.place)
        merged.keys_at, merged.values_at = dict(base.keys_at), dict(base.values_at)
        for key, value in over.items():
            if key in base:
                value = self.values(base[key], value, rules.at(key) if rules else None, over.value_place(key))
                if value is _KEPT:
                    continue
                if not isinstance(value, (dict, list)) and value != base[key]:
                    self.faults.origins.replaced[over.value_place(key)] = base.value_place(key)
            merged.take(over, key, value)
        return merged

    def values(self, base: Any, over: Any, rules: Pattern[Rule] | None, at: Place) -> Any:
        if rules is not None and rules.known is not None:
            return rules.known(self, base, over, at)
        if over is None and base is not None:
            return _KEPT
        if isinstance(base, Map):
            return self.mappings(base, over, rules) if isinstance(over, Map) else self._clash(at, "a mapping")
        if isinstance(base, Seq):
            return _appended(base, over) if isinstance(over, Seq) else self._clash(at, "a list")
        return over

    def _clash(self, at: Place, kind: str) -> Any:
        self.faults.error(at, f"must be {kind}, as in the file that this one is laid over", code="merge-conflict")
        return _KEPT


_KEPT: Any = object()
"""The base's value stays."""


def _appended(base: Seq, over: Seq) -> Seq:
    items = Seq(base, base.place, base.items_at)
    for index, item in enumerate(over):
        items.add(item, over.item_place(index))
    return items


def _replaced(_merge: _Merge, _base: Any, over: Any, _at: Place) -> Any:
    return over


def as_sequence(value: Any, at: Place) -> Seq:
    """A mapping as a list of NAME=VALUE, one scalar as a list of it, nothing as an empty list."""
    if isinstance(value, Map):
        items = Seq(place=value.place)
        for key in sorted(value):
            items.add(key if value[key] is None else f"{key}={text_of(value[key])}", value.key_place(key))
        return items
    if isinstance(value, Seq):
        return value
    return Seq(place=at) if value is None else Seq([value], at, [at])


def _sequences(_merge: _Merge, base: Any, over: Any, at: Place) -> Any:
    return _appended(as_sequence(base, at), as_sequence(over, at))


def _hosts(_merge: _Merge, base: Any, over: Any, at: Place) -> Any:
    """extra_hosts: a mapping's value may be a list of addresses."""
    merged = _appended(_host_list(base, at), _host_list(over, at))
    unique = Seq(place=merged.place)
    for index, item in enumerate(merged):
        if item not in unique:
            unique.add(item, merged.item_place(index))
    return unique


def _host_list(value: Any, at: Place) -> Seq:
    if not isinstance(value, Map):
        return as_sequence(value, at)
    items = Seq(place=value.place)
    for name, addresses in value.items():
        for address in addresses if isinstance(addresses, list) else [addresses]:
            items.add(f"{name}={text_of(address)}", value.key_place(name))
    return items


def _keyed(default: Callable[[Place], Any]) -> Rule:
    """A list of names or a mapping of them, merged as mappings."""

    def rule(merge: _Merge, base: Any, over: Any, at: Place) -> Any:
        return merge.mappings(as_mapping(base, at, default), as_mapping(over, at, default), None)

    return rule


def as_mapping(value: Any, at: Place, default: Callable[[Place], Any]) -> Map:
    """A list of names as a mapping from each to `default`."""
    if isinstance(value, Map):
        return value
    items = Map(place=value.place if isinstance(value, Seq) else at)
    if isinstance(value, Seq):
        for index, name in enumerate(value):
            place = value.item_place(index)
            items.put(text_of(name), default(place), place, place)
    return items


def nothing(_place: Place) -> None:
    return None


def started(place: Place) -> Map:
    """depends_on's short form."""
    return Map({"condition": "service_started", "required": True}, place)


def _builds(merge: _Merge, base: Any, over: Any, at: Place) -> Any:
    rules = _RULES.at("services")
    inner = rules.at("*") if rules else None
    build = inner.at("build") if inner else None
    unruled: Pattern[Rule] = Pattern()
    if build is not None:
        unruled.named, unruled.any = build.named, build.any
    return merge.mappings(_context(base, at), _context(over, at), unruled)


def _context(value: Any, at: Place) -> Map:
    if isinstance(value, Map):
        return value
    items = Map(place=at)
    if value is not None:
        items.put("context", value, at, at)
    return items


def _loggings(merge: _Merge, base: Any, over: Any, at: Place) -> Any:
    """Options are merged only for one and the same driver."""
    if not isinstance(base, Map) or not isinstance(over, Map):
        return over if over is not None else base
    if "driver" in base and "driver" in over and base["driver"] != over["driver"]:
        return over
    return merge.mappings(base, over, None)


def _ulimits(merge: _Merge, base: Any, over: Any, _at: Place) -> Any:
    return merge.mappings(base, over, None) if isinstance(base, Map) and isinstance(over, Map) else over


def _pools(merge: _Merge, base: Any, over: Any, at: Place) -> Any:
    """ipam.config: the new list counts, each pool merged with the old one of the same subnet."""
    if not isinstance(base, Seq) or not isinstance(over, Seq):
        return over if over is not None else base
    merged = Seq(place=over.place)
    for index, pool in enumerate(over):
        old = next((old for old in base if _subnet(old) is not None and _subnet(old) == _subnet(pool)), None)
        merged.add(pool if old is None else merge.mappings(old, pool, None), over.item_place(index))
    return merged


def _subnet(pool: Any) -> Any:
    return pool.get("subnet") if isinstance(pool, Map) else None


_RULES: Pattern[Rule] = Pattern.table(
    {f"services.*.{key}": _replaced for key in ("command", "entrypoint", "healthcheck.test")}
    | {
        f"services.*.{key}": _sequences
        for key in (
            "annotations", "build.args", "build.additional_contexts", "build.labels", "deploy.labels", "dns", "dns_opt", "dns_search",
            "env_file", "environment", "label_file", "labels", "sysctls", "tmpfs", "volumes.*.volume.labels",
        )
    }
    | {
        "networks.*.ipam.config": _pools,
        "networks.*.labels": _sequences,
        "volumes.*.labels": _sequences,
        "services.*.build": _builds,
        "services.*.build.extra_hosts": _hosts,
        "services.*.depends_on": _keyed(started),
        "services.*.extra_hosts": _hosts,
        "services.*.logging": _loggings,
        "services.*.models": _keyed(nothing),
        "services.*.networks": _keyed(nothing),
        "services.*.ulimits.*": _ulimits,
    }
)  # fmt: skip


# --- what may stand in a list only once ---------------------------------------------------------

Indexer = Callable[[Any], Any]


def _by_name(item: Any) -> Any:
    return item.partition("=")[0] if isinstance(item, str) else _by_value(item)


def _by_value(item: Any) -> Any:
    return tuple(sorted((key, text_of(value)) for key, value in item.items())) if isinstance(item, Map) else text_of(item)


def _by_target(item: Any) -> Any:
    if isinstance(item, Map):
        return item.get("target") or id(item)
    try:
        return parse_volume(text_of(item))["target"]
    except ShortFormError:
        return text_of(item)


def _by_device(item: Any) -> Any:
    if isinstance(item, Map):
        return item.get("target") or item.get("source")
    try:
        return parse_device(text_of(item))["target"]
    except ShortFormError:
        return text_of(item)


def _by_port(item: Any) -> Any:
    if not isinstance(item, Map):
        return text_of(item)
    address, protocol = item.get("host_ip") or "0.0.0.0", item.get("protocol") or "tcp"
    return f"{address}:{item.get('published')!r}:{text_of(item.get('target'))}/{protocol}"


def _by_path(item: Any) -> Any:
    return item.get("path") if isinstance(item, Map) else item


def _by_mount(directory: str) -> Indexer:
    def index(item: Any) -> Any:
        if isinstance(item, Map):
            return item.get("target") or f"{directory}/{text_of(item.get('source'))}"
        return f"{directory}/{text_of(item)}"

    return index


_UNIQUE: Pattern[Indexer] = Pattern.table(
    {
        f"services.*.{key}": _by_name
        for key in (
            "annotations", "build.args", "build.additional_contexts", "build.labels", "build.tags", "cap_add",
            "cap_drop", "deploy.labels", "dns", "dns_opt", "dns_search", "environment", "labels", "links", "networks.*.aliases",
            "networks.*.link_local_ips", "profiles", "sysctls", "tmpfs",
        )
    }
    | {
        "networks.*.labels": _by_name,
        "networks.*.ipam.options": _by_name,
        "services.*.configs": _by_mount(""),
        "services.*.devices": _by_device,
        "services.*.env_file": _by_path,
        "services.*.expose": _by_value,
        "services.*.ports": _by_port,
        "services.*.secrets": _by_mount("/run/secrets"),
        "services.*.volumes": _by_target,
    }
)  # fmt: skip


def unique(root: Map) -> None:
    """Drop from the lists that have a key what a later item says again; the first one's position is kept. In place."""
    _unique(root, _UNIQUE)


def _unique(node: Any, known: Pattern[Indexer] | None) -> None:
    if known is None:
        return
    if isinstance(node, Map):
        for key, value in node.items():
            if isinstance(value, Seq) and (inner := known.at(key)) is not None and inner.known is not None:
                node[key] = _once(value, inner.known)
            else:
                _unique(value, known.at(key))


def _once(items: Seq, index: Indexer) -> Seq:
    positions: dict[Any, int] = {}
    kept = Seq(place=items.place)
    for number, item in enumerate(items):
        key = index(item)
        key = repr(key) if isinstance(key, (Map, Seq)) else key  # of a shape that the schema will refuse
        if key in positions:
            kept[positions[key]] = item
            kept.items_at[positions[key]] = items.item_place(number)
        else:
            positions[key] = len(kept)
            kept.add(item, items.item_place(number))
    return kept if len(kept) < len(items) else items
