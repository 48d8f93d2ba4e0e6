"""`graph`: who waits for whom, what starts together, and the chain of waits that the start takes longest for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stackrun.cli import project
from stackrun.cli.render import colours

if TYPE_CHECKING:
    from stackrun.stack.critical import Start


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="these and what they depend on; otherwise all")
    parser.add_argument("--format", choices=("text", "mermaid", "dot", "json", "svg"), default="text")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write there instead of stdout")


def run(options: argparse.Namespace) -> int:
    from stackrun.stack.critical import start_of

    start = start_of(project.load(options, for_up=False), options.services)
    text = _rendered(start, options)
    if options.output:
        Path(options.output).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


def _rendered(start: Start, options: argparse.Namespace) -> str:
    from stackrun.cli import graphs

    match options.format:
        case "svg":
            from stackrun.cli.drawing import to_svg

            return to_svg(start)
        case "mermaid":
            return graphs.to_mermaid(start)
        case "dot":
            return graphs.to_dot(start)
        case "json":
            return graphs.to_json(start)
    return graphs.to_text(start, coloured=not options.output and colours(options))
