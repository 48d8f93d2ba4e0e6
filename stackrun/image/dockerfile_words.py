"""The parts of one statement of a Dockerfile: keyword, flags, words, JSON and NAME=value.

Quotes and variables stay in the words: what they mean is found out where the words are used (`substitution`).
"""

from __future__ import annotations

import json
import re
from functools import cache

from stackrun.errors import InvalidArgument

_SPACES = re.compile(r"[\t\v\f\r ]+")


def well_formed(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can express and no file name or process can take."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def split_statement(text: str, escape: str) -> tuple[str, list[str], str]:
    """Keyword, flags (`--from=x`) and the rest."""
    parts = _SPACES.split(text.strip(), maxsplit=1)
    if len(parts) == 1:
        return parts[0], [], ""
    flags, rest = _split_flags(parts[1], escape)
    return parts[0], flags, rest.strip()


def _split_flags(text: str, escape: str) -> tuple[list[str], str]:
    """The words at the beginning that start with `--`, without quotes; `--` alone ends them."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith("--", position):
            return flags, text[position:]
        word, position = _flag(text, position, escape)
        if word == "--":
            return flags, text[position:]
        flags.append(word)


def _flag(text: str, position: int, escape: str) -> tuple[str, int]:
    """The word at `position` with quotes and escapes taken away, and where it ends."""
    found: list[str] = []
    quote = ""
    while position < len(text):
        character = text[position]
        if not quote and character.isspace():
            break
        if character == escape:
            position += 1
            found.append(text[position : position + 1])
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            found.append(character)
        position += 1
    return "".join(found), position


def plain_words(text: str) -> list[str]:
    """Words between spaces; quotes mean nothing here."""
    return _SPACES.split(text) if text else []


def quoted_words(text: str, escape: str) -> list[str]:
    """Words between spaces that are neither quoted nor escaped; an escape at the very end is dropped."""
    return [match[0] for match in _quoted(escape).finditer(text)]


@cache
def _quoted(escape: str) -> re.Pattern[str]:
    """A word: plain characters, escaped ones and quotes; an open quote goes to the end."""
    token = re.escape(escape)
    double = rf'"(?:[^"{token}]|{token}.)*(?:"|{token}?\Z)'
    return re.compile(rf"""(?:[^\s'"{token}]|{token}.|'[^']*(?:'|\Z)|{double})+""", re.DOTALL)


def pairs(keyword: str, text: str, escape: str) -> tuple[tuple[str, str], ...]:
    """`a=1 b="2 3"`, or the old form `a 1 2`; InvalidArgument for anything else."""
    words = quoted_words(text, escape)
    if not words:
        raise InvalidArgument(f"{keyword} requires at least one argument", hint=f"{keyword} NAME=value")
    if "=" not in words[0]:
        parts = _SPACES.split(text, maxsplit=1)
        if len(parts) < 2:
            raise InvalidArgument(f"{keyword} must have two arguments", hint=f"{keyword} {parts[0]}=value")
        return ((parts[0], parts[1]),)
    found = []
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            message = f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value'
            raise InvalidArgument(message, hint="quote a value that has spaces")
        if not name:
            raise InvalidArgument(f"{keyword} names can not be blank", hint=f"{keyword} NAME=value")
        found.append((name, value))
    return tuple(found)


def json_words(text: str) -> tuple[str, ...] | None:
    """The exec form, a JSON list of strings; None for anything that is no JSON list, as it is the shell form then."""
    if not text.startswith("["):
        return None
    try:
        parsed = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, list):
        return None
    if not all(isinstance(word, str) for word in parsed):
        message = "when using JSON array syntax, arrays must be comprised of strings only"
        raise InvalidArgument(message, hint='write every word in double quotes: ["a", "1"]')
    return tuple(well_formed(word) for word in parsed)


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
