"""What a process holds: Docker's default set and no more, none ambient; no_new_privileges stops setuid programs."""

from prison import Prison

DEFAULT = 0xA80425FB
"""Docker's 14:
chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write setfcap."""
SCRIPT = "print(open('/proc/self/status').read())"


def status(text: str, name: str) -> int:
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name + ":")), 16)


def test_the_default_set(prison: Prison) -> None:
    text = prison.run(SCRIPT)
    assert status(text, "CapEff") == status(text, "CapPrm") == status(text, "CapBnd") == DEFAULT
    assert status(text, "CapAmb") == status(text, "CapInh") == 0
    assert status(text, "Seccomp") == 2


def test_an_ordinary_user_has_none(prison: Prison) -> None:
    text = prison.run(SCRIPT, "--user", "1000")
    assert status(text, "CapEff") == status(text, "CapPrm") == 0


def test_dropped_means_dropped(prison: Prison) -> None:
    assert status(prison.run(SCRIPT, "--cap-drop", "ALL"), "CapBnd") == 0
    assert status(prison.run(SCRIPT, "--cap-drop", "ALL", "--cap-add", "NET_RAW"), "CapEff") == 1 << 13


def test_no_new_privileges(prison: Prison) -> None:
    assert "NoNewPrivs:\t1" in prison.run(SCRIPT, "--security-opt", "no-new-privileges")


def test_user_ids_beyond_the_kernels_are_refused(prison: Prison) -> None:
    """CVE-2024-40635: a number beyond 2³¹ wraps round to root."""
    for user in ("4294967296", "2147483648", "4294967295"):
        done = prison.machine.docker("run", "--rm", "--user", user, "host", "id", "-u", code=None)
        assert done.returncode != 0 and "\n0\n" not in "\n" + done.stdout, done.stdout
