"""A stage for scenes of whole stacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.stack.stage import Play, player


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return player(tmp_path)
