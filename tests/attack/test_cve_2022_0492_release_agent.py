"""CVE-2022-0492: writing a cgroup v1 release_agent runs a program of the attacker's on the host.

It needs a writable cgroup mount: ours is read-only, and making another needs unshare and mount.
"""

from prison import Prison

SCRIPT = """
import glob
for path in glob.glob("/sys/fs/cgroup/*/release_agent") + glob.glob("/sys/fs/cgroup/*/cgroup.procs") + ["/sys/fs/cgroup/cgroup.procs"]:
    if os.path.exists(path):
        attempt("write", lambda: os.close(os.open(path, os.O_WRONLY)))
attempt("mkdir", lambda: os.mkdir(next(iter(glob.glob("/sys/fs/cgroup/*/")), "/sys/fs/cgroup/") + "x"))
report("mount", b"cgroup", b"/tmp", b"cgroup", 0, b"memory")
"""


def test_cgroup_files_cannot_be_written_nor_mounted_anew(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert found["write"] == "EROFS" and found["mkdir"] == "EROFS" and found["mount"] == "EPERM"
