"""The unit that systemd gets."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stackrun.cli.systemd import unit


def test_it_starts_this_very_program_and_leaves_containers_alone() -> None:
    text = unit("/srv/my state", user=False)
    assert "/stackrun --root '/srv/my state' daemon\n" in text
    assert "\nKillMode=process\n" in text and "\nType=notify\n" in text and text.endswith("WantedBy=multi-user.target\n")
    assert unit("/home/me/state", user=True).endswith("WantedBy=default.target\n")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("user", [False, True])
def test_systemd_understands_it(tmp_path: Path, user: bool) -> None:
    file = tmp_path / "stackrun.service"
    file.write_text(unit("/srv/100% state", user=user))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(["--user"] if user else []), str(file)], capture_output=True, text=True, check=False
    )
    told = [line for line in (done.stdout + done.stderr).splitlines() if "stackrun.service" in line]
    assert not told
