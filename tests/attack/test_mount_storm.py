"""CAP_SYS_ADMIN and mounts without end: they are bounded for each mount namespace, none comes to the host, and the engine goes on."""

from pathlib import Path

from prison import PRELUDE, Prison

SCRIPT = """
os.mkdir("/tmp/a")
os.mkdir("/tmp/b")
libc.mount(b"none", b"/tmp/a", b"tmpfs", 0, None)
while libc.mount(b"/tmp", b"/tmp/b", None, 4096 | 16384, None) >= 0:
    pass  # twice as many each time
print("mount", errno.errorcode[ctypes.get_errno()], flush=True)
print("mounts", sum(1 for _ in open("/proc/self/mountinfo")), flush=True)
import signal; signal.pause()
"""


def test_the_host_can_still_mount_and_the_container_ends(prison: Prison) -> None:
    machine = prison.machine
    most = int(Path("/proc/sys/fs/mount-max").read_text())
    options = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    machine.docker("run", "-d", "--name", "mounter", *options, "host", "python3", "-u", "-c", PRELUDE + SCRIPT)
    try:
        while "mounts" not in (seen := machine.docker("logs", "mounter").stdout):
            pass
        found = dict(line.split() for line in seen.splitlines())
        assert found["mount"] == "ENOSPC" and most // 4 < int(found["mounts"]) <= most  # the attempt itself works
        assert "/tmp/a" not in {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        machine.docker("run", "--rm", "host", "true")
        assert machine.docker("exec", "mounter", "echo", "in").stdout == "in\n"
    finally:
        machine.docker("rm", "-f", "mounter")


def test_without_the_capability_there_is_none(prison: Prison) -> None:
    assert prison.lines(SCRIPT.partition("libc.mount")[0] + "report('mount', b'none', b'/tmp/a', b'tmpfs', 0, None)")["mount"] == "EPERM"
