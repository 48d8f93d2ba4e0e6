"""What a plain scalar means, and how Compose writes a value as text.

Docker Compose reads YAML with go-yaml v3: YAML 1.2 words for true, false and null (so `yes`, `on` and `22:22` are
strings), but numbers as Go writes them (`0755` and `0o755` are octal, `1_000` is a thousand).
"""

from __future__ import annotations

import math
import re
from typing import Any


class Timestamp:
    """An unquoted date or time, which YAML makes no string of; `text` is as it was written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and other.text == self.text

    def __hash__(self) -> int:
        return hash((Timestamp, self.text))

    def __repr__(self) -> str:
        return f"Timestamp({self.text!r})"

    def __str__(self) -> str:
        return self.text


Scalar = str | int | float | bool | Timestamp | None

_WORDS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan,
    ".inf": math.inf, ".Inf": math.inf, ".INF": math.inf, "+.inf": math.inf, "+.Inf": math.inf, "+.INF": math.inf,
    "-.inf": -math.inf, "-.Inf": -math.inf, "-.INF": -math.inf,
}  # fmt: skip
_NUMBER_START = frozenset("0123456789+-.")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_PREFIXED = re.compile(r"([-+]?)0([xXbBoO]?)([0-9a-fA-F]+)")
_BASES = {"": 8, "o": 8, "x": 16, "b": 2}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TIMESTAMP = re.compile(r"\d{4}-\d\d?-\d\d?(([Tt]| )\d\d?:\d\d?:\d\d?(\.\d+)?(Z|[-+]\d\d:\d\d)?)?")
_LONGEST = 100
"""Characters of a number, leading zeros included; 64 bits are 64 binary digits."""
_INT_MIN, _UINT_MAX = -(1 << 63), (1 << 64) - 1


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar without a tag."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    digits = text.replace("_", "")
    number = _integer(digits)
    if number is not None and _INT_MIN <= number <= _UINT_MAX:
        return number
    if _FLOAT.fullmatch(digits) and not math.isinf(value := float(digits)):  # what Go finds out of range it leaves a string
        return value
    return Timestamp(text) if _TIMESTAMP.fullmatch(text) else text


def is_digits(text: str) -> bool:
    """Whether it is a number of ASCII digits that int() takes: `isdigit` says yes to superscripts, and int() refuses very long ones."""
    return text.isdigit() and text.isascii() and len(text) <= _LONGEST


def _integer(digits: str) -> int | None:
    if len(digits) > _LONGEST:  # int() is slow on long ones, and refuses very long ones
        return None
    if _DECIMAL.fullmatch(digits):
        return int(digits)
    match = _PREFIXED.fullmatch(digits)
    if not match:
        return None
    try:
        return int(match[1] + match[3], _BASES[match[2].lower()])
    except ValueError:
        return None


def tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit tag of the core schema; other tags leave it a string."""
    if tag == "tag:yaml.org,2002:null":
        return None
    if tag == "tag:yaml.org,2002:bool":
        return _WORDS.get(text, text)
    if tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        value = resolve(text)
        return float(value) if tag.endswith("float") and isinstance(value, int) else value
    if tag == "tag:yaml.org,2002:binary":
        return _decoded(text)
    return text


def _decoded(text: str) -> str:
    """Base64 as the text that it is of; what is none stays."""
    import binascii

    try:
        return binascii.a2b_base64(text, strict_mode=False).decode("utf-8")
    except ValueError:
        return text


def text_of(value: Any) -> str:
    """A scalar as Go's `fmt.Sprint` writes it, which is what ends up in an environment or a label."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _go_float(value)
    return str(value)


def _go_float(value: float) -> str:
    """Shortest digits, with an exponent from 1e+06 on or below 1e-4 (strconv's 'g')."""
    if math.isinf(value) or math.isnan(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    shortest = repr(value)
    power = int(f"{value:e}".partition("e")[2])
    if not value or -4 <= power < 6:
        return shortest.removesuffix(".0")
    digits = re.sub(r"e.*|[-.]", "", shortest).strip("0")
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{'-' if value < 0 else ''}{mantissa}e{power:+03d}"


def is_true(text: str) -> bool | None:
    """A boolean as Compose casts a string: YAML 1.1's words; None when it is none of them."""
    word = text.lower()
    if word in ("true", "y", "yes", "on"):
        return True
    if word in ("false", "n", "no", "off"):
        return False
    return None


def signal_name(value: Any) -> str:
    """`HUP`, `sighup` → `SIGHUP`."""
    word = text_of(value).upper()
    return word if word.startswith("SIG") else f"SIG{word}"
