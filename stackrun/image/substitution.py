"""Variables, quotes and escapes in a Dockerfile's words: `$NAME`, `${NAME:-word}` and what else its reference lists.

The rules are BuildKit's (https://docs.docker.com/reference/dockerfile/#environment-replacement), not a shell's: outside quotes the
escape character stands for what follows it, inside double quotes for `"`, `$` and itself only, and words are split after variables
were put in.  One pass, linear in the text; nesting and the length of the result are bounded, as a Dockerfile is a stranger's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from stackrun.errors import InvalidArgument

DEEPEST = 100
"""So many `${` inside each other."""
LONGEST = 4 << 20
"""Characters of a result: each `ENV A=$A$A` doubles a value."""

_NAME = re.compile(r"[0-9]+|[@*#?\-$!]|[^\W\d]\w*")
_SHOWN = 80


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """The text with variables put in, quotes and escapes taken away; a variable that is not set is empty.

    InvalidArgument for an open quote or brace, an unknown `${…}`, and `${NAME:?message}` of a variable that is not set.
    """
    return "".join(piece for piece, _ in _Reader(text, variables, escape).pieces())


def expand_words(text: str, variables: Mapping[str, str], escape: str = "\\") -> tuple[str, ...]:
    """Like `expand`, split at spaces that are not quoted, those of variables' values too; no word is empty."""
    return _split(_Reader(text, variables, escape).pieces())


def expand_document(text: str, variables: Mapping[str, str]) -> str:
    """A here-document of COPY with variables put in: quotes are its own, a backslash stands for what follows it."""
    return "".join(piece for piece, _ in _Reader(text, variables, "\\", quotes="").pieces())


def raw_words(text: str, escape: str = "\\") -> tuple[str, ...]:
    """The words as they are written, with their quotes, escapes and variables; InvalidArgument as `expand`."""
    return _split(_Reader(text, {}, escape, raw=True).pieces())


def _split(pieces: list[tuple[str, bool]]) -> tuple[str, ...]:
    """Words of (text, whether its spaces are its own)."""
    words: list[str] = []
    current: list[str] = []

    def finish() -> None:
        if word := "".join(current):
            words.append(word)
        current.clear()

    for piece, is_whole in pieces:
        if is_whole or not piece:
            current.append(piece)
            continue
        if piece[0].isspace():
            finish()
        for index, word in enumerate(piece.split()):
            if index:
                finish()
            current.append(word)
        if piece[-1].isspace():
            finish()
    finish()
    return tuple(words)


@cache
def _plain(special: str) -> re.Pattern[str]:
    return re.compile(f"[^${re.escape(special)}]+")


