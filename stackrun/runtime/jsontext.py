"""JSON by the C half of module `json` alone: its Python half brings regular expressions along, 6 ms of a start.

Other modules of this package use it as they would use `json`.
"""

from __future__ import annotations

from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["dumps", "encode_basestring", "loads", "pretty"]

_SPACE = " \t\n\r"
_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class _Rules:
    """What `json.JSONDecoder` tells the scanner by its attributes."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__


def _refuse(value: object) -> object:
    raise TypeError(f"a {type(value).__name__} is not JSON")


_scan = make_scanner(_Rules)  # type: ignore[arg-type]  # typeshed wants what it makes
_encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)


def dumps(value: object) -> str:
    """On one line, without spaces."""
    return "".join(_encode(value, 0))


def pretty(value: object, indent: str = "\n") -> str:
    """On a line for each value, two spaces a level, as json.dumps(value, indent=2) has it."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        return "{" + ",".join(f"{deeper}{dumps(str(key))}: {pretty(one, deeper)}" for key, one in value.items()) + indent + "}"
    if isinstance(value, (list, tuple)) and value:
        return "[" + ",".join(deeper + pretty(one, deeper) for one in value) + indent + "]"
    return dumps(value)


def loads(text: str | bytes) -> Any:
    """ValueError when it is no JSON."""
    if isinstance(text, bytes):
        text = text.decode()
    body = text.strip(_SPACE)
    try:
        value, end = _scan(body, 0)
    except StopIteration as error:
        raise ValueError(f"expecting a value at character {error.value}") from None
    except ImportError:  # of the exception's class, where nothing may be imported any more
        raise ValueError("it is no JSON") from None
    if end != len(body):
        raise ValueError(f"extra data at character {end}")
    return value
