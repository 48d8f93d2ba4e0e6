"""Where a stack's definition is found: all that reading one needs to know.

Quick to import, as all that reads a stack file: no dataclasses, which take 10 ms to import and one more for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class StackSource(NamedTuple):
    """Where a stack's definition is found, as the command line was asked; paths are absolute or relative to `working_dir`."""

    working_dir: str
    files: tuple[str, ...] = ()
    """Empty: discover in `working_dir` and its parents."""
    project_name: str = ""
    project_directory: str = ""
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})
    """The caller's process environment (never the daemon's)."""
    stdin: str | None = None
    """What `-f -` reads."""
