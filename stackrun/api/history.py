"""How an image came to be, as its configuration tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step.  `id` is the image's own for the last one, else empty: intermediate images are not kept.  `size_bytes` of its layer."""

    created: str = ""
    created_by: str = ""
    comment: str = ""
    size_bytes: int = 0
    id: str = ""
    tags: tuple[str, ...] = ()
