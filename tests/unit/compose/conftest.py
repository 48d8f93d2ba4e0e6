"""A directory for the files of one stack."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.compose.stack_files import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    directory = tmp_path / "shop"
    directory.mkdir()
    return Stack(directory)
