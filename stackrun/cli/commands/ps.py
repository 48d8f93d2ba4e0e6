"""`ps`: the stack's containers, as Docker Compose lists them."""

from __future__ import annotations

import argparse
import json
import re
import time
from typing import Any

from stackrun.api import labels
from stackrun.cli import project, tables
from stackrun.cli.engines import connect
from stackrun.cli.options import add_services

_TITLES = ("NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS")
_EXIT_CODE = re.compile(r"\((\d+)\)")
_HEALTH = re.compile(r"\((?:health: )?(healthy|unhealthy|starting)\)")
_UP = ("running", "paused", "restarting")


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    parser.add_argument("-a", "--all", action="store_true", help="those that have exited too")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="json: one object a line")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids alone")
    parser.add_argument("--services", dest="only_services", action="store_true", help="names of services alone")
    parser.add_argument("--status", action="append", metavar="STATUS", help="those in this state alone, repeatable")
    parser.add_argument("--no-trunc", action="store_true", help="whole commands")


def run(options: argparse.Namespace) -> int:
    link = connect(options)
    name = project.name(options)
    found = project.containers(link, name, services=tuple(options.services))
    shown = [one for one in found if _wanted(one, options)]
    if options.quiet:
        _print_each(one["Id"] for one in shown)
    elif options.only_services:
        _print_each(dict.fromkeys(map(project.service_of, shown)))
    elif options.format == "json":
        _print_each(json.dumps(described(one, name), ensure_ascii=False) for one in shown)
    else:
        print(tables.table(_TITLES, [_row(one, cut=not options.no_trunc) for one in shown]), end="")
    return 0


def _wanted(container: project.Summary, options: argparse.Namespace) -> bool:
    if options.status:
        return container["State"] in options.status
    return options.all or container["State"] in _UP


def _print_each(lines: Any) -> None:
    for line in lines:
        print(line)


def _row(one: project.Summary, *, cut: bool) -> tuple[str, ...]:
    command = tables.command(one["Command"]) if cut else f'"{one["Command"]}"'
    return (
        project.container_name(one),
        one["Image"],
        command,
        project.service_of(one),
        tables.ago(one["Created"]),
        one["Status"],
        tables.ports(one["Ports"]),
    )


def described(one: project.Summary, name: str) -> dict[str, Any]:
    """A container by the field names of `docker compose ps --format json`."""
    code, health = _EXIT_CODE.search(one["Status"]), _HEALTH.search(one["Status"])
    return {
        "Command": tables.command(one["Command"]),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(one["Created"])),
        "ExitCode": int(code[1]) if code else 0,
        "Health": health[1] if health else "",
        "ID": one["Id"][:12],
        "Image": one["Image"],
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(one["Labels"].items())),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in one.get("Mounts") or ())),
        "Mounts": ",".join(mount.get("Name") or mount.get("Source", "") for mount in one.get("Mounts") or ()),
        "Name": project.container_name(one),
        "Names": project.container_name(one),
        "Networks": ",".join(sorted((one.get("NetworkSettings") or {}).get("Networks") or ())),
        "Ports": tables.ports(one["Ports"]),
        "Project": name,
        "Publishers": [_publisher(port) for port in one["Ports"]],
        "RunningFor": tables.ago(one["Created"]),
        "Service": one["Labels"].get(labels.SERVICE, ""),
        "Size": "0B",
        "State": one["State"],
        "Status": one["Status"],
    }


def _publisher(port: dict[str, Any]) -> dict[str, Any]:
    return {
        "URL": port.get("IP", ""),
        "TargetPort": port["PrivatePort"],
        "PublishedPort": port.get("PublicPort", 0),
        "Protocol": port["Type"],
    }
