"""Findings for a person: place, code, message, the line itself with a caret, where the value came from, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from stackrun.cli.reports.report import at_least
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
    place = one.place if one.place.line else one.place.path
    yield f"{paint(f'{place}:', '1')} {paint(f'{one.level}[{one.code}]', _COLOURS[one.level])} {one.message}"
    if written is not None and one.place.line:
        yield from _excerpt(one, written, paint)
    for place, sentence in one.notes:
        yield f"  note: {f'{place}: ' if place.line else ''}{sentence}"
    if one.hint:
        yield f"  hint: {one.hint}"


def _excerpt(one: Finding, written: Written, paint: _Paint) -> Iterator[str]:
    line, column = written.line(one.place.line), one.place.column
    start = max(0, column - _WIDTH // 2) if len(line) > _WIDTH else 0
    text = line[start : start + _WIDTH]
    if not text.strip():
        return
    end = one.end[1] if one.end[0] == one.place.line else column + 1
    length = max(1, min(end, start + len(text) + 1) - column)
    gutter = f"{one.place.line:>5} | "
    before = "".join(char if char == "\t" else " " for char in text[: column - 1 - start])
    yield f"{gutter}{_visible(text)}"
    yield f"{' ' * (len(gutter) - 2)}| {before}{paint('^' * length, _COLOURS[one.level])}"


def _visible(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _summary(validation: Validation, shown: Level) -> str:
    counts = Counter(one.level for one in validation.open)
    files = len(validation.files)
    where = f"in {files} file{'' if files == 1 else 's'}"
    parts = [f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in LEVELS if counts[level]]
    text = f"{', '.join(parts)} {where}" if parts else f"no findings {where}"
    hidden = sum(counts[level] for level in LEVELS if LEVELS.index(level) > LEVELS.index(shown))
    silenced = len(validation.findings) - len(validation.open)
    text += f"; {silenced} suppressed" if silenced else ""
    text += f" (--level {LEVELS[-1]} shows {'it' if hidden == 1 else f'the {hidden} notes'})" if hidden else ""
    return text if validation.complete else f"{text}\nnot everything could be checked: something could not be read"
