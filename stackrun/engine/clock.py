"""Points in time as Docker writes them: RFC 3339 in UTC with nanoseconds."""

from __future__ import annotations

import calendar
import re
import time

from stackrun.api.types import NEVER

_STAMP = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z")


def stamp(time_ns: int | None = None) -> str:
    """Nanoseconds since the epoch (now by default) → `2026-01-02T03:04:05.123456789Z`."""
    seconds, nanoseconds = divmod(time.time_ns() if time_ns is None else time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def nanoseconds(text: str | bytes) -> int:
    """The inverse of `stamp`; 0 for Go's zero time and for what is no such stamp."""
    raw = text.encode() if isinstance(text, str) else text
    match = _STAMP.fullmatch(raw)
    if not match or raw == NEVER.encode():
        return 0
    whole = calendar.timegm(tuple(int(match[index]) for index in range(1, 7)))
    return whole * 1_000_000_000 + int((match[7] or b"0").ljust(9, b"0"))
