"""Capabilities of a file, in an image or a volume: execve(2) grants no more of them than the bounding set holds (capabilities(7))."""

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prison import Prison

ALL = (1 << 41) - 1
SYS_ADMIN, NET_RAW = 21, 13


@pytest.fixture
def program() -> Iterator[Path]:
    """A copy of cat(1) that may have each and every capability; not in /tmp, which may be nosuid."""
    folder = Path(tempfile.mkdtemp(dir="/root"))
    folder.chmod(0o755)
    path = folder / "cat"
    shutil.copy("/usr/bin/cat", path)
    # Permitted, without the bit that would make execve fail where not all of them can be had
    os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000000, ALL & 0xFFFFFFFF, 0, ALL >> 32, 0))
    yield path
    shutil.rmtree(folder)


def permitted(prison: Prison, program: Path, *options: str) -> int:
    script = "import subprocess; print(subprocess.run(['/evil/cat', '/proc/self/status'], capture_output=True, text=True).stdout)"
    text = prison.run(script, "-v", f"{program.parent}:/evil", "--user", "1000", *options)
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("CapPrm")), 16)


def test_no_more_than_the_bounding_set(prison: Prison, program: Path) -> None:
    found = permitted(prison, program)
    assert not found >> SYS_ADMIN & 1
    assert found >> NET_RAW & 1, "the attempt works for what the container may have anyway"


def test_none_without_new_privileges(prison: Prison, program: Path) -> None:
    assert permitted(prison, program, "--security-opt", "no-new-privileges") == 0
    assert permitted(prison, program, "--cap-drop", "ALL") == 0
