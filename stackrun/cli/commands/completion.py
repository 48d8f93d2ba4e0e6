"""`completion`: the script that makes a shell complete our commands."""

from __future__ import annotations

import argparse
import sys

from stackrun.cli.completions import SCRIPTS


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="the script says in its first lines how to load it")


def run(options: argparse.Namespace) -> int:
    sys.stdout.write(SCRIPTS[options.shell])
    return 0
