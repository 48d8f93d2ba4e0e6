"""Containers that come and go leave no descriptor, thread, memory, mount, link, cgroup or file behind: `make leaks`, but short."""

from __future__ import annotations

import subprocess
import sys

from machine import REPOSITORY


def test_some_containers_at_once_some_times_over() -> None:
    command = [sys.executable, "tests/bench/leaks.py", "--containers", "20", "--rounds", "3"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
