"""Programs that the kernel runs as the host's root by a path in its settings: core_pattern, modprobe, hotplug, uevent_helper, poweroff_cmd.

Written from inside through /proc and /sys, and asked for as sysctls, which the runtime itself would write.
"""

import pytest
from prison import Prison

PATHS = (
    "kernel/core_pattern",
    "kernel/modprobe",
    "kernel/hotplug",
    "kernel/poweroff_cmd",
    "kernel/usermodehelper/bset",
    "fs/suid_dumpable",
)
SCRIPT = f"""
paths = [*("/proc/sys/" + name for name in {PATHS!r}), "/sys/kernel/uevent_helper", "/sys/module/firmware_class/parameters/path"]
present = [path for path in paths if os.path.exists(path)]
print("present", len(present))
for path in present:
    attempt(path, lambda: os.close(os.open(path, os.O_WRONLY)))
report("mount", None, b"/proc/sys", None, 32 | 4096, None)
report("umount2", b"/proc/sys", 2)
attempt("after", lambda: os.close(os.open(present[0], os.O_WRONLY)))
"""


def test_none_can_be_written(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert int(found["present"]) >= 2
    assert {found[name] for name in found if name.startswith("/")} <= {"EROFS", "EACCES"}, found
    assert found["mount"] == found["umount2"] == "EPERM" and found["after"] in ("EROFS", "EACCES")


def test_the_attempt_works_with_the_right_to_mount(prison: Prison) -> None:
    found = prison.lines(SCRIPT, "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    assert {found[name] for name in found if name.startswith("/")} <= {"EROFS", "EACCES"}, found
    assert found["mount"] == "ok" and found["after"] == "ok"  # opened, and nothing is written


NAMES = ("kernel.core_pattern", "kernel.modprobe", "fs.suid_dumpable", "fs.mqueue.../kernel.core_pattern")
LEADING_OUT = ("net/../kernel/core_pattern", "kernel.shm_rmid_forced/../core_pattern", "net...kernel.core_pattern")


@pytest.mark.parametrize("name", NAMES + LEADING_OUT)
def test_none_is_a_containers_sysctl(prison: Prison, name: str) -> None:
    """conftest.py compares the settings themselves at the end."""
    done = prison.machine.docker("run", "--rm", "--sysctl", f"{name}=|/tmp/x", "host", "true", code=None)
    assert done.returncode == 125, done


def test_one_of_the_hosts_own_network_is_refused(prison: Prison) -> None:
    done = prison.machine.docker("run", "--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=1", "host", "true", code=None)
    assert done.returncode == 125, done