class _Reader:
    """Reads a text once; `raw` keeps quotes, escapes and variables as they are written; `quotes` are the characters that quote."""

    def __init__(self, text: str, variables: Mapping[str, str], escape: str, *, raw: bool = False, quotes: str = "'\"") -> None:
        self.text = text
        self.variables = variables
        self.escape = escape
        self.raw = raw
        self.quotes = quotes
        self.position = 0
        self.depth = 0
        self.length = 0

    def pieces(self) -> list[tuple[str, bool]]:
        return self._until("", self.raw)

    def _fault(self, message: str, hint: str = "") -> InvalidArgument:
        shown = self.text if len(self.text) <= _SHOWN else self.text[:_SHOWN] + "…"
        return InvalidArgument(f'failed to process "{shown}": {message}', hint=hint)

    def _until(self, stop: str, raw_escapes: bool) -> list[tuple[str, bool]]:
        """Pieces up to the character `stop`, which is read, too; "" is the end."""
        found: list[tuple[str, bool]] = []
        plain = _plain(self.quotes + self.escape + stop)
        while self.position < len(self.text):
            character = self.text[self.position]
            if character == stop:
                self.position += 1
                return found
            if match := plain.match(self.text, self.position):
                self.position = match.end()
                found.append((match[0], False))
            elif character == "$":
                found.append((self._variable(), False))
            elif character == self.escape:
                escaped = self.text[self.position + 1 : self.position + 2]
                self.position += 2
                found.append(((character if raw_escapes else "") + escaped, True))
            else:
                found.append((self._single_quoted() if character == "'" else self._double_quoted(raw_escapes), True))
            self.length += len(found[-1][0])
            if self.length > LONGEST:
                raise self._fault("the result is too long", f"{LONGEST >> 20} MiB are the most")
        if stop:
            wanted = "}" if stop == "}" else "/"
            raise self._fault(f"syntax error: missing '{wanted}'", "close the ${…}, or write \\$ for a dollar sign")
        return found

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            self.position = len(self.text)
            raise self._fault("unexpected end of statement while looking for matching single-quote", "close the quote, or escape it")
        begin, self.position = self.position, end + 1
        return self.text[begin : end + 1] if self.raw else self.text[begin + 1 : end]

    def _double_quoted(self, raw_escapes: bool) -> str:
        self.position += 1
        found = ['"'] if self.raw else []
        plain = _plain('"' + self.escape)
        while self.position < len(self.text):
            character = self.text[self.position]
            if character == '"':
                self.position += 1
                return "".join([*found, '"'] if self.raw else found)
            if match := plain.match(self.text, self.position):
                self.position = match.end()
                found.append(match[0])
            else:
                found.append(self._variable() if character == "$" else self._escaped_in_quotes(raw_escapes))
            self.length += len(found[-1])
        raise self._fault("unexpected end of statement while looking for matching double-quote", "close the quote, or escape it")

    def _escaped_in_quotes(self, raw_escapes: bool) -> str:
        following = self.text[self.position + 1 : self.position + 2]
        if following in ('"', "$", self.escape):
            self.position += 2
            return (self.escape if raw_escapes else "") + following
        self.position += 1
        return self.escape if following or raw_escapes else ""

    def _name(self) -> str:
        match = _NAME.match(self.text, self.position)
        if not match:
            return ""
        self.position = match.end()
        return match[0]

    def _variable(self) -> str:
        begin = self.position
        self.position += 1
        if not self.text.startswith("{", self.position):
            name = self._name()
            if not name:
                return "$"
            return self.variables.get(name, self.text[begin : self.position] if self.raw else "")
        self.position += 1
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._fault(f"more than {DEEPEST} substitutions inside each other")
        value = self._braced()
        self.depth -= 1
        return self.text[begin : self.position] if self.raw else value

    def _braced(self) -> str:
        if self.text[self.position : self.position + 1] in ("{", "}", ":"):
            raise self._fault("syntax error: bad substitution", "write ${NAME}, or \\$ for a dollar sign")
        name = self._name()
        operator = self.text[self.position : self.position + 1]
        if not operator:
            raise self._fault("syntax error: missing '}'", "close the ${…}, or write \\$ for a dollar sign")
        self.position += 1
        value = self.variables.get(name)
        if operator == "}":
            return value or ""
        if operator == "/":
            return self._replaced(value or "")
        if operator in ("#", "%"):
            is_longest = self.text.startswith(operator, self.position)
            self.position += is_longest
            pattern = _pattern(self._word("}", raw_escapes=True), self)
            without = _without_prefix if operator == "#" else _without_suffix
            return without(pattern, value or "", is_longest)
        if operator == ":":
            operator += self.text[self.position : self.position + 1]
            self.position += 1
            value = value or None
        if operator not in ("-", "+", "?", ":-", ":+", ":?"):
            raise self._fault(f"unsupported modifier ({operator}) in substitution", "there are - + ? :- :+ :? # ## % %% / and //")
        return self._chosen(name, operator, value)

    def _word(self, stop: str, *, raw_escapes: bool = False) -> str:
        return "".join(piece for piece, _ in self._until(stop, raw_escapes or self.raw))

    def _chosen(self, name: str, operator: str, value: str | None) -> str:
        """`${NAME-word}`, `${NAME+word}`, `${NAME?message}`; a None value takes the word."""
        word = self._word("}")
        if operator.endswith("+"):
            return word if value is not None else ""
        if operator.endswith("-"):
            return word if value is None else value
        if value is None and not self.raw:
            reason = "is not allowed to be unset" if operator == "?" or name not in self.variables else "is not allowed to be empty"
            raise InvalidArgument(f"{name}: {word or reason}", hint=f"give it a value: ARG {name}=…, or --build-arg {name}=…")
        return value or ""

    def _replaced(self, value: str) -> str:
        is_all = self.text.startswith("/", self.position)
        self.position += is_all
        pattern = _pattern(self._word("/", raw_escapes=True), self)
        replacement = self._word("}", raw_escapes=True)
        return _replace(pattern, value, replacement, is_all)


