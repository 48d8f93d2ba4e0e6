"""Times on the wire: RFC 3339 text with nanoseconds, seconds since the epoch, and Docker's "3 minutes" in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from stackrun.api.types import NEVER
from stackrun.errors import InvalidArgument

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def epoch_ns(moment: str) -> int:
    """RFC 3339 → nanoseconds since the epoch; "never" and empty are 0."""
    if moment in ("", NEVER):
        return 0
    match = _RFC3339.match(moment)
    if not match:
        raise InvalidArgument(f"invalid time: {moment!r}", hint="write it as 2026-01-31T12:00:00Z")
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    return int(whole.timestamp()) * 1_000_000_000 + int((match[2] or "0")[:9].ljust(9, "0"))


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since the epoch → RFC 3339 in UTC with nine digits, as Docker prints times."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def timestamp_s(value: str) -> float:
    """`since` and `until`: seconds with an optional fraction, or RFC 3339.  Empty is 0."""
    if not value:
        return 0.0
    try:
        return float(value)
    except ValueError:
        return epoch_ns(value) / 1e9


def in_words(seconds: float) -> str:
    """`3 seconds`, `About a minute`, `2 weeks`: the phrases of docker/go-units HumanDuration."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 2:
        return "1 second"
    if seconds < _MINUTE_S:
        return f"{int(seconds)} seconds"
    if seconds < 2 * _MINUTE_S:
        return "About a minute"
    if seconds < _HOUR_S:
        return f"{int(seconds // _MINUTE_S)} minutes"
    hours = int(seconds / _HOUR_S + 0.5)
    if hours == 1:
        return "About an hour"
    for limit_h, unit_h, unit in ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit_h:
            return f"{hours // unit_h} {unit}"
    return f"{int(seconds / _DAY_S) // 365} years"
