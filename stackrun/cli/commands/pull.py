"""`pull`: the images of the services named, or of all."""

from __future__ import annotations

import argparse

from stackrun.cli.operations import follow, operate
from stackrun.cli.options import add_services, source
from stackrun.cli.render import Display, display


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def run(options: argparse.Namespace) -> int:
    request = {"source": source(options), "services": options.services}
    shown = Display() if options.quiet else display(options, "pull")
    follow(operate(options, "pull", request), shown, "pull")
    return 0
