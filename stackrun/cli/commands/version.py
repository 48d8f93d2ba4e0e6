"""`version`: ours and the engine's. Starts no engine to ask it."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from stackrun.cli.engines import chosen, transport
from stackrun.errors import StackrunError

VERSION = "0.1.0"
"""pyproject.toml's, checked by a test: importlib.metadata would take longer to import than the rest of the command."""


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("--short", action="store_true", help="the number alone")
    parser.add_argument("--format", choices=("pretty", "json"), default="pretty")


def run(options: argparse.Namespace) -> int:
    if options.short:
        print(VERSION)
        return 0
    told = _engine(options)
    if options.format == "json":
        import json

        print(json.dumps({"version": VERSION, "engine": told}))
        return 0
    print(f"stackrun {VERSION}")
    print(_line(told, chosen(options).host))
    return 0


def _engine(options: argparse.Namespace) -> dict[str, Any] | None:
    """GET /version of the engine chosen, None when it does not answer."""
    engine = chosen(options)
    try:
        if engine.own and not engine.listening():
            return None
        with closing(transport(engine)) as link:
            told: Any = link.json("GET", "/version")
    except StackrunError:
        return None
    return dict(told)


def _line(told: dict[str, Any] | None, host: str) -> str:
    if told is None:
        return f"engine not running ({host})"
    rootless = any((one.get("Details") or {}).get("Rootless") == "true" for one in told.get("Components") or ())
    said = f"{told['Version']}, rootless" if rootless else told["Version"]
    return f"engine {said}, API {told['ApiVersion']}, Linux {told['KernelVersion']} {told['Arch']} ({host})"
