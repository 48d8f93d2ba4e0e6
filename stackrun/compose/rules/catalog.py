"""Every rule there is, and the page that explains it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from stackrun.compose.faults import did_you_mean
from stackrun.compose.rules.rule import LEVELS, Rule
from stackrun.errors import InvalidArgument

GROUPS = (
    "structure", "files", "references", "graph", "health", "ports", "names", "images", "storage", "security", "environment",
    "lifecycle", "support", "suppression", "host",
)  # fmt: skip
"""A module each, in the order in which they are told."""


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Code → rule."""
    found: dict[str, Rule] = {}
    for name in GROUPS:
        for rule in importlib.import_module(f"stackrun.compose.rules.{name}").GROUP.rules:
            assert rule.code not in found, f"two rules are named {rule.code}"
            found[rule.code] = rule
    return found


def rule(code: str) -> Rule:
    """InvalidArgument for a code that no rule has."""
    if code not in rules():
        raise InvalidArgument(f"there is no rule {code}", hint=did_you_mean(code, rules()) or "`stackrun rules` lists them")
    return rules()[code]


def page(code: str) -> str:
    """The rule's explanation, Markdown: why it matters, a bad and a good example."""
    return (Path(__file__).parent / "pages" / f"{rule(code).code}.md").read_text(encoding="utf-8")


def codes(words: Iterable[str]) -> frozenset[str]:
    """The codes that a selection means: codes, groups, levels or `all`. InvalidArgument for anything else."""
    found: set[str] = set()
    for word in words:
        meant = {one.code for one in rules().values() if word in (one.code, one.group, one.level, one.stage, "all")}
        if not meant:
            known = [*rules(), *GROUPS, *LEVELS, "all"]
            raise InvalidArgument(f"there is no rule or group {word!r}", hint=did_you_mean(word, known) or "`stackrun rules` lists them")
        found |= meant
    return frozenset(found)
