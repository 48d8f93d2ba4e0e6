"""`.dockerignore` patterns: which paths below a folder they leave out.

As Docker reads them (docs.docker.com, "build context", .dockerignore files): `*` and `?` within a name, `**` over any number of folders,
`[…]` sets, `\\` escapes; what lies below a match is left out, too; a pattern that begins with `!` takes back what an earlier one left out,
and the last one that fits decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache

from stackrun.errors import InvalidArgument

_REPEATED = re.compile(r"(?:\*\*/)+")
BYTE_ORDER_MARK = "\ufeff"


def parsed(text: str) -> tuple[str, ...]:
    """The patterns of a file, without comments and empty lines."""
    lines = (line.strip() for line in text.removeprefix(BYTE_ORDER_MARK).splitlines() if not line.startswith("#"))
    return tuple(line for line in lines if line)


class Ignore:
    """`patterns` in their order; paths are relative to the folder they are for, with slashes."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.texts = tuple(one for one in patterns if one.strip("!/ "))
        self._patterns = tuple((not one.startswith("!"), _compiled(_cleaned(one.removeprefix("!")))) for one in self.texts)
        self._takes_back = not all(leaves_out for leaves_out, _ in self._patterns)
        self._any: re.Pattern[str] | None = None

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignore) and other.texts == self.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def matches(self, path: str) -> bool:
        """Whether `path` is left out, by itself or because a folder it is in is."""
        if not self._takes_back:
            return bool(self._patterns) and self._at_once().fullmatch(path) is not None
        prefixes = _prefixes(path)
        found = False
        for leaves_out, pattern in self._patterns:
            if leaves_out != found and any(pattern.fullmatch(one) for one in prefixes):
                found = leaves_out
        return found

    def _at_once(self) -> re.Pattern[str]:
        """All patterns as one, where none takes anything back: it matters for folders of thousands of files."""
        if self._any is None:
            self._any = re.compile(f"(?:{'|'.join(pattern.pattern for _, pattern in self._patterns)})(?:/.*)?", re.DOTALL)
        return self._any

    def closes(self, folder: str) -> bool:
        """Whether nothing below `folder` can count, so that there is no need to look."""
        return not self._takes_back and self.matches(folder)


def _cleaned(pattern: str) -> str:
    """Repetitions say nothing more, and take a time that multiplies."""
    return _REPEATED.sub("**/", re.sub(r"\*{3,}", "**", posixpath.normpath(pattern.strip()).lstrip("/")))


def _prefixes(path: str) -> list[str]:
    """`a/b/c` → a, a/b, a/b/c."""
    ends = [index for index, character in enumerate(path) if character == "/"]
    return [path[:end] for end in ends] + [path]


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """InvalidArgument for what is no pattern."""
    parts, at = [], 0
    while at < len(pattern):
        part, at = _translated(pattern, at)
        parts.append(part)
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise InvalidArgument(f"invalid pattern {pattern!r}: {error}") from None


def _translated(pattern: str, at: int) -> tuple[str, int]:
    """The regular expression of what begins at `at`, and where the next begins."""
    character = pattern[at]
    if pattern.startswith("**", at):
        if pattern.startswith("**/", at):
            return "(?:.*/)?", at + 3
        return ".*", at + 2
    if character == "*":
        return "[^/]*", at + 1
    if character == "?":
        return "[^/]", at + 1
    if character == "[" and (end := pattern.find("]", at + 2)) > 0:
        inside = pattern[at + 1 : end].replace("[", "\\[").replace("&&", "&\\&").replace("||", "|\\|").replace("~~", "~\\~")
        return f"[{inside}]", end + 1
    if character == "\\" and at + 1 < len(pattern):
        return re.escape(pattern[at + 1]), at + 2
    return re.escape(character), at + 1
