"""`check`: what this kernel and this user can do, what each lack costs, and what would mend it.  Asks no engine."""

from __future__ import annotations

import argparse
import json
import textwrap
from dataclasses import asdict

from stackrun.kernel.checkup import Check, checks, runs

EXIT_CANNOT_RUN = 4
FORMAT_VERSION = 1
"""Of --format json: {"version", "runs", "checks": [{"group", "name", "ok", "required", "detail", "cost", "remedy"}]}."""
_WIDTH = 110


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("--format", choices=("pretty", "json"), default="pretty")
    parser.add_argument("-q", "--quiet", action="store_true", help="only what is missing")


def run(options: argparse.Namespace) -> int:
    """0 when stackrun can run here, 4 when something it cannot do without is missing."""
    found = checks()
    if options.format == "json":
        told = {"version": FORMAT_VERSION, "runs": runs(found), "checks": [_as_json(one) for one in found]}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_listing(found, only_missing=options.quiet)))
    return 0 if runs(found) else EXIT_CANNOT_RUN


def _as_json(check: Check) -> dict[str, object]:
    told = asdict(check)
    return told if not check.ok else {**told, "cost": "", "remedy": ""}


def _listing(found: tuple[Check, ...], *, only_missing: bool) -> list[str]:
    shown = [one for one in found if not only_missing or not one.ok]
    lines: list[str] = []
    for group in dict.fromkeys(one.group for one in shown):
        members = [one for one in shown if one.group == group]
        width = max(len(one.name) for one in members)
        lines += [group, *(line for one in members for line in _lines(one, width)), ""]
    return [*lines, _verdict(found)]


def _lines(check: Check, width: int) -> list[str]:
    mark = "ok" if check.ok else "MISSING" if check.required else "missing"
    first = f"  {mark:<8} {check.name:<{width}}  {check.detail}".rstrip()
    if check.ok:
        return [first]
    indent = " " * 11
    said = [f"costs: {check.cost}"] * bool(check.cost) + [f"to have it: {check.remedy}"] * bool(check.remedy)
    return [first, *(line for text in said for line in textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "  "))]


def _verdict(found: tuple[Check, ...]) -> str:
    lacking = [one.name for one in found if one.required and not one.ok]
    if lacking:
        return f"stackrun cannot run here without {', '.join(lacking)}"
    missing = sum(not one.ok for one in found)
    return "stackrun runs here" + (
        f"; {missing} of {len(found)} are missing, at the costs told above" if missing else ", and nothing is missing"
    )
