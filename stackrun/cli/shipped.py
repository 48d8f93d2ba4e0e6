"""Files that come with the package."""

from __future__ import annotations

from pathlib import Path

SCHEMA = Path(__file__).parent.parent / "schemas" / "stack.schema.json"


def schema_text() -> str:
    """The JSON Schema of stack files, as it is in the package."""
    return SCHEMA.read_text(encoding="utf-8")
