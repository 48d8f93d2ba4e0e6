"""`keep`: whether and how a stack is held in its declared state; `on` and `off` switch that."""

from __future__ import annotations

import argparse
import json
from typing import Any

from stackrun.cli import project
from stackrun.cli.operations import kept
from stackrun.cli.options import source

VERSION = 1
"""Of the document that `--format json` prints."""


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("switch", nargs="?", choices=("on", "off", "status"), default="status", help="on, off, or status (the default)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text (the default) or json")


def run(options: argparse.Namespace) -> int:
    stack = {**source(options), "project_name": project.name(options)}
    on = {"on": True, "off": False}.get(options.switch)
    told = kept(options, {"source": stack, "on": on})
    if options.format == "json":
        print(json.dumps({"version": VERSION, **told}, indent=2))
    else:
        print("\n".join(lines(told)))
    return 0


def lines(told: dict[str, Any]) -> list[str]:
    """One about the stack, and one about each service that is not simply up."""
    name = told["project"]
    if not told["kept"]:
        return [f"{name} is left alone: what stops or vanishes is not brought back (`stackrun keep on` changes that)"]
    return [
        f"{name} is kept in its declared state",
        *(f"  {one}: stopped on purpose, until `stackrun start {one}`" for one in told["stopped"]),
        *(f"  {one}: left alone until the next `up`, since the last one could not bring it up" for one in told["held"]),
        *(f"  {one}: rests for {seconds:.0f} s before it is brought back again" for one, seconds in told["resting"].items()),
        *(f"  {one}: waits for {what}" for one, what in told["waiting"].items()),
    ]
