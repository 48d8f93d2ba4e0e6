"""Bytes, durations and cpus as the Compose Specification and Docker write them."""

from __future__ import annotations

import math
import re

from stackrun.errors import InvalidArgument

_SIZE = re.compile(r"\+?((?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?) ?(?:([kmgtp])(?:i?b)?|b)?", re.IGNORECASE)
_SIZE_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_DURATION_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip


_LONGEST_S = 9_223_372_036.0
"""Go counts nanoseconds in 63 bits."""


def parse_bytes(text: str | int) -> int:
    """`64m`, `1.5GiB`, `1024` → bytes; multiples are of 1024 whatever the spelling, as in docker/go-units RAMInBytes."""
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text)
    if not match:
        raise InvalidArgument(f"invalid size: {text!r}", hint="write a number and a unit, such as 64m or 1gb")
    count = float(match[1]) * _SIZE_FACTORS[(match[2] or "").lower()]
    if math.isinf(count):
        raise InvalidArgument(f"invalid size: {text!r} is too much", hint="write a number and a unit, such as 64m or 1gb")
    return int(count)


def format_bytes(count: int) -> str:
    """Bytes as Docker's tables show sizes: decimal units, three significant digits (`1.24GB`)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.3g}{unit}"
        value /= 1000
    raise AssertionError("unreachable")


def parse_duration(text: str | int | float) -> float:
    """`1m30s`, `1.5h`, `500ms` → seconds; Go's time.ParseDuration plus the Compose Specification's d and w."""
    if isinstance(text, (int, float)):
        return float(text)
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, position = 0.0, 0
    while part := _DURATION_PART.match(rest, position):
        total += float(part[1]) * _DURATION_SECONDS[part[2]]
        position = part.end()
    if not rest or position != len(rest):
        raise InvalidArgument(f"invalid duration: {text!r}", hint="write a number and a unit, such as 30s or 1m30s")
    if total >= _LONGEST_S:
        raise InvalidArgument(f"invalid duration: {text!r} is too long", hint="the longest is 292 years")
    return sign * total


def format_duration(seconds: float) -> str:
    """Seconds → Go's spelling (`1m30s`), as Docker Compose prints durations."""
    if seconds == 0:
        return "0s"
    sign, nanoseconds = ("-" if seconds < 0 else ""), round(abs(seconds) * 1e9)
    for limit, unit, factor in ((1_000, "ns", 1), (1_000_000, "µs", 1_000), (1_000_000_000, "ms", 1_000_000)):
        if nanoseconds < limit:
            return f"{sign}{_trimmed(nanoseconds / factor)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    text = f"{_trimmed(rest / 1e9)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return sign + text


def _trimmed(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def parse_nano_cpus(text: str | int | float) -> int:
    """`0.5` cpus → 500_000_000, Docker's NanoCpus."""
    try:
        value = float(text)
    except ValueError:
        raise InvalidArgument(f"invalid number of cpus: {text!r}", hint="write a number such as 0.5 or 2") from None
    if value < 0:
        raise InvalidArgument(f"invalid number of cpus: {text!r}", hint="it cannot be negative")
    return round(value * 1_000_000_000)
