"""Short forms → long forms, in place, on a tree that the schema has accepted.

Done after every file, so that the next one is laid over long forms; a long form is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stackrun.compose.faults import Faults
from stackrun.compose.merge import as_mapping, nothing, started
from stackrun.compose.patterns import Pattern
from stackrun.compose.scalar import is_digits, text_of
from stackrun.compose.shortforms import ShortFormError, parse_device, parse_ports, parse_volume
from stackrun.compose.tree import Map, Place, Seq

Transform = Callable[["_Canonical", Any, Place], Any]


def canonicalize(root: Map, faults: Faults, *, keep: bool = False) -> None:
    """What cannot be brought to its long form is a fault and left out; with `keep`, of values not yet interpolated, it stays."""
    _Canonical(faults, keep=keep).mapping(root, _TABLE)


MAX_PORTS = 66_000
"""Ports of one file, ranges counted out."""


class _Canonical:
    def __init__(self, faults: Faults, *, keep: bool) -> None:
        self.faults = faults
        self.keep = keep
        self.ports_left = MAX_PORTS

    def mapping(self, node: Map, known: Pattern[Transform]) -> None:
        for key in list(node):
            inner = known.at(key)
            if inner is not None and node[key] is not None:
                node[key] = self.value(node[key], inner, node.value_place(key))

    def sequence(self, node: Seq, known: Pattern[Transform]) -> None:
        inner = known.any
        if inner is None:
            return
        for index, item in enumerate(node):
            node[index] = self.value(item, inner, node.item_place(index))
        for index in reversed([index for index, item in enumerate(node) if item is None]):
            del node[index], node.items_at[index]

    def value(self, value: Any, known: Pattern[Transform], at: Place) -> Any:
        if known.known is not None:
            value = known.known(self, value, at)
        if isinstance(value, Map):
            self.mapping(value, known)
        elif isinstance(value, Seq):
            self.sequence(value, known)
        return value

    def fault(self, at: Place, error: ShortFormError, code: str) -> None:
        self.faults.error(at, error.message, hint=error.hint, code=code)


def _ports(self: _Canonical, value: Any, _at: Place) -> Any:
    if not isinstance(value, Seq) or (self.keep and any(_has_variable(item) for item in value)):
        return value
    ports = Seq(place=value.place)
    for index, item in enumerate(value):
        at = value.item_place(index)
        try:
            found = [_long_port(item)] if isinstance(item, Map) else parse_ports(_port_text(item))
            self.ports_left -= len(found)
            if self.ports_left < 0:
                self.faults.stop(at, f"more than {MAX_PORTS:,} ports in one file", hint="publish fewer")
            for port in found:
                port.place = item.place if isinstance(item, Map) else at
                ports.add(port, at)
        except ShortFormError as error:
            self.fault(at, error, "invalid-port")
    return ports


def _has_variable(value: Any) -> bool:
    return "$" in str(value)


def _port_text(item: Any) -> str:
    if isinstance(item, float):
        raise ShortFormError(f"a port must be a whole number, not {text_of(item)}", "")
    return text_of(item)


def _long_port(port: Map) -> Map:
    target, published = port.get("target"), port.get("published")
    if isinstance(target, str) and is_digits(target):
        target = port["target"] = int(target)
    if target is None:
        raise ShortFormError("the port has no target", "target is the port in the container")
    if isinstance(target, (int, float)) and target < 0:
        raise ShortFormError(f"a port cannot be negative, as {target} is", "target is the port in the container")
    if isinstance(published, float):
        raise ShortFormError(f"a port must be a whole number, not {text_of(published)}", "")
    if port.get("host_ip") == "":
        raise ShortFormError("host_ip is empty", "is a variable in it unset? remove the key to publish on every address")
    return port


def _volume(self: _Canonical, value: Any, at: Place) -> Any:
    if not isinstance(value, str):
        return value
    if self.keep and _has_variable(value):
        return value
    try:
        volume = parse_volume(value)
    except ShortFormError as error:
        return self.fault(at, error, "invalid-mount")
    volume.place = at
    for inner in volume.values():
        if isinstance(inner, Map):
            inner.place = at
    return volume


def _device(self: _Canonical, value: Any, at: Place) -> Any:
    if isinstance(value, Map):
        if "target" not in value:
            self.faults.error(at, "the device has no target", hint="target: path in the container", code="incomplete-device")
        return value
    if self.keep and _has_variable(value):
        return value
    try:
        device = parse_device(text_of(value))
    except ShortFormError as error:
        return self.fault(at, error, "invalid-device")
    device.place = at
    return device


def _listed(_self: _Canonical, value: Any, at: Place) -> Any:
    return value if isinstance(value, Seq) else Seq([value], at, [at])


def _wrapped(key: str) -> Transform:
    """A lone string is the value of `key`."""

    def transform(_self: _Canonical, value: Any, at: Place) -> Any:
        if isinstance(value, Map):
            return value
        wrapped = Map(place=at)
        wrapped.put(key, value, at, at)
        return wrapped

    return transform


def _env_files(self: _Canonical, value: Any, at: Place) -> Any:
    files = Seq(place=value.place if isinstance(value, Seq) else at)
    for index, item in enumerate(value if isinstance(value, Seq) else [value]):
        place = value.item_place(index) if isinstance(value, Seq) else at
        entry = _wrapped("path")(self, item, place)
        entry.setdefault("required", True)
        files.add(entry, place)
    return files


def _named(default: Callable[[Place], Any]) -> Transform:
    def transform(_self: _Canonical, value: Any, at: Place) -> Any:
        return as_mapping(value, at, default)

    return transform


def _depends_on(_self: _Canonical, value: Any, at: Place) -> Any:
    dependencies = as_mapping(value, at, started)
    for entry in dependencies.values():
        if isinstance(entry, Map):
            entry.setdefault("required", True)
    return dependencies


def _gpus(_self: _Canonical, value: Any, at: Place) -> Any:
    if value != "all":
        return value
    return Seq([Map({"count": -1}, at)], at, [at])


def _external(self: _Canonical, value: Any, at: Place) -> Any:
    """`external: {name: x}` is the old spelling of `name: x` and `external: true`."""
    if not isinstance(value, Map) or not isinstance(value.get("external"), Map):
        return value
    old = value["external"]
    if "name" in old:
        place = old.key_place("name")
        if "name" in value and value["name"] != old["name"]:
            self.faults.error(
                place,
                "name and external.name are both given and differ",
                hint="write name alone, beside external: true",
                code="external-name",
            )
        self.faults.warning(place, "external.name is deprecated", hint="write name beside external: true", code="external-name")
        value.take(old, "name", old["name"])
    value["external"] = True
    return value


_TABLE: Pattern[Transform] = Pattern.table(
    {
        "services.*.build": _wrapped("context"),
        "services.*.build.secrets.*": _wrapped("source"),
        "services.*.configs.*": _wrapped("source"),
        "services.*.depends_on": _depends_on,
        "services.*.devices.*": _device,
        "services.*.dns": _listed,
        "services.*.dns_search": _listed,
        "services.*.env_file": _env_files,
        "services.*.gpus": _gpus,
        "services.*.label_file": _listed,
        "services.*.models": _named(nothing),
        "services.*.networks": _named(nothing),
        "services.*.ports": _ports,
        "services.*.secrets.*": _wrapped("source"),
        "services.*.tmpfs": _listed,
        "services.*.develop.watch.*.ignore": _listed,
        "services.*.develop.watch.*.include": _listed,
        "services.*.volumes.*": _volume,
        "configs.*": _external,
        "networks.*": _external,
        "secrets.*": _external,
        "volumes.*": _external,
    }
)