class _Segment:
    """What a pattern has between two `*`: characters, and None for any one."""

    def __init__(self, characters: list[str | None]) -> None:
        self.characters = characters
        self.literal = "".join(one for one in characters if one is not None)
        self.is_literal = None not in characters

    def _compiled(self, *, is_backward: bool) -> re.Pattern[str]:
        characters = self.characters[::-1] if is_backward else self.characters
        return re.compile("".join("." if one is None else re.escape(one) for one in characters), re.DOTALL)

    def at(self, value: str, start: int) -> int:
        """The end when it stands at `start`, else -1."""
        if self.is_literal:
            return start + len(self.literal) if value.startswith(self.literal, start) else -1
        match = self._compiled(is_backward=False).match(value, start)
        return match.end() if match else -1

    def first(self, value: str, start: int) -> int:
        if self.is_literal:
            return value.find(self.literal, start)
        match = self._compiled(is_backward=False).search(value, start)
        return match.start() if match else -1

    def last(self, value: str, start: int) -> int:
        if self.is_literal:
            return value.rfind(self.literal, start)
        match = self._compiled(is_backward=True).search(value[start:][::-1])
        return len(value) - match.end() if match else -1

    def reversed(self) -> _Segment:
        return _Segment(self.characters[::-1])


def _pattern(text: str, reader: _Reader) -> list[_Segment]:
    """The segments between the `*` of a pattern; a backslash makes `*`, `?` and itself ordinary."""
    segments: list[list[str | None]] = [[]]
    characters = iter(text)
    for character in characters:
        if character == "*":
            segments.append([])
        elif character == "?":
            segments[-1].append(None)
        elif character == "\\":
            escaped = next(characters, "")
            if escaped not in tuple("*?\\}/") and not reader.raw:
                raise reader._fault(f"invalid pattern ({text}) in substitution: invalid escape '\\{escaped}'", "write \\\\ for a backslash")
            segments[-1].append(escaped)
        else:
            segments[-1].append(character)
    return [_Segment(one) for one in segments]


def _end(segments: list[_Segment], value: str, position: int, is_longest: bool) -> int:
    """Where the rest of a pattern ends whose beginning ended at `position`, -1 when it does not match.

    The leftmost place for each segment leaves the most for the next one, so no other needs a try.
    """
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        found = segment.last(value, position) if is_last and is_longest else segment.first(value, position)
        if found < 0:
            return -1
        position = found + len(segment.characters)
    return position


def _without_prefix(segments: list[_Segment], value: str, is_longest: bool) -> str:
    end = segments[0].at(value, 0)
    end = _end(segments[1:], value, end, is_longest) if end >= 0 else -1
    return value[end:] if end >= 0 else value


def _without_suffix(segments: list[_Segment], value: str, is_longest: bool) -> str:
    return _without_prefix([one.reversed() for one in segments[::-1]], value[::-1], is_longest)[::-1]


def _replace(segments: list[_Segment], value: str, replacement: str, is_all: bool) -> str:
    if len(segments) == 1 and not segments[0].characters:
        return value
    found: list[str] = []
    position = 0
    while True:
        start = segments[0].first(value, position)
        end = _end(segments[1:], value, start + len(segments[0].characters), True) if start >= 0 else -1
        if end < 0:
            break
        found += [value[position:start], replacement]
        position = end
        if not is_all or position >= len(value):
            break
    return "".join([*found, value[position:]])
