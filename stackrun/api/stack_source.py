"""Where a stack's definition is found: all that reading one needs to know, and quick to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StackSource:
    """Where a stack's definition is found, as the command line was asked; paths are absolute or relative to `working_dir`."""

    working_dir: str
    files: tuple[str, ...] = ()
    """Empty: discover in `working_dir` and its parents."""
    project_name: str = ""
    project_directory: str = ""
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's process environment (never the daemon's)."""
    stdin: str | None = None
    """What `-f -` reads."""
