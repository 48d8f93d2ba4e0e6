"""`schema`: the JSON Schema of stack files, for editors and other tools. What it accepts is what `validate` starts with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stackrun.cli.shipped import schema_text


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write there instead of stdout")


def run(options: argparse.Namespace) -> int:
    if options.output:
        Path(options.output).write_text(schema_text(), encoding="utf-8")
    else:
        sys.stdout.write(schema_text())
    return 0
