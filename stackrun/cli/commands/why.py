"""`why`: the history of decisions about a service, and how its containers stand now."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from stackrun.cli import project
from stackrun.cli.operations import reasons_document
from stackrun.cli.options import source
from stackrun.errors import InvalidArgument

Document = dict[str, Any]
"""JSON of api.stacks: of Reasons, and of a Standing and a Decision in it."""

_UNSAID = ("itself",)
"""Who needs no word."""
SHOWN = 20


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("-n", "--lines", type=int, default=SHOWN, metavar="N", help=f"the last N decisions ({SHOWN})")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(options: argparse.Namespace) -> int:
    if options.lines < 0:
        raise InvalidArgument("-n must not be negative")
    asked = {**source(options), "project_name": project.name(options)}
    found = reasons_document(options, {"source": asked, "service": options.service, "limit": options.lines})
    if options.format == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for note in found["notes"]:
        print(f"note: {note}", file=sys.stderr, flush=True)
    print("\n".join(lines(found, time.time())))
    return 0


def lines(reasons: Document, now_s: float) -> Iterator[str]:
    """How it stands, then what led to it, oldest first."""
    for one in reasons["containers"]:
        yield standing(one, now_s)
    if not reasons["containers"]:
        yield f"{reasons['service']} has no container"
    if reasons["waits"]:
        yield _printable(f"{reasons['service']} waits for {', '.join(reasons['waits'])}")
    for one in reasons["decisions"]:
        yield decision(one, now_s)


def standing(one: Document, now_s: float) -> str:
    """`shop-web-1 runs since 14:02:11, unhealthy: exit code 1; restarted 3 times by its policy always`."""
    text = f"{one['name']} {_state(one, now_s)}"
    if one["waits"]:
        text += f"; waits for {', '.join(one['waits'])}"
    if one["restart_count"]:
        times = "once" if one["restart_count"] == 1 else f"{one['restart_count']} times"
        text += f"; restarted {times} by its policy {one['restart_policy']}"
    return _printable(text)


def _state(one: Document, now_s: float) -> str:
    when = clock(one["since_s"], now_s) if one["since_s"] > 0 else ""
    match one["status"]:
        case "running":
            health = f", {one['health']}" if one["health"] else ""
            return f"runs since {when}{health}" + (f" (last probe: {one['probe']})" if one["probe"] else "")
        case "created":
            return f"has never run: {one['error']}" if one["error"] else "has not been started"
        case "exited" | "dead":
            how = f"exited ({one['exit_code']})" + (" for want of memory" if one["oom_killed"] else "")
            return f"{how} at {when}" + (f": {one['error']}" if one["error"] else "")
        case "restarting":
            return f"exited ({one['exit_code']}) at {when}"
        case status:
            return f"is {status}"


def decision(one: Document, now_s: float) -> str:
    """`14:02:11 restarted by keep: dependency db unhealthy after 3 probes; last log: …`."""
    text = f"{clock(one['time_s'], now_s)} {one['did']}"
    text += f" by {one['by']}" if one["by"] not in _UNSAID else ""
    reasons = [part for part in (one["cause"], one["detail"]) if part and part != one["by"]]
    text += f": {'; '.join(reasons)}" if reasons else ""
    if one["times"] > 1:
        text += f" (x{one['times']} since {clock(one['since_s'], now_s)})"
    return _printable(text)


def clock(time_s: float, now_s: float) -> str:
    """The hour of this machine; with its date unless that is today."""
    then, today = time.localtime(time_s), time.localtime(now_s)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S", then)


def _printable(text: str) -> str:
    """Nothing that a container printed can move the cursor or end the line."""
    return "".join(one if one.isprintable() else " " if one == "\n" else one.encode("unicode_escape").decode() for one in text)
