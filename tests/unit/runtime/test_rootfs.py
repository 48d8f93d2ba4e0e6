"""The plan of a root file system, compared as text."""

from __future__ import annotations

from typing import Any

from stackrun.runtime import defaults, rootfs, spec


def described(config: dict[str, Any], overlay: dict[str, Any] | None = None) -> list[str]:
    return [step.describe() for step in rootfs.plan(spec.check(config, "/bundle"), overlay)]


def test_the_default_configuration() -> None:
    config = defaults.config()
    config["process"]["cwd"] = "/work"
    config["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}, maskedPaths=["/proc/kcore"], readonlyPaths=["/proc/sys"])
    assert described(config) == [
        "mount root file system /bundle/rootfs",
        "mount proc on /proc",
        "mount tmpfs on /dev",
        "mount devpts on /dev/pts",
        "mount tmpfs on /dev/shm",
        "mount mqueue on /dev/mqueue",
        "mount sysfs on /sys",
        "mount cgroup on /sys/fs/cgroup",
        *(f"make device /dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")),
        "link /dev/fd to /proc/self/fd",
        "link /dev/stdin to /proc/self/fd/0",
        "link /dev/stdout to /proc/self/fd/1",
        "link /dev/stderr to /proc/self/fd/2",
        "link /dev/ptmx to pts/ptmx",
        "make directory /work",
        "set sysctl net/ipv4/ip_forward",
        "make / read-only",
        "make /proc/sys read-only",
        "mask /proc/kcore",
    ]


def test_an_overlay_takes_the_place_of_the_root_path() -> None:
    overlay = {"lower": ["/l"], "upper": "/u", "work": "/w", "target": "/merged"}
    assert described(defaults.config(), overlay)[0] == "mount root file system /merged"


def test_the_hosts_dev_is_left_as_it_is() -> None:
    config = defaults.config()
    config["mounts"] = [{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}]
    assert not [line for line in described(config) if "device" in line or "link" in line]


def test_a_read_only_dev_is_closed_after_its_devices() -> None:
    config = defaults.config()
    config["mounts"] = [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}]
    lines = described(config)
    assert lines.index("make /dev read-only") > lines.index("link /dev/ptmx to pts/ptmx")


def test_a_listed_device_replaces_the_default_one() -> None:
    config = defaults.config()
    config["linux"]["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}, {"path": "/dev/fuse", "type": "c"}]
    lines = described(config)
    assert lines.count("make device /dev/null") == 1 and "make device /dev/fuse" in lines
