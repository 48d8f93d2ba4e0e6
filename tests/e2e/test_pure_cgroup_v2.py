"""Limits, an ordinary user's too, on pure cgroup v2, on another kernel: Debian's cloud kernel in qemu (`make vm`)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
from machine import REPOSITORY

TOOLS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs")
MISSING = [name for name in TOOLS if not shutil.which(name)]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}")
def test_limits_hold_on_pure_v2() -> None:
    command = [sys.executable, "tests/vm/run.py", "--timeout", "900"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = [int(number) for number in re.findall(r"(\d+) passed", done.stdout)]
    assert len(passed) == 2 and sum(passed) >= 110, done.stdout
