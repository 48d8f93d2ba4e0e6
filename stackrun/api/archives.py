"""Files of a container as the contract tells of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathStat:
    """What is at a path in a container; `mode` is st_mode of stat(2), `modified` RFC 3339 with nanoseconds.

    `link_target`: where a symbolic link leads in the end, as an absolute path in the container; empty for anything else.
    """

    name: str
    size_bytes: int
    mode: int
    modified: str
    link_target: str = ""
