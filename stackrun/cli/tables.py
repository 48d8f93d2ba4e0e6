"""Docker's tables and its way of telling times, ports and commands, in plain text: no dependency on the way of `ps`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

COMMAND_WIDTH = 20
COLUMN_GAP = 3
_STEPS = ((60, 1, "second"), (3600, 60, "minute"), (36 * 3600, 3600, "hour"), (14 * 86400, 86400, "day"))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns three spaces apart, without trailing blanks; ends with a newline."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) + COLUMN_GAP for column in range(len(titles))]
    return "".join("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines)


def ago(created_s: float, now_s: float | None = None) -> str:
    """`3 minutes ago`, as docker/go-units HumanDuration rounds."""
    return f"{span(max(0.0, (time.time() if now_s is None else now_s) - created_s))} ago"


def span(seconds: float) -> str:
    """`Less than a second`, `About a minute`, `5 hours`, `3 weeks`, …"""
    if seconds < 1:
        return "Less than a second"
    if 60 <= seconds < 120:
        return "About a minute"
    if 3600 <= seconds < 5400:
        return "About an hour"
    for limit, unit_s, name in _STEPS:
        if seconds < limit:
            return _count(round(seconds / unit_s) if unit_s == 3600 else int(seconds // unit_s), name)
    days = int(seconds // 86400)
    if days < 60:
        return f"{days // 7} weeks"
    return f"{days // 30} months" if days < 730 else f"{days // 365} years"


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def command(text: str) -> str:
    """Quoted and cut, as `docker ps` shows a command line."""
    return f'"{text}"' if len(text) <= COMMAND_WIDTH else f'"{text[: COMMAND_WIDTH - 1]}…"'


def ports(published: Iterable[Mapping[str, object]]) -> str:
    """The wire's Ports as `127.0.0.1:8088->8080/tcp, 9000/tcp`."""
    return ", ".join(dict.fromkeys(_port(one) for one in sorted(published, key=_port_key)))


def _port_key(port: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"{port.get(key, ''):>5}" for key in ("PrivatePort", "Type", "IP", "PublicPort"))


def _port(port: Mapping[str, object]) -> str:
    inside = f"{port['PrivatePort']}/{port['Type']}"
    if not port.get("PublicPort"):
        return inside
    address = str(port.get("IP", ""))
    return f"{f'[{address}]' if ':' in address else address}:{port['PublicPort']}->{inside}"
