"""The list that every phase writes its findings to, so that one run tells all of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NoReturn

from stackrun.compose.budget import Budget
from stackrun.compose.origins import Origins
from stackrun.compose.tree import Place
from stackrun.errors import ComposeError, Diagnostic

MAX_FINDINGS = 2_000
_CALLED = {"error": "findings", "warning": "warnings"}
MAX_MESSAGE = 500
"""Characters; a hint may have twice as many."""
_COMPARED = 200
"""Known words that a misspelt one is compared with."""


class Stop(Exception):
    """Nothing more need be looked into; why stands in the findings. `load` catches it."""


class Faults:
    """Findings, one message once a place.

    An error hides those that later phases find at the same place: they follow from it.
    """

    def __init__(self) -> None:
        self.origins = Origins()
        self._budget = Budget()
        self._seen: dict[tuple[Place, str], Diagnostic] = {}
        self._phase = 0
        self._count = {"error": 0, "warning": 0}
        self._cut: dict[str, Diagnostic] = {}
        self._error_phase: dict[Place, int] = {}

    def next_phase(self) -> None:
        self._phase += 1

    def error(self, at: Place, message: str, *, hint: str = "", code: str = "invalid") -> None:
        if self._error_phase.setdefault(at, self._phase) == self._phase or not at.line:
            self.add(Diagnostic(at.path, at.line, at.column, message, hint=hint, code=code))

    def warning(self, at: Place, message: str, *, hint: str = "", code: str = "notice") -> None:
        self.add(Diagnostic(at.path, at.line, at.column, message, hint=hint, code=code, level="warning"))

    def add(self, found: Diagnostic) -> None:
        level = "error" if found.level == "error" else "warning"
        if self._count[level] < MAX_FINDINGS:
            found.message, found.hint = readable(found.message, MAX_MESSAGE), readable(found.hint, 2 * MAX_MESSAGE)
            known = len(self._seen)
            self._seen.setdefault((Place(found.path, found.line, found.column), found.message), found)
            self._count[level] += len(self._seen) - known
        if self._count[level] >= MAX_FINDINGS and level not in self._cut:
            message = f"more than {MAX_FINDINGS} {_CALLED[level]}: the rest is left out"
            self._cut[level] = Diagnostic(found.path, 0, 0, message, code="too-many", level=level)

    def stop(self, at: Place, message: str, *, hint: str = "") -> NoReturn:
        """An error after which nothing more is looked into, since there is too much of it."""
        self.error(at, message, hint=hint, code="too-much")
        raise Stop

    def spend(self, kind: str, amount: int, at: Place) -> None:
        """Takes from what a load may ask for (see `budget`); stops at `at` when it is too much."""
        limit = self._budget.spend(kind, amount)
        if limit:
            self.stop(at, f"more than {limit.most:,} {limit.called}", hint=limit.hint)

    def stop_if_full(self) -> None:
        """A tree whose faults are not all known is none that later phases could work with."""
        if self.full:
            raise Stop

    @property
    def full(self) -> bool:
        """Whether no more errors are kept, so that nothing more need be looked into. Warnings are told up to a number, and stop nothing."""
        return self._count["error"] >= MAX_FINDINGS

    @property
    def cut(self) -> bool:
        """Whether something that was found is not told."""
        return bool(self._cut)

    @property
    def unreadable(self) -> bool:
        """Whether a file could not be read to its end."""
        return any(one.code.startswith("yaml") for one in self._seen.values() if one.level == "error")

    @property
    def all(self) -> tuple[Diagnostic, ...]:
        found = [*self._seen.values(), *self._cut.values()]
        for one in found:
            one.notes = one.notes or self.origins.notes(Place(one.path, one.line, one.column), told=one.code == "unset-variable")
        return tuple(sorted(found, key=Diagnostic.sort_key))

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(one for one in self.all if one.level == "error")

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(one for one in self.all if one.level != "error")

    def __bool__(self) -> bool:
        return self.full or any(one.level == "error" for one in self._seen.values())

    def raise_errors(self) -> None:
        """ComposeError with every error, when there is one."""
        if self:
            raise ComposeError(self.errors)


def readable(text: str, limit: int) -> str:
    """One line without what a terminal would obey, its middle left out where it is too long."""
    if len(text) > limit:
        text = f"{text[: limit - 100]} … {text[-90:]}"
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "ports"?`, or nothing when no known word is near."""
    candidates = tuple(known)
    if len(candidates) > _COMPARED:
        candidates = tuple(other for other in candidates if other[:1] == word[:1] and abs(len(other) - len(word)) < 3)
    return _nearest(word[:100].lower(), tuple(sorted(candidates)[:_COMPARED]))


@lru_cache(512)
def _nearest(word: str, candidates: tuple[str, ...]) -> str:
    import difflib

    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.7)
    return f'did you mean "{near[0]}"?' if near else ""
