"""The OCI configuration of a container, compared as text where that says most."""

from __future__ import annotations

from typing import Any

import pytest

from stackrun.api.types import ContainerSpec, ExecSpec, Mount, MountPoint, MountType, Resources, Ulimit
from stackrun.engine.record import Definition
from stackrun.engine.specgen import Device, Surroundings, exec_process, merged_environment, oci_config, oci_resources
from stackrun.errors import InvalidArgument
from stackrun.kernel import caps

AROUND = Surroundings(root_path="merged", cgroup_path="stackrun/id", hostname="host1")


def made(around: Surroundings = AROUND, points: tuple[MountPoint, ...] = (), **fields: Any) -> dict[str, Any]:
    spec = ContainerSpec(image="x", **fields)
    return oci_config(Definition("id", "n", "c", "sh", ("-c", "x"), "sha256:1", spec, points), around)


def mounts(config: dict[str, Any]) -> dict[str, str]:
    return {one["destination"]: f"{one['type']} {one['source']} {','.join(one['options'])}" for one in config["mounts"]}


def test_an_ordinary_container() -> None:
    config = made()
    assert config["root"] == {"path": "merged", "readonly": False}
    assert config["hostname"] == "host1"
    process = config["process"]
    assert process["args"] == ["sh", "-c", "x"] and process["cwd"] == "/" and process["noNewPrivileges"] is False
    assert process["env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=host1"]
    assert [one["type"] for one in config["linux"]["namespaces"]] == ["mount", "pid", "network", "ipc", "uts", "cgroup"]
    assert config["linux"]["cgroupsPath"] == "stackrun/id"
    assert "/proc/kcore" in config["linux"]["maskedPaths"] and "/proc/sys" in config["linux"]["readonlyPaths"]
    assert config["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}


def test_the_default_mounts_are_dockers_with_bounds_for_empty_files() -> None:
    assert mounts(made()) == {
        "/proc": "proc proc nosuid,noexec,nodev",
        "/dev": "tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k,nr_inodes=16384",
        "/dev/pts": "devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
        "/sys": "sysfs sysfs nosuid,noexec,nodev,ro",
        "/sys/fs/cgroup": "cgroup cgroup nosuid,noexec,nodev,ro",
        "/dev/mqueue": "mqueue mqueue nosuid,noexec,nodev",
        "/dev/shm": "tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864,nr_inodes=16384",
    }


def test_the_default_capabilities_are_dockers_fourteen() -> None:
    sets = made()["process"]["capabilities"]
    assert sets["bounding"] == sets["effective"] == sets["permitted"] and sets["inheritable"] == sets["ambient"] == []
    assert " ".join(name.removeprefix("CAP_") for name in sets["bounding"]) == (
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP"
    )


@pytest.mark.parametrize(
    ("fields", "count", "has", "lacks"),
    [
        ({"cap_add": ("net_admin",)}, 15, "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
        ({"cap_drop": ("CAP_CHOWN",)}, 13, "CAP_KILL", "CAP_CHOWN"),
        ({"cap_drop": ("ALL",), "cap_add": ("CHOWN",)}, 1, "CAP_CHOWN", "CAP_KILL"),
        ({"cap_add": ("ALL",), "cap_drop": ("SYS_ADMIN",)}, len(caps.NAMES) - 1, "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
        ({"privileged": True}, len(caps.NAMES), "CAP_SYS_ADMIN", ""),
    ],
)
def test_capabilities_added_and_dropped(fields: dict[str, Any], count: int, has: str, lacks: str) -> None:
    bounding = made(**fields)["process"]["capabilities"]["bounding"]
    assert len(bounding) == count and has in bounding and lacks not in bounding


def test_own_mounts_replace_defaults_and_come_shallow_first() -> None:
    points = (
        MountPoint(MountType.BIND, "/a/b/c", "/deep"),
        MountPoint(MountType.VOLUME, "/a", "/vol", name="v", read_write=False),
        MountPoint(MountType.BIND, "/dev/shm", "/my-shm", propagation="rslave"),
        MountPoint(MountType.BIND, "/etc/hosts", "/my-hosts"),
    )
    around = Surroundings("merged", "c", "h", files={"/etc/hosts": "/engine/hosts", "/etc/hostname": "/engine/hostname"})
    found = mounts(made(around, points))
    assert found["/a"] == "bind /vol rbind,rprivate,ro,rro"
    assert found["/dev/shm"] == "bind /my-shm rbind,rslave,rw"
    assert found["/etc/hosts"] == "bind /my-hosts rbind,rprivate,rw"
    assert found["/etc/hostname"] == "bind /engine/hostname rbind,rprivate"
    assert list(found)[-5:] == ["/a", "/etc/hostname", "/dev/shm", "/etc/hosts", "/a/b/c"]


def test_a_mounted_dev_takes_the_place_of_everything_below() -> None:
    found = mounts(made(points=(MountPoint(MountType.BIND, "/dev", "/dev"),)))
    assert [one for one in found if one.startswith("/dev")] == ["/dev"]


@pytest.mark.parametrize(
    ("fields", "point", "options"),
    [
        ({"tmpfs": {"/t": ""}}, MountPoint(MountType.TMPFS, "/t"), "noexec,nosuid,nodev"),
        ({"tmpfs": {"/t": "exec,size=1m"}}, MountPoint(MountType.TMPFS, "/t"), "nosuid,nodev,exec,size=1m"),
        (
            {"mounts": (Mount(MountType.TMPFS, "/t", tmpfs_size_bytes=9, tmpfs_mode=0o1770),)},
            MountPoint(MountType.TMPFS, "/t", read_write=False),
            "noexec,nosuid,nodev,size=9,mode=1770,ro",
        ),
    ],
)
def test_tmpfs_options(fields: dict[str, Any], point: MountPoint, options: str) -> None:
    assert mounts(made(points=(point,), **fields))["/t"] == f"tmpfs tmpfs {options}"


def test_joined_and_host_namespaces() -> None:
    around = Surroundings("merged", "c", "h", joined={"network": "/proc/7/ns/net", "pid": "", "uts": "", "ipc": ""})
    config = made(around)
    assert config["linux"]["namespaces"] == [{"type": "mount"}, {"type": "network", "path": "/proc/7/ns/net"}, {"type": "cgroup"}]
    assert "hostname" not in config
    assert mounts(config)["/dev/shm"] == "bind /dev/shm bind"
    assert mounts(config)["/dev/mqueue"].startswith("mqueue mqueue")  # which the host need not have mounted itself


def test_another_containers_ipc_namespace_brings_its_shared_memory() -> None:
    config = made(Surroundings("merged", "c", "h", joined={"ipc": "/proc/7/ns/ipc"}), ipc_mode="container:x")
    assert mounts(config)["/dev/shm"] == "bind /proc/7/root/dev/shm bind,rprivate,nosuid,noexec,nodev"
    assert next(one for one in config["mounts"] if one["destination"] == "/dev/shm")["stackrunVisits"] is True


def test_no_ipc_is_no_shared_memory() -> None:
    assert not {"/dev/shm", "/dev/mqueue"} & mounts(made(ipc_mode="none")).keys()


def test_privileged_opens_everything() -> None:
    config = made(privileged=True)
    assert config["linux"]["maskedPaths"] == config["linux"]["readonlyPaths"] == []
    assert config["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert mounts(config)["/sys"].endswith("rw") and mounts(config)["/sys/fs/cgroup"].endswith("rw")


def test_security_options_and_paths() -> None:
    config = made(security_opt=("no-new-privileges:true", "systempaths=unconfined"))
    assert config["process"]["noNewPrivileges"] is True and config["linux"]["maskedPaths"] == []
    assert made(masked_paths=("/x",))["linux"]["maskedPaths"] == ["/x"]


def test_devices_are_made_and_allowed() -> None:
    around = Surroundings("merged", "c", "h", devices=(Device("/dev/mine", "c", 10, 229, 0o020666, "rw"),))
    config = made(around, resources=Resources(device_cgroup_rules=("b 8:* r",)))
    assert config["linux"]["devices"] == [
        {"path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    assert config["linux"]["resources"]["devices"][-2:] == [
        {"allow": True, "type": "c", "access": "rw", "major": 10, "minor": 229},
        {"allow": True, "type": "b", "access": "r", "major": 8},
    ]


@pytest.mark.parametrize("rule", ["", "c", "c 1 r", "x 1:1 r", "c 1:1 z", "c a:1 r", "c 1:1"])
def test_a_wrong_device_rule_is_refused(rule: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid device cgroup rule format"):
        made(resources=Resources(device_cgroup_rules=(rule,)))


def test_limits_that_were_not_given_are_absent() -> None:
    assert oci_resources(Resources(), swap_accounting=True) == {}
    limits = Resources(memory_bytes=64, nano_cpus=1_500_000_000, pids_limit=9, cpuset_cpus="0-1", blkio_weight=300)
    assert oci_resources(limits, swap_accounting=False) == {
        "memory": {"limit": 64},
        "cpu": {"quota": 150_000, "period": 100_000, "cpus": "0-1"},
        "pids": {"limit": 9},
        "blockIO": {"weight": 300},
    }


@pytest.mark.parametrize(
    ("swap", "accounting", "found"), [(0, True, 128), (0, False, None), (-1, True, -1), (100, True, 100), (100, False, 100)]
)
def test_swap_is_twice_the_memory_unless_said(swap: int, accounting: bool, found: int | None) -> None:
    limits = Resources(memory_bytes=64, memory_swap_bytes=swap)
    assert oci_resources(limits, swap_accounting=accounting)["memory"].get("swap") == found


def test_the_environment_keeps_its_order_and_the_later_wins() -> None:
    assert merged_environment(("A=1", "B=2"), ("B=3", "C=4", "A")) == ["B=3", "C=4"]
    assert made(environment=("PATH=/x", "A=b"), tty=True)["process"]["env"] == ["PATH=/x", "HOSTNAME=host1", "TERM=xterm", "A=b"]


def test_an_exec_has_the_containers_surroundings() -> None:
    limits = Resources(ulimits=(Ulimit("nofile", 5, 6),))
    spec = ContainerSpec(image="x", environment=("A=1",), user="app", working_dir="/w", resources=limits, cap_drop=("ALL",))
    definition = Definition("id", "n", "c", "sh", (), "sha256:1", spec)
    process = exec_process(definition, ExecSpec(("ls",), environment=("A=2",)), "h")
    assert (process["args"], process["stackrunUser"], process["cwd"], process["env"][-1]) == (["ls"], "app", "/w", "A=2")
    assert process["capabilities"]["bounding"] == [] and process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}]
    process = exec_process(definition, ExecSpec(("ls",), user="root", working_dir="/", privileged=True), "h")
    assert (process["stackrunUser"], process["cwd"]) == ("root", "/") and len(process["capabilities"]["bounding"]) == len(caps.NAMES)
