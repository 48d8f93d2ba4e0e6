"""Directories nested deeper than a stack or a path (path_resolution(7)): removing them must not fail, nor stop the engine for good.

`shutil.rmtree` recurses: a container could once make itself unremovable, and the daemon, which sweeps leftovers first, unstartable.
"""

import os
import shutil
import tempfile

import pytest
from prison import Prison

SCRIPT = "\nfor _ in range(1200):\n    os.mkdir('d')\n    os.chdir('d')"


def test_the_attempt_works_on_what_recurses() -> None:
    top = tempfile.mkdtemp()
    here = os.getcwd()
    try:
        os.chdir(top)
        exec(SCRIPT)
    finally:
        os.chdir(here)
    with pytest.raises(RecursionError):
        shutil.rmtree(top)
    from stackrun.kernel import tree

    tree.remove(top)


def test_container_and_volume_are_removed_and_the_engine_starts_again(prison: Prison) -> None:
    machine = prison.machine
    volume = machine.docker("volume", "create").stdout.strip()
    before = os.listdir(machine.state / "containers")
    for where in ("/", "/volume"):
        prison.run(f"os.chdir('{where}')" + SCRIPT, "-v", f"{volume}:/volume", code=0)
    machine.docker("volume", "rm", volume)
    machine.run("daemon", "stop")
    machine.run("info")
    assert os.listdir(machine.state / "containers") == before and os.listdir(machine.state / "volumes") == []
