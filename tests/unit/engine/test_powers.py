"""What an engine without root leaves out and refuses."""

from __future__ import annotations

import pytest

from stackrun.api.types import ContainerSpec, DeviceMapping, Resources
from stackrun.engine import powers
from stackrun.errors import Unsupported
from stackrun.kernel import privileges

ASKED = {"memory": {"limit": 1}, "cpu": {"quota": 2, "cpus": "0"}, "pids": {"limit": 3}}


@pytest.fixture
def rootless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "_FOUND", [privileges.Privileges(rootless=True, ids=1)])


def test_limits_of_missing_controllers_are_left_out_and_named() -> None:
    missing = frozenset({"memory", "cpuset"})
    assert powers.held(ASKED, missing) == {"cpu": {"quota": 2}, "pids": {"limit": 3}}
    (said,) = powers.left_out(ASKED, missing)
    assert "limits left out (cpu, memory)" in said and "Delegate=yes" in said


def test_where_all_controllers_are_nothing_is_left_out() -> None:
    assert powers.held(ASKED, frozenset()) == ASKED and powers.left_out(ASKED, frozenset()) == ()


def test_nothing_is_refused_for_want_of_root_where_there_is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "_FOUND", [privileges.Privileges()])
    powers.check(ContainerSpec(image="x", pid_mode="host"))


def test_a_device_that_the_user_may_not_open_is_refused_by_name(rootless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    spec = ContainerSpec(image="x", resources=Resources(devices=(DeviceMapping("/dev/null", "/dev/null"),)))
    with pytest.raises(Unsupported, match="device /dev/null: this user may not open it"):
        powers.check(spec)


def test_the_hosts_network_is_told_to_be_the_engines(rootless: None) -> None:
    (said,) = powers.warnings(ContainerSpec(image="x", network_mode="host"))
    assert "not the machine's" in said
