"""`ls`: every stack the engine runs."""

from __future__ import annotations

import argparse
import json

from stackrun.cli import tables
from stackrun.cli.operations import summaries


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="stopped stacks too")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("-q", "--quiet", action="store_true", help="names alone")


def run(options: argparse.Namespace) -> int:
    found = summaries(options, all=options.all)
    if options.quiet:
        for one in found:
            print(one["name"])
    elif options.format == "json":
        rows = [{"Name": one["name"], "Status": one["status"], "ConfigFiles": ",".join(one["config_files"])} for one in found]
        print(json.dumps(rows, ensure_ascii=False))
    else:
        cells = [(one["name"], one["status"], ",".join(one["config_files"])) for one in found]
        print(tables.table(("NAME", "STATUS", "CONFIG FILES"), cells), end="")
    return 0
