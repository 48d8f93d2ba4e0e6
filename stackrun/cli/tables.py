"""Docker's tables and its way of telling times, ports and commands, in plain text: no dependency on the way of `ps`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

COMMAND_WIDTH = 20
COLUMN_GAP = 3
_LONG_UNITS = ((48, 1, "hour"), (24 * 14, 24, "day"), (24 * 60, 24 * 7, "week"), (24 * 730, 24 * 30, "month"))
"""(below so many hours, hours a unit, its name)."""


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns three spaces apart, without trailing blanks; ends with a newline.

    Cells hold labels and names of strangers: one that would steer the terminal or end the line is shown as what it is.
    """
    lines = [titles, *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) + COLUMN_GAP for column in range(len(titles))]
    return "".join("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines)


def _shown(cell: str) -> str:
    return cell if cell.isprintable() else "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in cell)


def ago(created_s: float, now_s: float | None = None) -> str:
    """`3 minutes ago`, as docker/go-units HumanDuration rounds."""
    return f"{span(max(0.0, (time.time() if now_s is None else now_s) - created_s))} ago"


def span(seconds: float) -> str:
    """`Less than a second`, `About a minute`, `5 hours`, `3 weeks`, …: whole units, hours alone rounded to the nearest."""
    hours = int(seconds / 3600 + 0.5)
    match int(seconds), int(seconds // 60):
        case 0, _:
            return "Less than a second"
        case whole, 0:
            return _count(whole, "second")
        case _, 1:
            return "About a minute"
        case _, minutes if minutes < 60:
            return _count(minutes, "minute")
    if hours == 1:
        return "About an hour"
    for limit_hours, unit_hours, name in _LONG_UNITS:
        if hours < limit_hours:
            return _count(hours // unit_hours, name)
    return _count(hours // (24 * 365), "year")


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def command(text: str) -> str:
    """Quoted and cut, as `docker ps` shows a command line."""
    return f'"{text}"' if len(text) <= COMMAND_WIDTH else f'"{text[: COMMAND_WIDTH - 1]}…"'


def ports(published: Iterable[Mapping[str, object]]) -> str:
    """The wire's Ports as `127.0.0.1:8088->8080/tcp, 9000/tcp`."""
    return ", ".join(dict.fromkeys(_port(one) for one in sorted(published, key=_port_key)))


def _port_key(port: Mapping[str, object]) -> tuple[str, ...]:
    numbers = (f"{port.get(key, 0):5}" for key in ("PrivatePort", "PublicPort"))
    return (*numbers, str(port["Type"]), f"{':' in str(port.get('IP', ''))}{port.get('IP', '')}")


def _port(port: Mapping[str, object]) -> str:
    inside = f"{port['PrivatePort']}/{port['Type']}"
    if not port.get("PublicPort"):
        return inside
    address = str(port.get("IP", ""))
    return f"{f'[{address}]' if ':' in address else address}:{port['PublicPort']}->{inside}"
