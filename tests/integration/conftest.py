"""Every module here must leave the host as it found it."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def _clean_host(nothing_left_behind: None) -> None:
    pass
