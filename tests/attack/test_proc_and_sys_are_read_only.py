"""Kernel settings through /proc and /sys: core_pattern and sysrq would act on the host.

CVE-2025-52881 redirects the runtime's own writes there.
"""

from prison import Prison

SCRIPT = """
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs",
             "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/profiling"):
    if os.path.exists(path):
        if os.path.isdir(path):
            attempt(path, lambda: os.mkdir(path + "/x"))
        else:
            attempt(path, lambda: os.close(os.open(path, os.O_WRONLY)))
for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"):
    if os.path.exists(path):
        print("masked", path, "empty" if not open(path, "rb").read(64) else "readable")
for path in ("/proc/acpi", "/proc/scsi", "/sys/firmware"):
    if os.path.exists(path):
        print("masked", path, "empty" if not os.listdir(path) else "readable")
"""


def test_nothing_there_can_be_written(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    writes = {name: result for name, result in found.items() if name.startswith("/")}
    assert "/proc/sys/kernel/core_pattern" in writes
    assert set(writes.values()) <= {"EROFS", "EACCES", "ENOENT"}, writes


def test_masked_paths_are_empty(prison: Prison) -> None:
    found = [line for line in prison.run(SCRIPT).splitlines() if line.startswith("masked")]
    assert found and all(line.endswith("empty") for line in found), found


def test_the_write_works_when_privileged(prison: Prison) -> None:
    found = prison.lines("attempt('w', lambda: os.close(os.open('/proc/sys/vm/overcommit_memory', os.O_WRONLY)))", "--privileged")
    assert found["w"] == "ok"
