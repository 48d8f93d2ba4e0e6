"""`validate`: every fault of a stack file at once, each at its place; starts nothing and asks no engine."""

from __future__ import annotations

import argparse
import sys

from stackrun.cli.project import stack_source
from stackrun.errors import ComposeError, Diagnostic


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("paths", nargs="*", metavar="FILE", help="stack files, one override after the other; - is stdin")


def run(options: argparse.Namespace) -> int:
    from stackrun.compose.load import check
    from stackrun.stack.graph import cycle_faults

    options.files = options.paths or options.files
    found = check(stack_source(options), graph_faults=cycle_faults)
    faults = [one for one in found if one.level == "error"]
    for one in sorted(found, key=Diagnostic.sort_key):
        if one.level != "error":
            print(_softer(one), file=sys.stderr)
    if faults:
        raise ComposeError(faults)
    print("valid" if not found else f"valid, with {len(found)} warning{'s' if len(found) > 1 else ''}")
    return 0


def _softer(one: Diagnostic) -> str:
    text = f"{one.path}:{one.line}:{one.column}: {one.level}: {one.message}"
    return f"{text}\n  hint: {one.hint}" if one.hint else text
