"""`logs`: what the services printed, all together in the order of time, or on and on with `-f`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from stackrun.cli import project
from stackrun.cli.engines import chosen, connect, transport
from stackrun.cli.logs import Follower, Prefixes, stored
from stackrun.cli.options import add_services
from stackrun.cli.render import Display, colours
from stackrun.errors import InvalidArgument


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on as long as something runs")
    parser.add_argument("-n", "--tail", type=_tail, metavar="N", help="the last N lines of each container, or all")
    parser.add_argument("-t", "--timestamps", action="store_true", help="with times")
    parser.add_argument("--since", default="", metavar="TIME", help="from then on: 2026-01-31T12:00:00Z, or 10m ago")
    parser.add_argument("--until", default="", metavar="TIME", help="up to then")
    parser.add_argument("--no-log-prefix", action="store_true", help="without the containers' names")


def run(options: argparse.Namespace) -> int:
    link = connect(options)
    name = project.name(options)
    found = project.containers(link, name, services=tuple(options.services))
    engine = chosen(options)
    shown = Prefixes(coloured=colours(options), shown=not options.no_log_prefix, timestamps=options.timestamps)
    query: dict[str, Any] = {"tail": options.tail, "since": moment(options.since), "until": moment(options.until)}
    if not options.follow:
        stored(lambda: transport(engine), name, found, query, shown, _show)
        return 0
    follower = Follower(lambda: transport(engine), name, shown, _show_now, tuple(options.services))
    follower.watch(query, exits=False)
    follower.wait()
    return 0


def _show(text: str, error: bool) -> None:
    (sys.stderr if error else sys.stdout).write(text + "\n")


def _show_now(text: str, error: bool) -> None:
    Display().line(text, error=error)


def _tail(text: str) -> int | None:
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor `all`")
    return None if text == "all" else int(text)


def moment(text: str, now_s: float | None = None) -> str | None:
    """A time as the logs route takes it: seconds since the epoch. `10m` is ten minutes ago, RFC 3339 a moment."""
    if not text:
        return None
    from stackrun.units import parse_duration

    try:
        return f"{(time.time() if now_s is None else now_s) - parse_duration(text):.9f}"
    except InvalidArgument:
        return _absolute(text)


def _absolute(text: str) -> str:
    from datetime import datetime

    if text.replace(".", "", 1).isdigit():
        return text
    try:
        return f"{datetime.fromisoformat(text).timestamp():.9f}"
    except ValueError:
        raise InvalidArgument(f"invalid time: {text!r}", hint="write 2026-01-31T12:00:00Z, or 10m for ten minutes ago") from None
