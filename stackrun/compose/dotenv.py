"""Env files, as compose-go reads them: `.env`, `--env-file`, and a service's `env_file`.

NAME=value            unquoted: to the end of the line, ` #` starts a comment, variables are replaced
NAME="v"  NAME='v'    quoted: may span lines; in double quotes \\n \\r \\t \\" \\\\ and variables count
export NAME=value     `export` is skipped        NAME: value   a colon is as good as an equals sign
NAME                  alone: taken from the caller's environment when it is there
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property

from stackrun.compose.faults import Faults
from stackrun.compose.template import Lookup, TemplateError, substitute
from stackrun.compose.tree import Place

MAX_CHARACTERS = 20_000_000
"""Of all values of one file, once variables are replaced."""
_SPACE = " \t\v\f\r\x85\xa0"
_KEY = re.compile(r"[^=:\n]*")
_QUOTED = {quote: re.compile(rf"{quote}(?:[^{quote}\\]|\\.)*+{quote}", re.DOTALL) for quote in "'\""}
_ESCAPE = re.compile(r"\\([abcfnrtv$\"\\])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "c": "\\c", "$": "$$"}


def parse_env(
    text: str,
    path: str,
    faults: Faults,
    *,
    lookup: Lookup | None = None,
    known: Mapping[str, str] | None = None,
    places: dict[str, Place] | None = None,
) -> dict[str, str]:
    """Names and values of an env file.

    `lookup` answers for the caller's environment (it wins inside `${…}` and fills bare names); `known` are names of
    earlier env files; `places` takes the line of each name.  What cannot be read is a fault at its line, and the rest is read on.
    """
    reader = _Reader(text, path, faults, lookup or (lambda name: None), known or {})
    values = reader.read()
    if places is not None:
        places.update((name, reader.place(at)) for name, at in reader.starts.items())
    return values


def parse_raw(text: str, path: str, faults: Faults, lookup: Lookup) -> dict[str, str]:
    """`format: raw`: NAME=VALUE lines, nothing quoted or replaced; a bare NAME is the caller's."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        name, separator, value = line.lstrip().removesuffix("\r").partition("=")
        if not (name or separator) or name.startswith("#"):
            continue
        if not name:
            faults.error(Place(path, number, 1), "a line without a variable's name", hint="write NAME=VALUE", code="env-file")
        elif re.search(r"\s", name):
            faults.error(Place(path, number, 1), f"a space in the variable's name {name!r}", code="env-file")
        elif separator:
            values[name] = value
        elif (found := lookup(name)) is not None:
            values[name] = found
    return values


class _Reader:
    def __init__(self, text: str, path: str, faults: Faults, lookup: Lookup, known: Mapping[str, str]) -> None:
        self.text, self.path, self.faults = text.removeprefix("\ufeff"), path, faults
        self.outer, self.known = lookup, known
        self.values: dict[str, str] = {}
        self.starts: dict[str, int] = {}
        """Where each name that has a value stands."""
        self.position = 0
        self.characters_left = MAX_CHARACTERS

    def read(self) -> dict[str, str]:
        while self._skip_blank():
            self._statement()
        return self.values

    def _skip_blank(self) -> bool:
        """To the next statement; False at the end."""
        while self.position < len(self.text):
            if self.text[self.position].isspace():
                self.position += 1
            elif self.text[self.position] == "#":
                self.position = self._line_end()
            else:
                return True
        return False

    def _line_end(self) -> int:
        end = self.text.find("\n", self.position)
        return len(self.text) if end < 0 else end

    def _statement(self) -> None:
        start = self.position
        found = re.compile(r"export[ \t]+").match(self.text, start)
        start = found.end() if found else start
        key = _KEY.match(self.text, start)
        assert key is not None
        name = key[0].strip(_SPACE)
        wrong = re.search(r"[^\w.\-\[\]]", name)
        if wrong:
            self._fault(start + key[0].find(wrong[0]), f"unexpected {wrong[0]!r} in a variable's name")
            self.position = self._line_end()
        elif not name:
            self.faults.warning(self.place(start), "a line without a variable's name is skipped", code="env-file")
            self.position = self._line_end()
        elif self.text[key.end() : key.end() + 1] in ("", "\n"):
            self.position = key.end()
            value = self.outer(name)
            if value is not None:
                self.values[name], self.starts[name] = value, start
        else:
            self.position = key.end() + 1
            self._assign(name, start)

    def _assign(self, name: str, start: int) -> None:
        while self.text[self.position : self.position + 1] and self.text[self.position] in _SPACE:
            self.position += 1
        quote = self.text[self.position : self.position + 1]
        value = self._quoted(quote) if quote in ('"', "'") else self._unquoted()
        if value is not None:
            self.values[name], self.starts[name] = value, start

    def _unquoted(self) -> str | None:
        at, end = self.position, self._line_end()
        value = self.text[at:end]
        self.position = end
        return self._expanded(value.partition(" #")[0].rstrip(), at)

    def _quoted(self, quote: str) -> str | None:
        at = self.position
        closing = _QUOTED[quote].match(self.text, at)
        if not closing:
            self._fault(at, f"the quote {quote} is not closed")
            self.position = self._line_end()
            return None
        value = closing[0][1:-1]
        self.position = closing.end()
        if quote == "'":
            return value.replace("\\'", "'")
        return self._expanded(_ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), value), at)

    def _expanded(self, value: str, at: int) -> str | None:
        if "$" not in value:
            return value
        try:
            value = substitute(value, self._lookup)
            self.characters_left -= len(value)
            if self.characters_left < 0:
                self._fault(
                    at, f"the file's values have more than {MAX_CHARACTERS:,} characters", "does one contain others many times over?"
                )
                self.position = len(self.text)
            return value
        except TemplateError as error:
            self._fault(at, error.message, error.hint)
            return None

    def _lookup(self, name: str) -> str | None:
        value = self.outer(name)
        if value is not None:
            return value
        return self.values[name] if name in self.values else self.known.get(name)

    def _fault(self, position: int, message: str, hint: str = "") -> None:
        self.faults.error(self.place(position), message, hint=hint, code="env-file")

    def place(self, position: int) -> Place:
        line = bisect_left(self._breaks, position)
        return Place(self.path, line + 1, position - (self._breaks[line - 1] if line else -1))

    @cached_property
    def _breaks(self) -> list[int]:
        return [found.start() for found in re.finditer("\n", self.text)]
