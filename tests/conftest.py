"""Fixtures for every kind of test."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import host_state, settled


@pytest.fixture(scope="module")
def nothing_left_behind() -> Iterator[None]:
    """Fails the module whose tests leave a mount, link, namespace, cgroup, firewall rule or process of ours behind."""
    before = host_state()
    yield
    left = settled(before)
    assert not left, "left behind:\n" + "\n".join(left)


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A directory with a short path: a unix socket's is limited to 107 bytes (unix(7))."""
    path = Path(tempfile.mkdtemp(prefix="srt-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root say so in one place: their folder."""
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: it makes namespaces, mounts and cgroups")
    for item in items:
        if any(part in item.path.parts for part in ("integration", "e2e", "attack")):
            item.add_marker(skip)


def pytest_configure() -> None:
    """Whoever runs us in the background ignores SIGINT (POSIX, 2.11 of the shell), and so would every program that we start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
