"""A second name for a masked or read-only file would be without the mask: links and renames across its mount are refused."""

from prison import Prison

SCRIPT = """
for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"):
    if os.path.exists(path):
        attempt("link " + path, lambda: os.link(path, "/tmp/name"))
        attempt("unlink " + path, lambda: os.unlink(path))
        attempt("rename " + path, lambda: os.rename(path, path + "x"))
        attempt("chmod " + path, lambda: os.chmod(path, 0o777))
attempt("link /etc/hosts", lambda: os.link("/etc/hosts", "/tmp/hosts"))
"""


def test_no_second_name(prison: Prison) -> None:
    lines = prison.run(SCRIPT).splitlines()
    changed = [line for line in lines if line.endswith(" ok") and not line.startswith("chmod /proc/k")]
    assert len(lines) > 4 and not changed, lines
