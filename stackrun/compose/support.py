"""Keys that are valid Compose but that this engine cannot honour: refused, or named as having no effect. Never silence."""

from __future__ import annotations

from stackrun.compose.faults import Faults
from stackrun.compose.tree import Map


def check_support(root: Map, faults: Faults) -> None:
    """Filled in by the next step."""
