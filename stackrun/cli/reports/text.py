"""Findings for a person: place, code, message, the line itself with a caret, where the value came from, what to do."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from stackrun.cli.reports.report import INCOMPLETE, at_least, visible
from stackrun.compose.rules.rule import LEVELS, Level
from stackrun.compose.validation import Finding, Validation
from stackrun.compose.written import Written

_COLOURS = {"error": "31", "warning": "33", "note": "36"}
_Paint = Callable[[str, str], str]
_WIDTH = 160
"""Columns of a source line that are shown."""


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    paint = _painted if colour else _plain
    told = at_least(validation.open, shown)
    blocks = ["\n".join(_lines(one, validation.sources.get(one.place.path), paint)) for one in told]
    return "\n\n".join([*blocks, _summary(validation, shown)]) + "\n"


def _painted(text: str, style: str) -> str:
    return f"\033[{style}m{text}\033[0m"


def _plain(text: str, style: str) -> str:
    return text


def _lines(one: Finding, written: Written | None, paint: _Paint) -> Iterator[str]:
    place = visible(str(one.place if one.place.line else one.place.path))
    yield f"{paint(f'{place}:', '1')} {paint(f'{one.level}[{one.code}]', _COLOURS[one.level])} {visible(one.message)}"
    if written is not None and one.place.line:
        yield from _excerpt(one, written, paint)
    for at, sentence in one.notes:
        yield visible(f"  note: {f'{at}: ' if at.line else ''}{sentence}")
    if one.hint:
        yield visible(f"  hint: {one.hint}")


def _excerpt(one: Finding, written: Written, paint: _Paint) -> Iterator[str]:
    """The line, or of a long one the part around the column, and carets below it."""
    line, index = written.line(one.place.line), one.place.column - 1
    start = max(0, index - _WIDTH // 2) if len(line) > _WIDTH else 0
    text = line[start : start + _WIDTH]
    if not text.strip() or index > len(line):
        return
    left, right = "…" if start else "", "…" if start + len(text) < len(line) else ""
    end = one.end[1] - 1 if one.end[0] == one.place.line else index + 1
    marked = line[index : min(end, start + _WIDTH)]
    gutter = f"{one.place.line:>5} | "
    shown = text.replace(marked, "•" * len(marked)) if _is_secret(one) and marked else text
    yield f"{gutter}{left}{visible(shown)}{right}"
    before = " " * len(left) + "".join("\t" if char == "\t" else " " * _columns(char) for char in line[start:index])
    yield f"{' ' * (len(gutter) - 2)}| {before}{paint('^' * max(1, sum(map(_columns, marked))), _COLOURS[one.level])}"


def _is_secret(one: Finding) -> bool:
    """Whether the value itself must not be told: what CI prints is read by more people than the file."""
    return "credential" in one.code and one.rule.group == "security"


def _columns(char: str) -> int:
    """How many columns of a terminal a character takes."""
    if char.isascii():
        return 1
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _summary(validation: Validation, shown: Level) -> str:
    counts = Counter(one.level for one in validation.open)
    files = len(validation.files)
    where = f"in {files} file{'' if files == 1 else 's'}"
    text = f"{_counted(counts, LEVELS) or 'no findings'} {where}"
    silenced = len(validation.findings) - len(validation.open)
    text += f"; {silenced} suppressed" if silenced else ""
    hidden = LEVELS[LEVELS.index(shown) + 1 :]
    if any(counts[level] for level in hidden):
        least = next(level for level in reversed(hidden) if counts[level])
        text += f" (--level {least} shows the {_counted(counts, hidden)})"
    return text if validation.complete else f"{text}\n{INCOMPLETE}"


def _counted(counts: Counter[Level], levels: Iterable[Level]) -> str:
    return ", ".join(f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in levels if counts[level])
