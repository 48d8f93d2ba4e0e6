"""Out of its own cgroup: by its files, by a cgroup namespace of its own, by the host's hierarchy seen through /proc and the mounts."""

from prison import Prison

SCRIPT = """
import glob
paths = glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True) + glob.glob("/sys/fs/cgroup/**/tasks", recursive=True)
print("files", len(paths))
def move(path):
    with open(path, "w") as file:
        file.write("0")
for path in paths:
    attempt("move", lambda: move(path))
for name in ("memory/memory.limit_in_bytes", "pids/pids.max", "memory.max", "pids.max", "devices/devices.allow", "unified/cgroup.freeze"):
    if os.path.exists("/sys/fs/cgroup/" + name):
        attempt("limit", lambda: open("/sys/fs/cgroup/" + name, "w").close())
print("above", sorted({line.split(":")[2] for line in open("/proc/self/cgroup").read().splitlines()}))
attempt("climb", lambda: os.listdir("/sys/fs/cgroup/memory/../../../../cgroup/memory/stackrun"))
report("unshare", 0x02000000)
"""


def test_neither_moved_nor_changed(prison: Prison) -> None:
    found = prison.lines(SCRIPT, "--memory", "64m", "--pids-limit", "50")
    assert int(found["files"]) > 0 and found["move"] == "EROFS" and found.get("limit", "EROFS") == "EROFS"
    assert found["above"] == "['/']", "it sees its own group as the root"
    assert found["climb"] == "ENOENT" and found["unshare"] == "EPERM"


def test_the_attempt_works_where_the_hierarchy_is_writable(prison: Prison) -> None:
    found = prison.lines(SCRIPT, "--privileged", "--cgroupns", "host")
    assert found["move"] == "ok" and found["above"] != "['/']"
