"""A Dockerfile's lines become statements: directives, comments, continuation lines and here-documents.

Source: https://docs.docker.com/reference/dockerfile/ (format, parser directives, here-documents), and BuildKit where that is silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile_words import json_words, split_statement, well_formed
from stackrun.image.instructions import Heredoc
from stackrun.image.substitution import expand_words, raw_words

LONGEST_LINE = 65535
"""Of a line in the file, as with Docker; lines that are continued may be longer together."""

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)")
_DIRECTIVES = ("check", "escape", "syntax")
_HEREDOC = re.compile(r"([0-9]*)<<(-?+)\s*([^<]+)")
_SPACED = re.compile(r"[0-9]*<<-?")
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")


@dataclass(frozen=True, slots=True)
class Statement:
    """An instruction with its continuation lines joined; `line` is its first, from 1."""

    line: int
    text: str
    heredocs: tuple[Heredoc, ...] = ()


class Lines:
    """The statements of a text; what is wrong with its lines goes to `faults`, as (line, error)."""

    def __init__(self, text: str) -> None:
        self.lines = well_formed(text).removeprefix("\ufeff").split("\n")
        if not self.lines[-1]:
            self.lines.pop()  # what ends with a newline has no further line
        self.next = 0
        self.faults: list[tuple[int, InvalidArgument]] = []
        for number, line in enumerate(self.lines, 1):
            if "\0" in line:
                self._fault(number, "the file is no text: it has a NUL character", "name the Dockerfile itself")
                break
            if len(line) > LONGEST_LINE:
                self._fault(number, f"dockerfile line greater than max allowed size of {LONGEST_LINE}", "break it by a backslash")
                del self.lines[number - 1 :]
                break
        self.directives = self._read_directives()
        self.escape = self.directives.get("escape", "\\")

    def _read_directives(self) -> dict[str, str]:
        """Name → value, of the first lines only: anything else ends them, be it a comment or an empty line."""
        found: dict[str, str] = {}
        for number, line in enumerate(self.lines, 1):
            match = _DIRECTIVE.fullmatch(line.strip())
            name = match[1].lower() if match else ""
            if not match or name not in _DIRECTIVES:
                break
            if name in found:
                self._fault(number, f"only one {name} parser directive can be used", "remove the second one")
            elif name == "escape" and match[2] not in ("\\", "`"):
                self._fault(number, f"invalid escape token '{match[2]}' does not match ` or \\", "# escape=\\ or # escape=`")
            else:
                found[name] = match[2]
        return found

    def _fault(self, line: int, message: str, hint: str) -> None:
        self.faults.append((line, InvalidArgument(message, hint=hint)))

    def statements(self) -> Iterator[Statement]:
        while self.next < len(self.lines):
            first = self.next + 1
            text = self._joined()
            if text:
                yield self._with_heredocs(Statement(first, text))

    def _joined(self) -> str:
        """The next line and those that continue it; in between, comments and empty lines are skipped."""
        found: list[str] = []
        is_first = True
        while self.next < len(self.lines):
            line = self.lines[self.next].rstrip("\r")
            self.next += 1
            content = line.lstrip()
            if content.startswith("#") or not content:
                if is_first:
                    return ""
                continue
            text = content if is_first else line
            is_first = False
            stripped = text.rstrip(" \t")
            if not stripped.endswith(self.escape) or stripped[-2:-1] == self.escape:
                found.append(text)
                break
            found.append(stripped[:-1])
        return "".join(found).strip()

    def _with_heredocs(self, statement: Statement) -> Statement:
        keyword = _heredoc_keyword(statement.text, self.escape) if "<<" in statement.text else ""
        if not keyword:
            return statement
        found = []
        for name, expands, is_chomped, is_sure in heredoc_words(statement.text, has_spaced=keyword == "RUN"):
            content = self._heredoc(name, is_chomped)
            if content is not None:
                found.append(Heredoc(name, content, expands))
            elif is_sure:
                self._fault(statement.line, "unterminated heredoc", f"a line with {name} alone must end it")
                self.next = len(self.lines)
                break
        return replace(statement, heredocs=tuple(found))

    def _heredoc(self, name: str, is_chomped: bool) -> str | None:
        """The lines up to the one that is `name`; None, and none of them read, when there is none."""
        if self._last_lines.get((name, is_chomped), -1) < self.next:
            return None
        found: list[str] = []
        for position in range(self.next, len(self.lines)):
            line = self.lines[position].lstrip("\t") if is_chomped else self.lines[position]
            if line.rstrip("\r") == name:
                self.next = position + 1
                return "".join(found)
            found.append(line + "\n")
        return None

    @cached_property
    def _last_lines(self) -> dict[tuple[str, bool], int]:
        """Where a line stands last, as it is and without tabs before it: a name that never comes is not looked for again and again."""
        found: dict[tuple[str, bool], int] = {}
        for index, line in enumerate(self.lines):
            stripped = line.rstrip("\r")
            found[stripped, False] = found[stripped.lstrip("\t"), True] = index
        return found


def _heredoc_keyword(text: str, escape: str) -> str:
    """RUN, COPY or ADD, of ONBUILD too; "" for what has no here-documents."""
    keyword, _, rest = split_statement(text, escape)
    if keyword.upper() == "ONBUILD":
        keyword, _, rest = split_statement(rest, escape)
    try:
        return keyword.upper() if keyword.upper() in _WITH_HEREDOCS and json_words(rest) is None else ""
    except InvalidArgument:
        return ""


def heredoc_words(text: str, *, has_spaced: bool) -> Iterator[tuple[str, bool, bool, bool]]:
    """The here-documents that a statement announces: name, whether variables are put in, whether leading tabs go, whether it is sure.

    With `has_spaced`, `<< NAME` is one as well, but never for sure: it may be a shift in `$((1 << 2))`.
    """
    try:
        words = raw_words(text)
    except InvalidArgument:
        return  # an open quote, say: the shell may think otherwise
    for word, following in zip(words, (*words[1:], ""), strict=True):
        if found := heredoc_word(word):
            yield *found, True
        elif has_spaced and following and _SPACED.fullmatch(word) and (found := heredoc_word(f"{word} {following}")):
            yield *found, False


def heredoc_word(word: str) -> tuple[str, bool, bool] | None:
    """`<<NAME`, `<<-NAME`, `<<'NAME'`, `3<<NAME`."""
    match = _HEREDOC.fullmatch(word)
    if not match:
        return None
    try:
        names = expand_words(match[3], _Unset())
    except InvalidArgument:
        return None
    if len(names) != 1:
        return None
    is_quoted = any(match[3].count(quote) != names[0].count(quote) for quote in "'\"")
    return names[0], not is_quoted, bool(match[2])


class _Unset(dict[str, str]):
    """Variables in a here-document's name are not put in."""

    def get(self, name: str, default: str | None = None) -> str:  # type: ignore[override]
        return f"${name}"
