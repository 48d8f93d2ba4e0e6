"""What a plan shows of values that may be secret: nothing.

Certain are the contents of secrets.  A variable, an option or a URL only looks like one; then it is better hidden once too often,
since plans go to logs and reviews.  That a hidden value changes is still shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "(hidden)"
_LENGTH_MIN = 6
"""Shorter secrets would hide parts of ordinary words."""
_WORD = r"pass(?:w(?:or)?d|phrase)?|pwd|secret|token|credentials?|private_?key|api_?key|access_?key|encryption_?key|auth|dsn"
_NAME = re.compile(rf"(?:^|[._-])(?:\w*?(?:{_WORD})s?|key)(?:$|[._-])", re.IGNORECASE)
_OPTION = re.compile(rf"((?:^|[\s'\"])-{{0,2}}[\w.-]*?(?:{_WORD})[\w.-]*(?:\s*[=:]\s*|\s+))([^\s'\"]+)", re.IGNORECASE)
_USER_AND_PASSWORD = re.compile(r"(\w[\w+.-]*://[^/\s:@]*:)[^@/\s]+@")


class Secrecy:
    """`secrets`: what the stack's secrets hold."""

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        texts = (one.decode(errors="replace").strip() for one in secrets)
        self._known = tuple(sorted({text for text in texts if len(text) >= _LENGTH_MIN}, key=len, reverse=True))

    def shown(self, field: str, text: str | None) -> str | None:
        """`field` as in `environment.DB_PASSWORD`."""
        if not text:
            return text
        section, _, name = field.partition(".")
        if section in ("environment", "labels", "annotations") and is_secret_name(name):
            return HIDDEN
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        text = _USER_AND_PASSWORD.sub(rf"\1{HIDDEN}@", text)
        return _OPTION.sub(rf"\1{HIDDEN}", text) if section in _COMMANDS else text


_COMMANDS = frozenset({"command", "entrypoint", "healthcheck"})


def is_secret_name(name: str) -> bool:
    """`DB_PASSWORD`, `API_KEY`, `GITHUB_TOKEN`; not `KEYBOARD`, `AUTHOR` or `PASSENGERS`, nor `DB_PASSWORD_FILE`, which names a path."""
    return bool(_NAME.search(name)) and not name.upper().endswith(("_FILE", "_PATH", "_DIR"))
