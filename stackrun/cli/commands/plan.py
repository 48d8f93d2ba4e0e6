"""`plan`: what `up` with the same words would do, and why. Nothing is done."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from stackrun.cli.commands.up import stack_arguments, stack_request
from stackrun.cli.engines import chosen
from stackrun.cli.operations import planned
from stackrun.cli.render import colours, plain_line
from stackrun.cli.saved_plan import document, save
from stackrun.errors import StackrunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stackrun.api.stacks import FieldChange, PlannedAction, StackPlan

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
    plan = planned(options, request)
    for notice in plan.notices:
        event = {"resource": notice.resource, "text": notice.text, "detail": notice.detail, "hint": notice.hint}
        print(plain_line(event), file=sys.stderr, flush=True)
    saved = document(plan, request, chosen(options).host)
    if options.out:
        save(options.out, saved)
    if options.format == "json":
        print(json.dumps(saved, indent=2))
    else:
        print("\n".join(lines(plan, coloured=colours(options))))
    return EXIT_CHANGES if options.detailed_exitcode and plan.actions else 0


def lines(plan: StackPlan, *, coloured: bool) -> Iterator[str]:
    """The plan for a person; values are cut to fit, the JSON form has them whole."""
    width = max((len(one.resource) for one in plan.actions), default=0)
    for action in plan.actions:
        sign = f"{action.symbol:>3}"
        sign = f"\x1b[{_COLOURS[action.symbol]}m{sign}\x1b[0m" if coloured else sign
        yield f"{sign} {action.resource:{width}}  {_reason(action)}".rstrip()
        yield from (f"      {line}" for line in _details(action, coloured))
    if plan.waits:
        yield f"    then wait until {', '.join(plan.waits)}"
    if plan.actions or plan.waits:
        yield ""
    yield plan.summary


def _reason(action: PlannedAction) -> str:
    """What is done to it and why; of a resource that is made or goes the sign says enough."""
    if action.symbol != "~" and not action.resource.startswith("Image "):
        return _printable(action.cause)
    steps = ", ".join(action.steps)
    return _printable(f"{steps} ({action.cause})" if action.cause else steps)


def _details(action: PlannedAction, coloured: bool) -> Iterator[str]:
    shown = [(_change(one), _place(one.place)) for one in action.changes]
    width = max((len(text) for text, _ in shown), default=0)
    for text, place in shown:
        yield f"{text:{width}}  {place}".rstrip()
    if action.waits_for:
        yield f"waits for {', '.join(action.waits_for)}"
    for loss in action.destroys:
        text = f"destroys {loss}"
        yield f"\x1b[1;31m{text}\x1b[0m" if coloured else text
    yield from action.notes


def _change(one: FieldChange) -> str:
    if one.before is None:
        return f"{one.field}: {_cut(one.after)}"
    return f"{one.field}: {_cut(one.before)} → {'(none)' if one.after is None else _cut(one.after)}"


def _cut(text: str | None) -> str:
    text = _printable(text or '""')
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[: VALUE_LENGTH_MAX - 1]}…"


def _printable(text: str) -> str:
    """Nothing of a stack file can move the cursor."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _place(place: str) -> str:
    """Without its column."""
    return place.rpartition(":")[0]
