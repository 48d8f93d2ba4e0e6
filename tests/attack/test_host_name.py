"""sethostname(2) and setdomainname(2): refused, and with the capability it is the container's own name that changes."""

import os

from prison import Prison

SCRIPT = """
report("sethostname", b"pwned", 5)
report("setdomainname", b"pwned", 5)
"""


def test_refused(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert found["sethostname"] == found["setdomainname"] == "EPERM"


def test_with_the_capability_only_its_own_changes(prison: Prison) -> None:
    found = prison.lines(SCRIPT, "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    assert found["sethostname"] == "ok" and os.uname().nodename != "pwned"
