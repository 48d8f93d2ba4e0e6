"""`down`: everything of the stack but its named volumes, which only `-v` removes."""

from __future__ import annotations

import argparse

from stackrun.cli.operations import follow, operate
from stackrun.cli.options import add_services, add_timeout, source
from stackrun.cli.render import display


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    add_timeout(parser)
    parser.add_argument("-v", "--volumes", action="store_true", help="remove the stack's volumes, and the data in them")
    parser.add_argument("--remove-orphans", action="store_true", help="remove containers of services the file no longer has")


def run(options: argparse.Namespace) -> int:
    asked = {
        "volumes": options.volumes,
        "remove_orphans": options.remove_orphans,
        "timeout_s": options.timeout,
        "services": options.services,
    }
    follow(operate(options, "down", {"source": source(options), "options": asked}), display(options, "down"), "down")
    return 0
