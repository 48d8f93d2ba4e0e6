"""Frozen dataclasses as JSON and back, told apart by their fields' types alone.

A field that has its default is left out, so that a field added later reads as its default.  Bytes are base64, enums their values.
"""

from __future__ import annotations

import base64
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_stored(value: Any) -> Any:
    """What `json.dumps` takes. TypeError for what no stored value is made of."""
    if is_dataclass(value):
        return {name: to_stored(one) for name, one, default in _held(value) if one != default}
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): to_stored(one) for key, one in value.items()}
    if isinstance(value, (tuple, frozenset)):
        return [to_stored(one) for one in (sorted(value) if isinstance(value, frozenset) else value)]
    raise TypeError(f"{type(value).__name__} is not stored")


def from_stored(kind: type[T], told: Any) -> T:
    """ValueError for anything that is not JSON of such a value."""
    wanted: Any = kind
    try:
        value: T = _reader(wanted)(told)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no {kind.__name__}: {error}") from None
    return value


def _held(value: Any) -> list[tuple[str, Any, Any]]:
    kind: Any = type(value)
    return [(name, getattr(value, name), default) for name, default in _defaults(kind)]


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((one.name, _default(one)) for one in fields(kind))


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """The function that reads one type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional(arguments)
    if origin is tuple:
        return _sequence(tuple, arguments[0])
    if origin is frozenset:
        return _sequence(frozenset, arguments[0])
    if origin is not None:
        return _mapping(arguments[1])
    if is_dataclass(kind):
        return _dataclass(kind)
    if kind is bytes:
        return lambda told: base64.b64decode(told, validate=True)
    read: Callable[[Any], Any] = kind if issubclass(kind, Enum) else _plain(kind)
    return read


def _optional(arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    present = _reader(next(one for one in arguments if one is not type(None)))
    return lambda told: None if told is None else present(told)


def _sequence(made: Callable[[Any], Any], kind: Any) -> Callable[[Any], Any]:
    item = _reader(kind)

    def read(told: Any) -> Any:
        if not isinstance(told, list):
            raise ValueError(f"no list: {told!r:.40}")
        return made(item(one) for one in told)

    return read


def _mapping(kind: Any) -> Callable[[Any], Any]:
    item = _reader(kind)
    return lambda told: {key: item(one) for key, one in told.items()}


def _dataclass(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {one.name: _reader(hints[one.name]) for one in fields(kind)}
    return lambda told: kind(**{name: readers[name](one) for name, one in told.items()})


def _plain(kind: type) -> Callable[[Any], Any]:
    accepted = (float, int) if kind is float else kind

    def read(told: Any) -> Any:
        if not isinstance(told, accepted) or (isinstance(told, bool) and kind is not bool):
            raise ValueError(f"no {kind.__name__}: {told!r:.40}")
        return told

    return read
