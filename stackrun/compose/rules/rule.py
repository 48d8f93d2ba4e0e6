"""What a rule is, and how a module of rules declares its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from stackrun.compose.origins import Note
from stackrun.compose.rules.stack import Stack
from stackrun.compose.tree import Place

Level = Literal["error", "warning", "note"]
Stage = Literal["schema", "references", "lint"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""Worst first."""


class Found(NamedTuple):
    """What a check yields; the rule says the rest."""

    place: Place
    message: str
    hint: str = ""
    notes: tuple[Note, ...] = ()


Check = Callable[[Stack], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Rule:
    """`code` is what users write to select or suppress it, and never changes; `summary` is one sentence.

    `check` is None for what the reader itself reports on its way.
    """

    code: str
    group: str
    level: Level
    stage: Stage
    summary: str
    check: Check | None = None


class Group:
    """The rules of one subject, in the order of their declaration."""

    def __init__(self, name: str, stage: Stage = "lint") -> None:
        self.name, self.stage = name, stage
        self.rules: list[Rule] = []

    def reported(self, code: str, summary: str, level: Level = "error", stage: Stage | None = None) -> None:
        """A rule that the reader, the schema or the reference check applies."""
        self.rules.append(Rule(code, self.name, level, stage or self.stage, summary))

    def rule(self, code: str, level: Level, summary: str, stage: Stage | None = None) -> Callable[[Check], Check]:
        """Declare the decorated function as the rule's check."""

        def declare(check: Check) -> Check:
            self.rules.append(Rule(code, self.name, level, stage or self.stage, summary, check))
            return check

        return declare
