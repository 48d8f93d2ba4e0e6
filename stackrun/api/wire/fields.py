"""Tables that name each field once and carry it both ways between a frozen value and Docker's JSON.

A table is a tuple of `Field(attribute, key, kind)`.  `read` takes a decoded JSON object to keyword arguments and leaves out
what is missing or null, so that the value's own defaults hold; `write` gives every key.  A value of the wrong type is an
InvalidArgument that names its place, `invalid JSON: HostConfig.Memory must be a number`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from stackrun.errors import InvalidArgument

type_names = {dict: "an object", list: "an array", str: "a string", int: "a number", float: "a number", bool: "true or false"}


class Kind(NamedTuple):
    """How one sort of value is read (with its place, for the error) and written."""

    read: Callable[[Any, str], Any]
    write: Callable[[Any], Any]


class Field(NamedTuple):
    attribute: str
    key: str
    kind: Kind


Table = tuple[Field, ...]


def decode(body: bytes) -> Any:
    """JSON text → value; Docker's words for what is malformed."""
    try:
        return json.loads(body)
    except ValueError as error:
        raise InvalidArgument(f"invalid JSON: {error}") from error


def wrong(place: str, wanted: type) -> InvalidArgument:
    return InvalidArgument(f"invalid JSON: {place} must be {type_names[wanted]}")


def text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise wrong(place, str)
    return value


def integer(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise wrong(place, int)
    return int(value)


def number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(place, float)
    return float(value)


def flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(place, bool)
    return value


def items(value: Any, place: str) -> list[Any]:
    """An array; null is the empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(place, list)
    return value


def members(value: Any, place: str) -> dict[str, Any]:
    """An object; null is the empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(place, dict)
    return value


def texts(value: Any, place: str) -> tuple[str, ...]:
    """An array of strings; a lone string is an array of one, as Docker's strslice reads it."""
    if isinstance(value, str):
        return (value,)
    return tuple(text(one, f"{place}[{index}]") for index, one in enumerate(items(value, place)))


def pairs(value: Any, place: str) -> dict[str, str]:
    return {key: text(one, f"{place}.{key}") for key, one in members(value, place).items()}


def as_is(value: Any) -> Any:
    return value


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


TEXT = Kind(text, as_is)
INTEGER = Kind(integer, as_is)
NUMBER = Kind(number, as_is)
FLAG = Kind(flag, as_is)
TEXTS = Kind(texts, list)
OPTIONAL_TEXTS = Kind(texts, lambda value: None if value is None else list(value))
PAIRS = Kind(pairs, dict)
KEYS = Kind(lambda value, place: tuple(members(value, place)), lambda keys: {key: {} for key in keys})
"""Go's set: an object whose values are empty objects."""
NANOSECONDS = Kind(lambda value, place: integer(value, place) / 1e9, _nanoseconds)
"""Seconds here, integer nanoseconds (Go's time.Duration) on the wire."""


def record(table: Table, make: Callable[..., Any]) -> Kind:
    """A nested object; `make` is the value's class."""
    return Kind(lambda value, place: make(**read(table, value, place)), lambda value: None if value is None else write(table, value))


def records(table: Table, make: Callable[..., Any]) -> Kind:
    """An array of nested objects."""

    def read_all(value: Any, place: str) -> tuple[Any, ...]:
        return tuple(make(**read(table, one, f"{place}[{index}]")) for index, one in enumerate(items(value, place)))

    return Kind(read_all, lambda values: [write(table, one) for one in values])


def read(table: Table, value: Any, place: str = "") -> dict[str, Any]:
    """Keyword arguments for the value's class, from a decoded JSON object."""
    source = members(value, place or "the body")
    prefix = f"{place}." if place else ""
    return {
        one.attribute: one.kind.read(source[one.key], prefix + one.key) for one in table if source.get(one.key) is not None
    }  # fmt: skip


def write(table: Table, value: object) -> dict[str, Any]:
    return {one.key: one.kind.write(getattr(value, one.attribute)) for one in table}


def meaningful(source: Mapping[str, Any], keys: Iterable[str], place: str = "") -> tuple[str, ...]:
    """The places of those `keys` that ask for something: what a caller must be told when it is not done."""
    prefix = f"{place}." if place else ""
    return tuple(prefix + key for key in keys if source.get(key))
