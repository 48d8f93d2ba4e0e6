"""A Dockerfile's lines become statements: directives, comments, continuation lines and here-documents.

Source: https://docs.docker.com/reference/dockerfile/ (format, parser directives, here-documents), and BuildKit where that is silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile_words import json_words, split_statement, well_formed
from stackrun.image.instructions import Heredoc
from stackrun.image.substitution import expand_words, raw_words

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)")
_DIRECTIVES = ("check", "escape", "syntax")
_HEREDOC = re.compile(r"([0-9]*)<<(-?)\s*([^<]+)")
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
        if "<<" not in statement.text or not _may_have_heredocs(statement.text, self.escape):
            return statement
        found = []
        for name, expands, is_chomped in heredoc_words(statement.text):
            content = self._heredoc(name, is_chomped)
            if content is None:
                self._fault(statement.line, "unterminated heredoc", f"a line with {name} alone must end it")
                break
            found.append(Heredoc(name, content, expands))
        return replace(statement, heredocs=tuple(found))

    def _heredoc(self, name: str, is_chomped: bool) -> str | None:
        """The lines up to the one that is `name`, None when there is none."""
        found = []
        while self.next < len(self.lines):
            line = self.lines[self.next]
            self.next += 1
            if is_chomped:
                line = line.lstrip("\t")
            if line.rstrip("\r") == name:
                return "".join(found)
            found.append(line + "\n")
        return None


def _may_have_heredocs(text: str, escape: str) -> bool:
    keyword, _, rest = split_statement(text, escape)
    if keyword.upper() == "ONBUILD":
        keyword, _, rest = split_statement(rest, escape)
    try:
        return keyword.upper() in _WITH_HEREDOCS and json_words(rest) is None
    except InvalidArgument:
        return False


def heredoc_words(text: str) -> list[tuple[str, bool, bool]]:
    """The here-documents that a statement announces: name, whether variables are put in, whether leading tabs go."""
    try:
        return [found for word in raw_words(text) if (found := heredoc_word(word))]
    except InvalidArgument:
        return []  # an open quote, say: the shell may think otherwise


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
    is_quoted = any(quote in match[3] for quote in "'\"")
    return names[0], not is_quoted, bool(match[2])


class _Unset(dict[str, str]):
    """Variables in a here-document's name are not put in."""

    def get(self, name: str, default: str | None = None) -> str:  # type: ignore[override]
        return f"${name}"
