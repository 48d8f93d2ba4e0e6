"""What the engine writes down about a container, and how a value becomes JSON and comes back.

A container has two files, because they have two lives:

- `container.json` (`Definition`): what it *is*.  Written at creation and at rename, connect, update; synced, since a lost one is a lost
  container.
- `state.json` (`Situation`): what it is *doing*.  Written at each change without a sync: it can only be lost together with the machine,
  and then nothing that it said is true any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from stackrun.api.types import ContainerSpec, ContainerState, Endpoint, MountPoint, PublishedPort
from stackrun.errors import InvalidArgument

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Definition:
    """One container as it was asked for, with every default resolved.

    `lower` are the image's directories, top first; `image_mounts` what the image itself binds (the built-in `host`), with OCI's
    options as their `mode`; `anonymous_volumes` the volumes that were made for this container alone.
    """

    id: str
    name: str
    created: str
    path: str
    args: tuple[str, ...]
    image_id: str
    spec: ContainerSpec
    mounts: tuple[MountPoint, ...] = ()
    lower: tuple[str, ...] = ()
    image_mounts: tuple[MountPoint, ...] = ()
    anonymous_volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """`stopped_by_user`: no restart policy may bring it back (Docker's HasBeenManuallyStopped).

    `interfaces`: how many network interfaces this run has been given; a number is not used twice.
    """

    state: ContainerState = field(default_factory=ContainerState)
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    restart_count: int = 0
    stopped_by_user: bool = False
    interfaces: int = 0


def to_json(value: object) -> bytes:
    """Compact JSON; a dataclass field that has its default is left out."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False).encode()


def from_json(kind: type[T], text: bytes) -> T:
    """The inverse of `to_json`.

    InvalidArgument when the text is not such a value. Unknown fields are ignored: a newer version wrote them.
    """
    try:
        decode: Callable[[Any], T] = _decoder(kind)  # type: ignore[arg-type]
        return decode(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
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
    return [_plain(item) for item in value]


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
    if origin is tuple:
        item = _decoder(arguments[0])
        return lambda value: tuple(item(one) for one in value)
    if origin is not None and issubclass(origin, Mapping):
        item = _decoder(arguments[1])
        return lambda value: {key: item(one) for key, one in value.items()}
    if is_dataclass(kind):
        return _dataclass_decoder(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return _scalar_decoder(kind)


def _dataclass_decoder(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    decoders = {one.name: _decoder(hints[one.name]) for one in fields(kind)}

    def decode(value: dict[str, Any]) -> Any:
        return kind(**{name: decoders[name](item) for name, item in value.items() if name in decoders})

    return decode


def _scalar_decoder(kind: type) -> Callable[[Any], Any]:
    accepted = (int, float) if kind is float else kind

    def decode(value: Any) -> Any:
        if not isinstance(value, accepted):
            raise TypeError(f"{value!r} is not a {kind.__name__}")
        return value

    return decode
