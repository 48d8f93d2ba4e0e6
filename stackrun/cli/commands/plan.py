"""`plan`: what `up` with the same words would do, and why. Nothing is done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from stackrun.cli.commands.up import stack_arguments, stack_request
from stackrun.cli.engines import chosen
from stackrun.cli.operations import plan_document
from stackrun.cli.render import colours, plain_line
from stackrun.cli.saved_plan import document, save
from stackrun.errors import StackrunError

Document = dict[str, Any]
"""JSON of api.stacks: of a StackPlan, and of a PlannedAction and a FieldChange in it. The values are not built: it would take half as
long again as all the rest."""

EXIT_CHANGES = 2
EXIT_ERROR = 1
"""With --detailed-exitcode, as Terraform has it: 2 is no fault of the file then."""
VALUE_LENGTH_MAX = 72
_COLOURS = {"+": "32", "~": "33", "-/+": "35", "-": "31"}


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    stack_arguments(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how the plan is printed")
    parser.add_argument("--out", metavar="FILE", help="save it too, for `up --plan FILE`")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 2 when there is something to do")


def run(options: argparse.Namespace) -> int:
    try:
        return _run(options)
    except StackrunError as error:
        if options.detailed_exitcode:
            error.exit_code = EXIT_ERROR
        raise


def _run(options: argparse.Namespace) -> int:
    request = stack_request(options)
    plan = plan_document(options, request)
    for notice in plan["notices"]:
        print(plain_line(notice), file=sys.stderr, flush=True)
    saved = document(plan, request, chosen(options).host)
    if options.out:
        save(options.out, saved)
    if options.format == "json":
        print(json.dumps(saved, indent=2))
    else:
        print("\n".join(lines(plan, coloured=colours(options))))
    return EXIT_CHANGES if options.detailed_exitcode and plan["actions"] else 0


def lines(plan: Document, *, coloured: bool) -> Iterator[str]:
    """The plan for a person; values are cut to fit, the JSON form has them whole."""
    actions, waits = plan["actions"], plan["waits"]
    width = max((len(one["resource"]) for one in actions), default=0)
    for action in actions:
        symbol, resource = action["symbol"], action["resource"]
        yield f"{sign(symbol, coloured)} {resource:{width}}  {_reason(action)}".rstrip()
        yield from (f"      {line}" for line in _details(action, coloured))
    if waits:
        yield f"    then wait until {', '.join(waits)}"
    if actions or waits:
        yield ""
    yield plan["summary"]["text"]


def sign(symbol: str, coloured: bool) -> str:
    return f"\x1b[{_COLOURS[symbol]}m{symbol:>3}\x1b[0m" if coloured else f"{symbol:>3}"


def _reason(action: Document) -> str:
    """What is done to it and why; of a resource that is made or goes the sign says enough."""
    cause, steps = action["cause"], ", ".join(action["steps"])
    if action["symbol"] == "-/+" or (action["symbol"] != "~" and not action["resource"].startswith("Image ")):
        return printable(cause)
    return printable(f"{steps} ({cause})" if cause else steps)


def _details(action: Document, coloured: bool) -> Iterator[str]:
    yield from change_lines(action["changes"])
    yield from _update(action["steps"])
    if action["waits_for"]:
        yield f"waits for {', '.join(action['waits_for'])}"
    for loss in action["destroys"]:
        yield f"\x1b[1;31mdestroys {loss}\x1b[0m" if coloured else f"destroys {loss}"
    yield from action["notes"]


def _update(steps: list[str]) -> Iterator[str]:
    """The steps where their order is the file's choice (`deploy.update_config`): of other replacements it is always the same."""
    if not any(one.startswith("wait until ready") for one in steps):
        return
    back = [one.removeprefix("on failure ") for one in steps if one.startswith("on failure ")]
    yield f"steps: {', '.join(one for one in steps if not one.startswith('on failure '))}"
    if back:
        yield f"on failure: {', '.join(back)}"


def change_lines(changes: list[Document]) -> Iterator[str]:
    shown = [(_change(one["field"], one["before"], one["after"]), _place(one["place"])) for one in changes]
    width = max((len(text) for text, _ in shown), default=0)
    for text, place in shown:
        yield f"{text:{width}}  {place}".rstrip()


def _change(field: str, before: str | None, after: str | None) -> str:
    if before is None:
        return f"{field}: {_cut(after)}"
    return f"{field}: {_cut(before)} → {'(none)' if after is None else _cut(after)}"


def _cut(text: str | None) -> str:
    text = printable(text or '""')
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[: VALUE_LENGTH_MAX - 1]}…"


def printable(text: str) -> str:
    """Nothing of a stack file can move the cursor."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _place(place: str) -> str:
    """Without its column."""
    return place.rpartition(":")[0]
