"""`exec`: a command in a service's running container, on this terminal if there is one; ends with the command's exit code."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, closing
from typing import Any

from stackrun.cli import project, terminal
from stackrun.cli.engines import chosen, connect, transport
from stackrun.errors import InvalidArgument, NotFound


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("-T", "--no-tty", "--no-TTY", action="store_true", help="no terminal, though there is one")
    parser.add_argument("-d", "--detach", action="store_true", help="in the background")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="environment, repeatable")
    parser.add_argument("-u", "--user", default="", metavar="USER", help="as this user, by name or number")
    parser.add_argument("-w", "--workdir", default="", metavar="DIR", help="in this directory")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="in the service's Nth container")
    parser.add_argument("--privileged", action="store_true", help="with all privileges")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND …")


def run(options: argparse.Namespace) -> int:
    if not options.argv:
        raise InvalidArgument("no command given", hint="stackrun exec SERVICE COMMAND …")
    link = connect(options)
    container = _container(link, options)
    tty = not options.no_tty and not options.detach and sys.stdin.isatty() and sys.stdout.isatty()
    made: Any = link.json("POST", f"/containers/{container['Id']}/exec", payload=_request(options, tty))
    exec_id = made["Id"]
    if options.detach:
        link.json("POST", f"/exec/{exec_id}/start", payload={"Detach": True, "Tty": False})
        return 0
    _attached(link, options, exec_id, tty)
    ended: Any = link.json("GET", f"/exec/{exec_id}/json")
    code = ended.get("ExitCode")
    return 0 if code is None else int(code)


def _container(link: Any, options: argparse.Namespace) -> project.Summary:
    name = project.name(options)
    found = project.containers(link, name, services=(options.service,))
    for one in found:
        if options.index in (0, project.number_of(one)) and one["State"] == "running":
            return one
    which = f" #{options.index}" if options.index else ""
    raise NotFound(f'service "{options.service}"{which} is not running', hint="start it with `stackrun start`; see `stackrun ps -a`")


def _request(options: argparse.Namespace, tty: bool) -> dict[str, Any]:
    attached = not options.detach
    return {
        "AttachStdin": attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "Tty": tty,
        "Cmd": options.argv,
        "Env": [one if "=" in one else f"{one}={os.environ[one]}" for one in options.env if "=" in one or one in os.environ],
        "User": options.user,
        "WorkingDir": options.workdir,
        "Privileged": options.privileged,
    }


def _attached(link: Any, options: argparse.Namespace, exec_id: str, tty: bool) -> None:
    payload: dict[str, Any] = {"Detach": False, "Tty": tty}
    if tty:
        payload["ConsoleSize"] = list(terminal.size())
    connection, early, _ = link.hijack("POST", f"/exec/{exec_id}/start", payload=payload)
    engine = chosen(options)

    def resize(rows: int, columns: int) -> None:
        with closing(transport(engine)) as link:
            link.json("POST", f"/exec/{exec_id}/resize", query={"h": rows, "w": columns})

    with ExitStack() as stack:
        stack.callback(connection.close)
        if tty:
            stack.enter_context(terminal.raw(sys.stdin.fileno()))
            stack.enter_context(terminal.on_resize(resize))
        terminal.Pump(connection, early, framed=not tty, stdin=_stdin()).run()


def _stdin() -> int | None:
    return sys.stdin.fileno() if sys.stdin and not sys.stdin.closed else None
