"""Signals by name or number, as Docker takes them."""

from __future__ import annotations

import signal

from stackrun.errors import InvalidArgument

_HIGHEST = 64


def signal_number(text: str) -> int:
    """`SIGTERM`, `term`, `15`, `RTMIN+3` → its number; InvalidArgument "invalid signal: x"."""
    if text.isdigit() and 0 < int(text) <= _HIGHEST:
        return int(text)
    name, plus, offset = text.upper().removeprefix("SIG").partition("+")
    number = getattr(signal.Signals, f"SIG{name}", None) if not plus or (name == "RTMIN" and offset.isdigit()) else None
    found = int(number) + int(offset or 0) if number is not None else 0
    if not 0 < found <= _HIGHEST:
        raise InvalidArgument(f"invalid signal: {text}")
    return found
