"""What a machine that lacks something is told: by name, with what its lack costs and what to do."""

from __future__ import annotations

import pytest

from stackrun.kernel import checkup
from stackrun.kernel.checkup import Check
from stackrun.kernel.probe import Probe


def checked(monkeypatch: pytest.MonkeyPatch, *probes: Probe, uid: int) -> dict[str, Check]:
    monkeypatch.setattr(checkup, "probes", lambda: probes)
    monkeypatch.setattr(checkup.os, "geteuid", lambda: uid)
    monkeypatch.setattr(checkup, "_subordinate", lambda file, cost: Check("users", file, True, False))
    return {one.name: one for one in checkup.checks()}


@pytest.mark.parametrize(("uid", "words"), [(0, "modprobe overlay"), (1000, "Linux 5.11")])
def test_an_overlayfs_that_cannot_be_mounted(monkeypatch: pytest.MonkeyPatch, uid: int, words: str) -> None:
    found = checked(monkeypatch, Probe("overlayfs", False, "mount overlay: EPERM"), uid=uid)
    one = found["overlayfs"]
    assert not one.ok and one.required and "EPERM" in one.detail
    assert words in one.remedy and ("fuse-overlayfs is not used" in one.remedy) is bool(uid)
    assert "fuse-overlayfs" not in found, "nothing is gained by installing it"
    assert not checkup.runs(tuple(found.values()))


def test_a_kernel_that_is_too_old_is_told_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        release, machine = "5.10.0-28-amd64", "x86_64"

    monkeypatch.setattr(checkup.os, "uname", lambda: Old)
    version = checked(monkeypatch, uid=1000)["version"]
    assert not version.ok and version.required and "5.10.0-28" in version.detail and "5.12" in version.remedy
