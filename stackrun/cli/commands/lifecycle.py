"""`start`, `stop`, `restart` and `kill`: what exists, without looking whether the file has changed."""

from __future__ import annotations

import argparse
from typing import Any

from stackrun.cli.operations import follow, operate
from stackrun.cli.options import add_services, add_timeout, source
from stackrun.cli.render import display


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    if verb in ("stop", "restart"):
        add_timeout(parser)
    if verb == "kill":
        parser.add_argument("-s", "--signal", default="SIGKILL", metavar="SIGNAL", help="by name or number; SIGKILL otherwise")


def run(options: argparse.Namespace) -> int:
    request: dict[str, Any] = {"source": source(options), "services": options.services}
    if options.verb in ("stop", "restart"):
        request["timeout_s"] = options.timeout
    if options.verb == "kill":
        request["signal"] = options.signal
    follow(operate(options, options.verb, request), display(options, options.verb), options.verb)
    return 0
