"""A set-user-id program planted in a volume: an ordinary user with no-new-privileges stays who they are."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prison import Prison


@pytest.fixture
def trap() -> Iterator[Path]:
    """A set-user-id copy of id(1), which tells of the effective user; not in /tmp, which may be nosuid."""
    folder = Path(tempfile.mkdtemp(dir="/root"))
    os.chmod(folder, 0o755)
    shutil.copy("/usr/bin/id", folder / "id")
    os.chmod(folder / "id", 0o4755)
    yield folder
    shutil.rmtree(folder)


def effective(prison: Prison, trap: Path, *options: str) -> str:
    script = "import subprocess; print(subprocess.run(['/trap/id', '-u'], capture_output=True, text=True).stdout)"
    return prison.run(script, "-v", f"{trap}:/trap", "--user", "1000", *options).strip()


def test_no_new_privileges_holds(prison: Prison, trap: Path) -> None:
    assert effective(prison, trap, "--security-opt", "no-new-privileges") == "1000"


def test_the_attempt_works_without(prison: Prison, trap: Path) -> None:
    assert effective(prison, trap) == "0"
