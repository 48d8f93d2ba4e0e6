"""`rules`: what `validate` looks for."""

from __future__ import annotations

import argparse
import json


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="these groups, levels or rules alone")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(options: argparse.Namespace) -> int:
    from stackrun.compose.rules.catalog import codes, page, rules

    wanted = codes(options.groups) if options.groups else frozenset(rules())
    chosen = [one for one in rules().values() if one.code in wanted]
    if options.format == "json":
        from stackrun.compose.fixes import FIXABLE

        keys = ("code", "group", "level", "stage", "summary")
        listed = [{key: getattr(one, key) for key in keys} | {"fix": one.code in FIXABLE, "page": page(one.code)} for one in chosen]
        print(json.dumps({"version": 1, "rules": listed}, indent=2, ensure_ascii=False))
        return 0
    width = max((len(one.code) for one in chosen), default=0)
    for one in chosen:
        print(f"{one.code:<{width}}  {one.level:<7}  {one.group:<11}  {one.summary}")
    return 0
