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
from dataclasses import dataclass

Lookup = Callable[[str], str | None]
Unset = Callable[[str], None] | None

_START = re.compile(r"\$(?:(?P<escaped>\$)|(?P<named>[A-Za-z_][A-Za-z0-9_]*)|(?P<brace>\{))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Variable:
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


def substitute(text: str, lookup: Lookup, *, unset: Unset = None, depth: int = 0) -> str:
    """`text` with its variables replaced; `unset` is told each name that has neither a value nor a default."""
    if depth > MAX_DEPTH:
        raise TemplateError("variables are nested too deeply", 0)
    parts: list[str] = []
    position = 0
    while match := _START.search(text, position):
        parts.append(text[position : match.start()])
        if match["escaped"]:
            value, position = "$", match.end()
        elif match["named"]:
            value, position = _value(match["named"], lookup, unset), match.end()
        elif match["brace"]:
            value, position = _braced(text, match.end(), lookup, unset, depth)
        else:
            value, position = "$", match.end()
        parts.append(value)
    parts.append(text[position:])
    return "".join(parts)


def variables(text: str) -> Iterator[Variable]:
    """The variables that `text` names, and those that their defaults and alternatives name; none of what is no template."""
    position = 0
    while match := _START.search(text, position):
        position = match.end()
        if match["named"]:
            yield Variable(match["named"])
        elif match["brace"]:
            try:
                end = _closing(text, position)
            except TemplateError:
                return
            yield from _described(text[position:end])
            position = end + 1


def _described(expression: str) -> Iterator[Variable]:
    name = _NAME.match(expression)
    if not name:
        return
    operator = _OPERATOR.match(expression, name.end())
    kind = operator[0][-1] if operator else ""
    argument = expression[operator.end() :] if operator else ""
    yield Variable(name[0], kind == "?", argument if kind == "-" else "", argument if kind == "+" else "")
    if kind in ("-", "+"):
        yield from variables(argument)


def _value(name: str, lookup: Lookup, unset: Unset) -> str:
    value = lookup(name)
    if value is None and unset is not None:
        unset(name)
    return value or ""


def _braced(text: str, start: int, lookup: Lookup, unset: Unset, depth: int) -> tuple[str, int]:
    """The value of the expression after `${` at `start`, and the position after its `}`."""
    end = _closing(text, start)
    name = _NAME.match(text, start, end)
    if not name:
        raise _invalid(text, start - 2)
    if name.end() == end:
        return _value(name[0], lookup, unset), end + 1
    operator = _OPERATOR.match(text, name.end(), end)
    if not operator:
        raise _invalid(text, start - 2)
    argument = text[operator.end() : end]
    return _operated(name[0], operator[0], argument, lookup, unset, depth, start - 2), end + 1


def _operated(name: str, operator: str, argument: str, lookup: Lookup, unset: Unset, depth: int, at: int) -> str:
    value = lookup(name)
    present = value is not None and (value != "" or not operator.startswith(":"))
    needed = present == (operator[-1] == "+")
    other = substitute(argument, lookup, unset=unset if needed else None, depth=depth + 1)
    if operator[-1] == "+":
        return other if present else ""
    if present:
        return value or ""
    if operator[-1] == "-":
        return other
    state = "is empty" if value == "" else "is not set"
    message = f"required variable {name} {state}" + (f": {other}" if other else "")
    raise MissingVariable(message, at, f"set {name} in the environment or in .env")


def _closing(text: str, start: int) -> int:
    """The `}` that ends the expression opened before `start`; only `${` opens another."""
    open_braces = 1
    position = start
    while position < len(text):
        if text[position] == "}":
            open_braces -= 1
            if not open_braces:
                return position
        elif text.startswith("${", position):
            open_braces += 1
            position += 1
        position += 1
    raise _invalid(text, start - 2)


def _invalid(text: str, position: int) -> TemplateError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return TemplateError(f"invalid variable in {shown!r}", position, _invalid_hint(text[position:]))


def _invalid_hint(rest: str) -> str:
    wrong = re.match(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?=?([^}]*)\}", rest)
    if wrong and wrong[2]:
        return f"write ${{{wrong[1]}:-{wrong[2]}}} for a default"
    return "write $$ for a dollar sign that is meant as one"
