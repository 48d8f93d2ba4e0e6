"""Calls that reach across the border: modules, kexec, swap, clock, keyrings, bpf, perf, reboot, ptrace of the host, kernel log."""

import pytest
from prison import Prison

CALLS = {
    "init_module": "175, 0, 0, 0", "finit_module": "313, 0, 0, 0", "delete_module": "176, 0, 0", "kexec_load": "246, 0, 0, 0, 0",
    "swapon": "167, b'/x', 0", "reboot": "169, 0xfee1dead, 672274793, 0", "settimeofday": "164, 0, 0", "bpf": "321, 0, 0, 0",
    "perf_event_open": "298, 0, 0, -1, -1, 0", "add_key": "248, b'user', b'x', b'y', 1, -3", "keyctl": "250, 0, -3, 0",
    "request_key": "249, b'user', b'x', 0, 0", "userfaultfd": "323, 0", "open_by_handle_at": "304, -100, 0, 0", "acct": "163, b'/x'",
    "syslog": "103, 3, 0, 0", "quotactl": "179, 0, 0, 0, 0", "setns": "308, 0, 0", "nfsservctl": "180, 0, 0, 0", "iopl": "172, 3",
    "move_pages": "279, 0, 0, 0, 0, 0, 0", "mbind": "237, 0, 0, 0, 0, 0, 0", "lookup_dcookie": "212, 0, 0, 0", "vm86": "1000, 0",
}  # fmt: skip


@pytest.fixture(scope="module")
def found(prison: Prison) -> dict[str, str]:
    script = "".join(
        f"ctypes.set_errno(0); r = libc.syscall({arguments}); print('{name}', 'ok' if r >= 0 else errno.errorcode[ctypes.get_errno()])\n"
        for name, arguments in CALLS.items()
    )
    return prison.lines(script)


@pytest.mark.parametrize("call", [name for name in CALLS if name != "vm86"])
def test_refused(found: dict[str, str], call: str) -> None:
    assert found[call] in ("EPERM", "ENOSYS"), found[call]


def test_the_keyring_is_the_containers_own(prison: Prison) -> None:
    found = prison.lines("report('syscall', 250, 0, -3, 0)", "--security-opt", "seccomp=unconfined")
    assert found["syscall"] == "ok", "keyctl(2) answers without seccomp"
