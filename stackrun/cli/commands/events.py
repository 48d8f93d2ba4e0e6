"""`events`: what happens to a stack's containers as Docker Compose tells it, and beside it what we decide."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from typing import Any

from stackrun.cli import project
from stackrun.cli.commands.logs import moment
from stackrun.cli.operations import changes
from stackrun.cli.options import add_services, source
from stackrun.errors import EXIT_INTERRUPTED

Document = dict[str, Any]
"""JSON of api.stacks.Change."""
_ESCAPED = str.maketrans({one: f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"})
"""As Go writes JSON."""


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    parser.add_argument("--json", action="store_true", help="containers alone, as docker compose events --json")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: everything, one object a line")
    parser.add_argument("--since", default="", metavar="TIME", help="from then on: 2026-01-31T12:00:00Z, or 10m ago")
    parser.add_argument("--until", default="", metavar="TIME", help="up to then")
    parser.add_argument("--all", action="store_true", help="of every stack")


def run(options: argparse.Namespace) -> int:
    query: Document = {"services": options.services, "all": options.all}
    query |= {key: float(found) for key in ("since", "until") if (found := moment(getattr(options, key)))}
    query = {f"{key}_s" if key in ("since", "until") else key: value for key, value in query.items()}
    asked = source(options) if options.all else {**source(options), "project_name": project.name(options)}
    told = changes(options, {"source": asked, "query": query})
    try:
        with closing(told):
            for change in told:
                line = _line(change, options)
                if line:
                    print(line, flush=True)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _line(change: Document, options: argparse.Namespace) -> str:
    """Empty for what this form leaves out."""
    if "error" in change:
        print(f"note: {change['error']}", file=sys.stderr, flush=True)
        return ""
    if options.json:
        return compose_json(change) if change["type"] == "container" else ""
    if options.format == "json":
        return json.dumps({**compose_form(change), "project": change["project"]}, ensure_ascii=False)
    return plain(change, projects=options.all) if change["type"] in ("container", "stack") else ""


def compose_json(change: Document) -> str:
    """A line of `docker compose events --json`."""
    return json.dumps(compose_form(change), ensure_ascii=False, separators=(",", ":"), sort_keys=True).translate(_ESCAPED)


def compose_form(change: Document) -> Document:
    fields: Document = {key: change[key] for key in ("type", "service", "id", "action", "attributes")}
    return {"time": _rfc3339(change["time_ns"]), **fields}


def plain(change: Document, *, projects: bool = False) -> str:
    """A line of `docker compose events`, its attributes in the order of the alphabet; a decision in the same form."""
    seconds, rest = divmod(change["time_ns"], 1_000_000_000)
    when = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))}.{rest // 1000:06d}"
    pairs = [f"{key}={value}" for key, value in sorted(change["attributes"].items())]
    pairs += [f"project={change['project']}"] if projects else []
    text = f"{when} {change['type']} {change['action']} {change['id']} ({', '.join(pairs)})"
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _rfc3339(time_ns: int) -> str:
    """As Go's RFC3339Nano: of this machine's zone, without the fraction's last zeros."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    local = time.localtime(seconds)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    zone = time.strftime("%z", local)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}{fraction}{'Z' if zone == '+0000' else f'{zone[:3]}:{zone[3:]}'}"
