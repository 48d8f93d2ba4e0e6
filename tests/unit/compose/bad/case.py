"""A stack file with one fault, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Case(NamedTuple):
    """`line` and `column` are of the finding with `code`; `path` when it is not in the stack file itself."""

    code: str
    line: int
    column: int
    text: str
    files: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    path: str = "stack.yaml"
