"""The kernel's log tells addresses and the neighbours' business: syslog(2), /proc/kmsg and a /dev/kmsg of one's own are refused."""

from prison import Prison

SCRIPT = """
import stat
report("klogctl", 3, ctypes.create_string_buffer(64), 64)
attempt("proc", lambda: os.close(os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK)))
attempt("dev", lambda: os.close(os.open("/dev/kmsg", os.O_RDWR)))
attempt("node", lambda: (os.mknod("/dev/k", stat.S_IFCHR | 0o600, os.makedev(1, 11)), os.close(os.open("/dev/k", os.O_RDONLY))))
"""


def test_it_cannot_be_read(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert found["klogctl"] == "EPERM"
    assert found["proc"] in ("EPERM", "ENOENT", "EACCES")
    assert found["dev"] == "ENOENT" and found["node"] == "EPERM"


def test_the_attempt_works_with_the_capability(prison: Prison) -> None:
    script = "report('klogctl', 3, ctypes.create_string_buffer(64), 64)"
    assert prison.lines(script, "--cap-add", "SYSLOG", "--security-opt", "seccomp=unconfined")["klogctl"] == "ok"
