"""`drift`: what of the stack is otherwise than declared, in the engine and in its kernel, field by field; and its repair."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from stackrun.cli.commands.plan import printable
from stackrun.cli.operations import drift_document
from stackrun.cli.options import add_services, add_timeout, source
from stackrun.cli.render import colours
from stackrun.errors import ExecuteFailed, StackrunError

Document = dict[str, Any]
"""JSON of api.drift: of a DriftReport, and of a Drift in it."""

EXIT_DRIFT = 2
EXIT_ERROR = 1
VALUE_LENGTH_MAX = 72
_UNSEEN = "the engine is not ours: its kernel was not looked at, only what its API shows"


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    parser.add_argument("--repair", action="store_true", help="bring back what is otherwise than declared; no image is pulled for it")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how the report is printed")
    add_timeout(parser)


def run(options: argparse.Namespace) -> int:
    """0 nothing is otherwise than declared (any more), 2 something is, 1 it could not be told or repaired."""
    request = {
        "source": source(options),
        "options": {"services": list(options.services), "repair": options.repair, "timeout_s": options.timeout},
    }
    try:
        report = drift_document(options, request)
    except StackrunError as error:
        error.exit_code = EXIT_ERROR
        raise
    if not report["kernel"]:
        print(f"warning: {_UNSEEN}", file=sys.stderr, flush=True)
    if options.format == "json":
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print("\n".join(lines(report, coloured=colours(options))))
    if report["failures"]:
        raise ExecuteFailed("repair failed", tuple(report["failures"]))
    return EXIT_DRIFT if report["left"] else 0


def lines(report: Document, *, coloured: bool) -> Iterator[str]:
    """A report for a person: a paragraph a resource, a line a field."""
    left = {(one["resource"], one["field"]) for one in report["left"]}
    shown = [*report["found"], *(one for one in report["left"] if one not in report["found"])]
    width = max((len(one["field"]) for one in shown), default=0)
    for resource, drifts in groupby(sorted(shown, key=lambda one: str(one["resource"])), key=lambda one: str(one["resource"])):
        yield printable(resource)
        for one in drifts:
            outcome = _outcome(one, repaired=report["repaired"], is_left=(one["resource"], one["field"]) in left, coloured=coloured)
            yield f"  {printable(one['field']):{width}}  {_cut(one['declared'])} → {_cut(one['actual'])}  ({outcome})"
    if shown:
        yield ""
    yield summary(report)


def _outcome(one: Document, *, repaired: bool, is_left: bool, coloured: bool) -> str:
    if not repaired:
        return _WORDS.get(one["repair"], str(one["repair"]))
    words, colour = ("not repaired", "31") if is_left else ("repaired", "32")
    return f"\x1b[{colour}m{words}\x1b[0m" if coloured else words


_WORDS = {"repaired in place": "in place", "none": "not by itself"}
"""How a field is brought back, or would be."""


def summary(report: Document) -> str:
    """`drift: 3 fields of 2 resources are otherwise than declared`."""
    found, left = report["found"], report["left"]
    if not found:
        return "drift: none"
    resources = len({one["resource"] for one in found})
    told = f"drift: {_count(len(found), 'field')} of {_count(resources, 'resource')}"
    return f"{told}, {len(left) or 'none'} left" if report["repaired"] else told


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cut(text: str) -> str:
    text = printable(text or '""')
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[: VALUE_LENGTH_MAX - 1]}…"
