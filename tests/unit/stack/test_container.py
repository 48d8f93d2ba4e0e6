"""Compose's keys, one after the other, as what a container is asked to be."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.projects import STARTED, service, wanted

from stackrun.api.types import (
    ContainerSpec,
    DeviceMapping,
    EndpointSpec,
    Healthcheck,
    LogConfig,
    Mount,
    MountType,
    PortBinding,
    Resources,
    RestartPolicy,
    Ulimit,
)
from stackrun.compose import model
from stackrun.errors import Unsupported
from stackrun.stack.container import joined_services
from stackrun.stack.desired import container_spec

MIB = 1 << 20


def spec(*others: model.Service, number: int = 1, stack: dict[str, Any] | None = None, **keys: Any) -> ContainerSpec:
    target = wanted(service("web", **keys), *others, **(stack or {}))
    return container_spec(target.services["web"], number, "shop")


@pytest.mark.parametrize(
    ("keys", "field", "expected"),
    [
        ({"command": ("a", "b")}, "command", ("a", "b")),
        ({"command": ()}, "command", ()),
        ({}, "command", None),
        ({"entrypoint": ("x",)}, "entrypoint", ("x",)),
        ({"environment": {"A": "1", "B": "", "C": None}}, "environment", ("A=1", "B=", "C")),
        ({"user": "1000:50"}, "user", "1000:50"),
        ({"working_dir": "/app"}, "working_dir", "/app"),
        ({"hostname": "h", "domainname": "d"}, "hostname", "h"),
        ({"domainname": "d"}, "domainname", "d"),
        ({"tty": True}, "tty", True),
        ({"stdin_open": True}, "open_stdin", True),
        ({"stop_signal": "SIGINT"}, "stop_signal", "SIGINT"),
        ({"stop_grace_period_s": 1.2}, "stop_timeout_s", 2),
        ({"stop_grace_period_s": 0.0}, "stop_timeout_s", 0),
        ({}, "stop_timeout_s", None),
        ({"tmpfs": ("/run", "/tmp:size=1m,mode=700")}, "tmpfs", {"/run": "", "/tmp": "size=1m,mode=700"}),
        ({"cap_add": ("NET_ADMIN",)}, "cap_add", ("NET_ADMIN",)),
        ({"cap_drop": ("ALL",)}, "cap_drop", ("ALL",)),
        ({"privileged": True}, "privileged", True),
        ({"read_only": True}, "read_only_rootfs", True),
        ({"init": True}, "init", True),
        ({}, "init", None),
        ({"security_opt": ("no-new-privileges",)}, "security_opt", ("no-new-privileges",)),
        ({"dns": ("1.1.1.1",)}, "dns", ("1.1.1.1",)),
        ({"dns_opt": ("ndots:1",)}, "dns_options", ("ndots:1",)),
        ({"dns_search": ("x.y",)}, "dns_search", ("x.y",)),
        ({"extra_hosts": ("a=10.0.0.1", "v6=::1")}, "extra_hosts", ("a:10.0.0.1", "v6:::1")),
        ({"group_add": ("video",)}, "group_add", ("video",)),
        ({"sysctls": {"net.core.somaxconn": "1"}}, "sysctls", {"net.core.somaxconn": "1"}),
        ({"shm_size_bytes": 5}, "shm_size_bytes", 5),
        ({"ipc": "host"}, "ipc_mode", "host"),
        ({"pid": "host"}, "pid_mode", "host"),
        ({"uts": "host"}, "uts_mode", "host"),
        ({"cgroup": "private"}, "cgroupns_mode", "private"),
        ({"cgroup_parent": "x"}, "cgroup_parent", "x"),
        ({"userns_mode": "host"}, "userns_mode", "host"),
        ({"oom_score_adj": 3}, "oom_score_adj", 3),
        ({"runtime": "runc"}, "runtime", "runc"),
        ({"annotations": {"a": "b"}}, "annotations", {"a": "b"}),
        ({"storage_opt": {"size": "1G"}}, "storage_options", {"size": "1G"}),
        ({"expose": ("80", "53/udp")}, "exposed_ports", ("53/udp", "80/tcp")),
        ({"logging": model.Logging("none")}, "log_config", LogConfig("none")),
        ({"logging": model.Logging(options={"max-size": "1m"})}, "log_config", LogConfig("json-file", {"max-size": "1m"})),
        ({"restart": "on-failure:3"}, "restart_policy", RestartPolicy("on-failure", 3)),
        ({"restart": "unless-stopped"}, "restart_policy", RestartPolicy("unless-stopped")),
        ({}, "restart_policy", RestartPolicy("no")),
    ],
)
def test_plain_keys(keys: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(spec(**keys), field) == expected


@pytest.mark.parametrize(
    ("condition", "attempts", "expected"),
    [
        ("none", None, RestartPolicy("no")),
        ("on-failure", 4, RestartPolicy("on-failure", 4)),
        ("any", 4, RestartPolicy("always")),
        ("", None, RestartPolicy("always")),
    ],
)
def test_deploys_restart_policy_wins(condition: str, attempts: int | None, expected: RestartPolicy) -> None:
    deploy = model.Deploy(restart_policy=model.RestartPolicy(condition, max_attempts=attempts))
    assert spec(restart="unless-stopped", deploy=deploy).restart_policy == expected


def test_healthcheck() -> None:
    check = model.Healthcheck(("CMD", "true"), interval_s=1.0, retries=2, start_period_s=0.5)
    assert spec(healthcheck=check).healthcheck == Healthcheck(("CMD", "true"), interval_s=1.0, retries=2, start_period_s=0.5)
    assert spec(healthcheck=model.Healthcheck(disable=True)).healthcheck == Healthcheck(("NONE",))
    assert spec().healthcheck is None


def test_ports_are_published_and_exposed() -> None:
    ports = (model.Port(80, "8080", host_ip="127.0.0.1"), model.Port(53, protocol="udp"), model.Port(90, "9000-9005"))
    found = spec(ports=ports)
    assert found.ports == (
        PortBinding(80, "tcp", "127.0.0.1", 8080), PortBinding(53, "udp"), PortBinding(90, "tcp", "", 9000, 9005),
    )  # fmt: skip
    assert found.exposed_ports == ("53/udp", "80/tcp", "90/tcp")


def test_mounts() -> None:
    volumes = (
        model.VolumeMount("volume", "/data", "data", volume=model.VolumeOptions(nocopy=True, subpath="sub", labels={"a": "b"})),
        model.VolumeMount("volume", "/anonymous"),
        model.VolumeMount("bind", "/src", "/host", read_only=True, bind=model.BindOptions("rslave", True, recursive="disabled")),
        model.VolumeMount("tmpfs", "/scratch", tmpfs=model.TmpfsOptions(size_bytes=MIB, mode=0o700)),
    )
    found = spec(volumes=volumes, stack={"volumes": [model.Volume("data", "shop_data")]})
    assert found.mounts == (
        Mount(MountType.VOLUME, "/data", "shop_data", no_copy=True, subpath="sub", volume_labels={"a": "b"}),
        Mount(MountType.VOLUME, "/anonymous"),
        Mount(MountType.BIND, "/src", "/host", read_only=True, propagation="rslave", create_host_path=True, non_recursive=True),
        Mount(MountType.TMPFS, "/scratch", tmpfs_size_bytes=MIB, tmpfs_mode=0o700),
    )


def test_a_mount_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(Unsupported, match="mount /x: type npipe is not supported"):
        spec(volumes=(model.VolumeMount("npipe", "/x", "y"),))


def test_limits() -> None:
    found = spec(
        mem_limit_bytes=MIB, mem_reservation_bytes=2, memswap_limit_bytes=-1, cpus=0.5, cpu_shares=3, cpu_quota_us=4, cpu_period_us=5,
        cpuset="0-1", pids_limit=6, oom_kill_disable=True, blkio_config=model.BlkioConfig(weight=7),
        ulimits=(model.Ulimit("nofile", 1, 2),), devices=(model.Device("/dev/null", "/dev/n", "r"),), device_cgroup_rules=("c 1:3 r",),
    )  # fmt: skip
    assert found.resources == Resources(
        memory_bytes=MIB, memory_reservation_bytes=2, memory_swap_bytes=-1, nano_cpus=500_000_000, cpu_shares=3, cpu_quota_us=4,
        cpu_period_us=5, cpuset_cpus="0-1", pids_limit=6, blkio_weight=7, oom_kill_disable=True, ulimits=(Ulimit("nofile", 1, 2),),
        devices=(DeviceMapping("/dev/null", "/dev/n", "r"),), device_cgroup_rules=("c 1:3 r",),
    )  # fmt: skip


def test_deploys_limits_win_over_the_older_keys() -> None:
    deploy = model.Deploy(limits=model.ResourceLimits(0.25, MIB, 9), reservations=model.ResourceLimits(memory_bytes=3))
    found = spec(mem_limit_bytes=1, cpus=1.0, pids_limit=1, deploy=deploy).resources
    assert (found.memory_bytes, found.nano_cpus, found.pids_limit, found.memory_reservation_bytes) == (MIB, 250_000_000, 9, 3)


def test_networks_by_priority_with_aliases() -> None:
    networks = {
        "back": model.NetworkAttachment(aliases=("store", "web")),
        "front": model.NetworkAttachment(priority=10, ipv4_address="10.0.0.9", mac_address="02:00:00:00:00:01", gw_priority=2),
    }
    found = spec(networks=networks, number=2, stack={"networks": [model.Network("back", "shop_back"), model.Network("front", "lan")]})
    assert found.network_mode == "lan"
    assert found.endpoints == (
        EndpointSpec(
            "lan", ("shop-web-2", "web"), ipv4_address="10.0.0.9", mac_address="02:00:00:00:00:01", gateway_priority=2,
        ),
        EndpointSpec("shop_back", ("shop-web-2", "web", "store")),
    )  # fmt: skip


def test_network_modes() -> None:
    assert spec(network_mode="host").network_mode == "host"
    assert spec(network_mode="container:x").network_mode == "container:x"
    assert spec(networks={}).network_mode == "none"
    joined = spec(service("app"), network_mode="service:app", depends_on={"app": STARTED})
    assert joined.network_mode == "container:shop-app-1" and joined.endpoints == ()


def test_other_namespaces_and_volumes_of_services() -> None:
    other = service("app", container_name="the-app")
    found = spec(other, ipc="service:app", pid="service:app", volumes_from=("app:ro", "container:ext:rw"), depends_on={"app": STARTED})
    assert found.ipc_mode == found.pid_mode == "container:the-app"
    assert found.volumes_from == ("the-app:ro", "ext:rw")


def test_what_a_service_is_bound_to() -> None:
    one = service("x", network_mode="service:a", pid="service:b", ipc="host", volumes_from=("c", "container:d"))
    assert joined_services(one) == ("a", "b", "c")


def test_links_are_every_replica_under_the_alias() -> None:
    found = spec(service("db", scale=2), links=("db:store", "db"), external_links=("other", "far:near"), depends_on={"db": STARTED})
    assert found.endpoints[0].links == (
        "shop-db-1:store", "shop-db-2:store", "shop-db-1:db", "shop-db-2:db", "other:other", "far:near",
    )  # fmt: skip


def test_the_services_own_mac_address_is_the_first_networks() -> None:
    assert spec(mac_address="02:00:00:00:00:02").endpoints[0].mac_address == "02:00:00:00:00:02"
