"""What an engine without root leaves out and refuses."""

from __future__ import annotations

import pytest

from stackrun.api.types import ContainerSpec, DeviceMapping, Resources
from stackrun.engine import powers
from stackrun.engine.record import Definition
from stackrun.engine.specgen import Device, Surroundings, oci_config
from stackrun.errors import Unsupported

ASKED = {"memory": {"limit": 1}, "cpu": {"quota": 2, "cpus": "0"}, "pids": {"limit": 3}}


@pytest.fixture
def rootless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powers, "current", lambda: powers.Powers(rootless=True, single_id=True))


def test_limits_of_missing_controllers_are_left_out_and_named() -> None:
    mine = powers.Powers(rootless=True, missing=frozenset({"memory", "cpuset"}))
    assert mine.held(ASKED) == {"cpu": {"quota": 2}, "pids": {"limit": 3}}
    (said,) = mine.left_out(ASKED)
    assert said.startswith("limits left out (cpu, memory): ") and "without the cgroup controllers cpuset, memory; as root: " in said


def test_where_no_cgroup_is_delegated_a_way_to_one_is_told() -> None:
    (said,) = powers.Powers(rootless=True, missing=powers.CONTROLLERS).left_out(ASKED)
    assert "limits left out (cpu, memory, pids): no cgroup" in said and "systemd-run --user" in said


def test_where_all_controllers_are_nothing_is_left_out() -> None:
    assert powers.Powers().held(ASKED) == ASKED and powers.Powers().left_out(ASKED) == ()


def test_nothing_is_refused_for_want_of_root_where_there_is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powers, "current", powers.Powers)
    powers.check(ContainerSpec(image="x", pid_mode="host"))


def test_a_device_that_the_user_may_not_open_is_refused_by_name(rootless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    spec = ContainerSpec(image="x", resources=Resources(devices=(DeviceMapping("/dev/null", "/dev/null"),)))
    with pytest.raises(Unsupported, match="device /dev/null: this user may not open it"):
        powers.check(spec)


def test_the_hosts_network_is_told_to_be_the_engines(rootless: None) -> None:
    (said,) = powers.warnings(ContainerSpec(image="x", network_mode="host"))
    assert "not the machine's" in said


def test_without_root_devices_are_shown_instead_of_made() -> None:
    device = Device("/dev/inside", "c", 10, 200, 0o666, host_path="/dev/net/tun")
    around = Surroundings("r", "g", "h", devices=(device,), powers=powers.Powers(rootless=True, single_id=True))
    definition = Definition("id", "n", "c", "sh", (), "sha256:1", ContainerSpec(image="x"), ())
    config = oci_config(definition, around)
    assert config["linux"]["devices"] == [] and "devices" not in config["linux"]["resources"]
    assert {"destination": "/dev/inside", "source": "/dev/net/tun"}.items() <= config["mounts"][-1].items()
    assert not any("gid=5" in one["options"] for one in config["mounts"])
