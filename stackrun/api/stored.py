"""Frozen dataclasses as JSON and back, told apart by their fields' types alone: what is written down to be read again later.

A field that has its default is left out, and reads as its default; a field that is not known is ignored: a newer version wrote it.
Bytes are base64, enums their values, frozen sets sorted lists.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from stackrun.errors import InvalidArgument

T = TypeVar("T")


def to_json(value: object) -> bytes:
    """Compact JSON. TypeError for a value of any other kind."""
    return json.dumps(_plain(value), separators=(",", ":")).encode()


def from_json(kind: type[T], text: bytes) -> T:
    """The inverse of `to_json`. InvalidArgument when the text is not such a value."""
    try:
        decode: Callable[[Any], T] = _decoder(kind)  # type: ignore[arg-type]
        return decode(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidArgument(f"broken record of a {kind.__name__.lower()}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    if is_dataclass(value):
        return {
            name: _plain(item)
            for name, default, collection in _field_defaults(type(value))  # type: ignore[arg-type]
            if (item := getattr(value, name)) != default and not (collection and not item)
        }
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return [_plain(item) for item in (sorted(value) if isinstance(value, frozenset) else value)]


@cache
def _field_defaults(kind: Any) -> tuple[tuple[str, object, bool], ...]:
    """(name, default or MISSING, whether the default is an empty collection) of each field."""
    return tuple((one.name, one.default, one.default_factory is not MISSING) for one in fields(kind))


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        inner = _decoder(next(one for one in arguments if one is not NoneType))
        return lambda value: None if value is None else inner(value)
    if origin in (tuple, frozenset):
        return _sequence_decoder(origin, arguments[0])
    if origin is not None and issubclass(origin, Mapping):
        item = _decoder(arguments[1])
        return lambda value: {key: item(one) for key, one in value.items()}
    if is_dataclass(kind):
        return _dataclass_decoder(kind)
    if kind is bytes:
        return lambda value: base64.b64decode(value, validate=True)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return _scalar_decoder(kind)


def _sequence_decoder(made: Callable[[Any], Any], kind: Any) -> Callable[[Any], Any]:
    item = _decoder(kind)

    def decode(value: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"{value!r:.40} is not a list")
        return made(item(one) for one in value)

    return decode


def _dataclass_decoder(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    decoders = {one.name: _decoder(hints[one.name]) for one in fields(kind)}

    def decode(value: dict[str, Any]) -> Any:
        return kind(**{name: decoders[name](item) for name, item in value.items() if name in decoders})

    return decode


def _scalar_decoder(kind: type) -> Callable[[Any], Any]:
    accepted = (int, float) if kind is float else kind

    def decode(value: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{value!r:.40} is not a {kind.__name__}")
        return value

    return decode
