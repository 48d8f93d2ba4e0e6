"""`history`, `diff`, `rollback`: what a stack was brought to by each `up` that succeeded, and the way back to it.

They need no file: a name (`-p`, or the folder's) is enough.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from stackrun.cli import tables
from stackrun.cli.commands.plan import EXIT_CHANGES, EXIT_ERROR, change_lines, lines, printable, sign
from stackrun.cli.operations import difference_document, follow, history_document, operate, plan_document
from stackrun.cli.options import add_timeout, seconds, source
from stackrun.cli.project import name_of_past
from stackrun.cli.render import colours, display, plain_line
from stackrun.errors import StackrunError

Document = dict[str, Any]
"""JSON of api.stacks: of a History, a StateDifference, a StackPlan."""
BEFORE = -1
VERSION = 1
"""Of the documents that `--format json` prints."""


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    flag = parser.add_argument
    if verb == "rollback":
        flag("number", nargs="?", type=_number, default=BEFORE, metavar="N", help="a revision of `history`; otherwise the one before")
        flag("--plan", "--dry-run", dest="plan", action="store_true", help="show what would be done, and do nothing")
        flag("-d", "--detach", action="store_true", help=argparse.SUPPRESS)
        flag("--wait", action="store_true", help="return once everything runs or is healthy")
        flag("--wait-timeout", type=seconds, metavar="SECONDS", help="give --wait up after this long")
        add_timeout(parser)
    if verb == "diff":
        flag("before", nargs="?", type=_number, default=0, metavar="A", help="a revision of `history`; otherwise the last one")
        flag("after", nargs="?", type=_number, default=0, metavar="B", help="another; otherwise the file as it is now")
    if verb != "history":
        told = "there is something to do, with --plan" if verb == "rollback" else "there is a difference"
        flag("--detailed-exitcode", action="store_true", help=f"exit 2 when {told}")
    flag("--format", choices=("text", "json"), default="text")


def run(options: argparse.Namespace) -> int:
    request = {"source": {**source(options), "project_name": name_of_past(options)}}
    if options.verb == "history":
        return _history(options, request)
    try:
        return _diff(options, request) if options.verb == "diff" else _rollback(options, request)
    except StackrunError as error:
        if options.detailed_exitcode:
            error.exit_code = EXIT_ERROR
        raise


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a revision")
    return int(text)


def _history(options: argparse.Namespace, request: Document) -> int:
    found = history_document(options, request)
    if options.format == "json":
        print(json.dumps({"version": VERSION, **found}, indent=2, ensure_ascii=False))
    else:
        print("\n".join(history_lines(found)))
    return 0


def history_lines(history: Document) -> Iterator[str]:
    """A line a revision, the one that is up marked; then what was begun since and not finished."""
    rows = []
    for one in history["revisions"]:
        told = printable(one["changed"] or one["fault"])
        rows.append(("*" if one["current"] else "", str(one["number"]), _when(one["time_s"]), printable(one["how"]) or "-", told))
    yield from tables.table(("", "REVISION", "WHEN", "HOW", "CHANGED"), rows).splitlines()
    if history["unfinished"]:
        last = max((one["number"] for one in history["revisions"]), default=0)
        back = f": `stackrun rollback` returns to {last}" if last else ""
        yield f"unfinished: {printable(history['unfinished'])}, begun {_when(history['unfinished_s'])}{back}"


def _when(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) if time_s else "-"


def _diff(options: argparse.Namespace, request: Document) -> int:
    found = difference_document(options, {**request, "before": options.before, "after": options.after})
    if options.format == "json":
        print(json.dumps({"version": VERSION, **found}, indent=2, ensure_ascii=False))
    else:
        print("\n".join(difference_lines(found, coloured=colours(options))))
    return EXIT_CHANGES if options.detailed_exitcode and found["resources"] else 0


def difference_lines(found: Document, *, coloured: bool) -> Iterator[str]:
    if not found["resources"]:
        yield f"{found['before']} and {found['after']} declare the same"
        return
    yield f"{found['before']} → {found['after']}"
    for one in found["resources"]:
        yield f"{sign(one['symbol'], coloured)} {one['resource']}"
        yield from (f"      {line}" for line in change_lines(one["changes"]))


def _rollback(options: argparse.Namespace, request: Document) -> int:
    asked = {
        **request,
        "options": {
            "revision": options.number,
            "by": "rollback",
            "wait": options.wait,
            "wait_timeout_s": options.wait_timeout,
            "timeout_s": options.timeout,
        },
    }
    if not options.plan:
        follow(operate(options, "up", asked), display(options, "rollback"), "rollback")
        return 0
    plan = plan_document(options, asked)
    for notice in plan["notices"]:
        print(plain_line(notice), file=sys.stderr, flush=True)
    if options.format == "json":
        print(json.dumps(plan, indent=2, ensure_ascii=False))
    else:
        print("\n".join(lines(plan, coloured=colours(options))))
    return EXIT_CHANGES if options.detailed_exitcode and plan["actions"] else 0
