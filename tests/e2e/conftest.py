"""A machine of its own for each scenario; the host must be as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machine import Machine, busybox_tar


@pytest.fixture(scope="module")
def machine(nothing_left_behind: None) -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()


@pytest.fixture(scope="module")
def busybox(machine: Machine) -> str:
    """The name of an image of one static busybox."""
    machine.run("import", str(busybox_tar(machine.root)), "busybox:test")
    return "busybox:test"
