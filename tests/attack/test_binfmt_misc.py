"""binfmt_misc: an interpreter registered for a kind of file would be run by whoever on the host executes one."""

from pathlib import Path

import pytest
from prison import Prison

pytestmark = pytest.mark.skipif("binfmt_misc" not in Path("/proc/filesystems").read_text(), reason="this kernel has no binfmt_misc")
SCRIPT = """
attempt("register", lambda: open("/proc/sys/fs/binfmt_misc/register", "wb", buffering=0).write(b":attack:E::attack::/tmp/x:F"))
attempt("make", lambda: os.mkdir("/proc/sys/fs/binfmt_misc/x"))
os.makedirs("/tmp/m")
report("mount", b"none", b"/tmp/m", b"binfmt_misc", 0, None)
attempt("register-elsewhere", lambda: os.close(os.open("/tmp/m/register", os.O_WRONLY)))
"""


def test_nothing_can_be_registered(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert found["register"] in ("ENOENT", "EROFS", "EACCES") and found["make"] in ("EROFS", "EACCES", "EPERM", "ENOENT")
    assert (found["mount"], found["register-elsewhere"]) == ("EPERM", "ENOENT")


def test_the_attempt_works_with_the_right_to_mount(prison: Prison) -> None:
    found = prison.lines(SCRIPT, "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    assert (found["mount"], found["register-elsewhere"]) == ("ok", "ok")  # opened, and nothing is written
