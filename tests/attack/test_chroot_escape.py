"""The classic way out of chroot(2): keep a descriptor, chroot again below it, climb.  pivot_root(2) leaves nothing to climb to."""

import os
from pathlib import Path

from prison import Prison

CLIMB = """
here = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
os.makedirs("/tmp/below", exist_ok=True)
os.chroot("/tmp/below")
os.fchdir(here)
for _ in range(64):
    os.chdir("..")
os.chroot(".")
"""


def test_it_ends_at_the_containers_root(prison: Prison, host_secret: Path) -> None:
    found = prison.run(CLIMB + f"print('reached', os.path.exists('{host_secret}'), os.path.exists('/.dockerenv') or os.listdir('/') != [])")
    assert "reached False True" in found, "CAP_SYS_CHROOT is there, and leads to the root it came from"


def test_the_attempt_works_on_a_mere_chroot(host_secret: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    child = os.fork()
    if child == 0:
        os.chroot(tmp_path)
        exec(CLIMB, {"os": os})
        os._exit(0 if host_secret.exists() else 1)
    assert os.waitpid(child, 0)[1] == 0
