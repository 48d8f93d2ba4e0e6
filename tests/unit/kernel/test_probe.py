from __future__ import annotations

from stackrun.kernel.probe import probe, probes


def test_every_facility_is_there_once_and_what_is_missing_has_a_reason() -> None:
    found = probes()
    names = [one.name for one in found]
    assert len(names) == len(set(names))
    assert {"overlayfs", "pid namespace", "cgroup", "seccomp", "nftables", "clone3", "CAP_SYS_ADMIN"} <= set(names)
    assert all(one.reason for one in found if not one.available)


def test_one_by_name() -> None:
    assert probe("openat2").available
