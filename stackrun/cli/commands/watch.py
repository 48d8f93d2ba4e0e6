"""`watch`: bring the stack up, and again whenever a file of it changes; its `develop.watch` rules are followed, too."""

from __future__ import annotations

import argparse
import sys

from stackrun.cli.commands.up import stack_arguments, stack_request
from stackrun.cli.render import display
from stackrun.errors import EXIT_INTERRUPTED


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    stack_arguments(parser)
    parser.add_argument("--no-up", action="store_true", help="change nothing until a file changes")
    parser.add_argument("-y", "--yes", action="store_true", help="also do what removes containers or loses data")
    parser.add_argument("--quiet", action="store_true", help="say only what goes wrong or waits")
    parser.add_argument("--prune", action="store_true", help="taken as Docker Compose's; images that were built anew stay, untagged")


def run(options: argparse.Namespace) -> int:
    from stackrun.cli.watching import Watcher

    with Watcher(options, lambda: stack_request(options), lambda: display(options, "up"), _say) as watcher:
        try:
            watcher.start(up=not options.no_up)
            watcher.loop()
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
