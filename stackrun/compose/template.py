"""`$NAME` and `${NAME…}` in one string, as Compose substitutes them.

    $NAME ${NAME}      the value, or nothing when unset
    ${NAME:-default}   default when unset or empty      ${NAME-default}  when unset
    ${NAME:?message}   an error when unset or empty     ${NAME?message}  when unset
    ${NAME:+other}     other when set and not empty     ${NAME+other}    when set
    $$                 a dollar sign; one that nothing of this follows stays as it is

Defaults, messages and replacements are templates themselves, and wrong ones are errors even where they are not needed.
Names are ASCII letters, digits and `_`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

Lookup = Callable[[str], str | None]
Unset = Callable[[str], None] | None

_START = re.compile(r"\$(?:(?P<escaped>\$)|(?P<named>[A-Za-z_][A-Za-z0-9_]*)|(?P<brace>\{))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_BRACE = re.compile(r"\$\{|\}")
MAX_DEPTH = 50
MAX_LENGTH = 1_000_000
"""Characters that the variables of one string may give."""


class Variable(NamedTuple):
    """What a template says of a variable that it names."""

    name: str
    required: bool = False
    default: str = ""
    alternate: str = ""


class TemplateError(Exception):
    """`text` is not a template: position counts characters from 0."""

    def __init__(self, message: str, position: int, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.position, self.hint = message, position, hint


class MissingVariable(TemplateError):
    """A required variable is unset or empty."""


def substitute(text: str, lookup: Lookup, *, unset: Unset = None) -> str:
    """`text` with its variables replaced; `unset` is told each name that has neither a value nor a default."""
    return _Substitution(text, lookup).between(0, len(text), unset, 0)


class _Substitution:
    """One text, whose parts are looked at where they stand: nothing is copied, however deep it lies."""

    def __init__(self, text: str, lookup: Lookup) -> None:
        self.text, self.lookup = text, lookup
        self.closing = _closings(text) if "${" in text else {}
        self.length = 0
        """Characters put together so far, inner ones with every level that they pass."""

    def between(self, start: int, end: int, unset: Unset, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise TemplateError("variables are nested too deeply", start, f"no more than {MAX_DEPTH} defaults one in the other")
        parts: list[str] = []
        position = start
        while match := _START.search(self.text, position, end):
            parts.append(self.text[position : match.start()])
            if match["named"]:
                value, position = self._value(match["named"], unset), match.end()
            elif match["brace"]:
                value, position = self._braced(match.end(), end, unset, depth)
            else:
                value, position = "$", match.end()
            parts.append(value)
            self._grow(len(value), start)
        parts.append(self.text[position:end])
        return "".join(parts)

    def _grow(self, characters: int, at: int) -> None:
        self.length += characters
        if self.length > MAX_LENGTH:
            raise TemplateError(f"variables give more than {MAX_LENGTH:,} characters", at, "does one contain itself many times over?")

    def _value(self, name: str, unset: Unset) -> str:
        value = self.lookup(name)
        if value is None and unset is not None:
            unset(name)
        return value or ""

    def _braced(self, start: int, limit: int, unset: Unset, depth: int) -> tuple[str, int]:
        """The value of the expression after `${` at `start`, and the position after its `}`."""
        end = self.closing.get(start, limit)
        name = _NAME.match(self.text, start, end)
        if end >= limit or not name:
            raise _invalid(self.text, start - 2)
        if name.end() == end:
            return self._value(name[0], unset), end + 1
        operator = _OPERATOR.match(self.text, name.end(), end)
        if not operator:
            raise _invalid(self.text, start - 2)
        return self._operated(name[0], operator, end, unset, depth), end + 1

    def _operated(self, name: str, operator: re.Match[str], end: int, unset: Unset, depth: int) -> str:
        value = self.lookup(name)
        present = value is not None and (value != "" or not operator[0].startswith(":"))
        needed = present == (operator[0][-1] == "+")
        other = self.between(operator.end(), end, unset if needed else None, depth + 1)
        if operator[0][-1] == "+":
            return other if present else ""
        if present:
            return value or ""
        if operator[0][-1] == "-":
            return other
        state = "is empty" if value == "" else "is not set"
        message = f"required variable {name} {state}" + (f": {other}" if other else "")
        raise MissingVariable(message, operator.start() - len(name) - 2, f"set {name} in the environment or in .env")


def variables(text: str) -> Iterator[Variable]:
    """The variables that `text` names, and those that their defaults and alternatives name; none of what is no template."""
    yield from _variables(text, 0, len(text), _closings(text), 0)


def _variables(text: str, start: int, limit: int, closing: dict[int, int], depth: int) -> Iterator[Variable]:
    position = start
    while depth <= MAX_DEPTH and (match := _START.search(text, position, limit)):
        position = match.end()
        if match["named"]:
            yield Variable(match["named"])
        elif match["brace"]:
            end = closing.get(position, limit)
            if end >= limit:
                return
            yield from _described(text, position, end, closing, depth)
            position = end + 1


def _described(text: str, start: int, end: int, closing: dict[int, int], depth: int) -> Iterator[Variable]:
    name = _NAME.match(text, start, end)
    if not name:
        return
    operator = _OPERATOR.match(text, name.end(), end)
    kind = operator[0][-1] if operator else ""
    argument = text[operator.end() : end] if operator else ""
    yield Variable(name[0], kind == "?", argument if kind == "-" else "", argument if kind == "+" else "")
    if operator and kind in ("-", "+"):
        yield from _variables(text, operator.end(), end, closing, depth + 1)


def _closings(text: str) -> dict[int, int]:
    """Position after each `${` → that of the `}` which ends it; only `${` opens another, and what is never closed is not there."""
    found: dict[int, int] = {}
    open_at: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] != "}":
            open_at.append(match.end())
        elif open_at:
            found[open_at.pop()] = match.start()
    return found


def _invalid(text: str, position: int) -> TemplateError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return TemplateError(f"invalid variable in {shown!r}", position, _invalid_hint(text[position : position + 200]))


def _invalid_hint(rest: str) -> str:
    wrong = re.match(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?=?([^}]*)\}", rest)
    if wrong and wrong[2]:
        return f"write ${{{wrong[1]}:-{wrong[2]}}} for a default"
    return "write $$ for a dollar sign that is meant as one"
