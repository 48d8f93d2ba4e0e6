from __future__ import annotations

import json

import pytest

from stackrun.api.types import (
    ContainerSpec,
    ContainerState,
    DeviceMapping,
    EndpointSpec,
    ExecSpec,
    Health,
    Healthcheck,
    HealthStatus,
    LogConfig,
    Mount,
    MountType,
    PortBinding,
    Resources,
    RestartPolicy,
    Status,
    Ulimit,
)
from stackrun.api.wire import containers, specs
from stackrun.api.wire.mounts import bind_mount
from stackrun.api.wire.times import epoch_ns
from stackrun.errors import InvalidArgument

NOW = "2026-01-01T00:00:00.000000000Z"

FULL = ContainerSpec(
    image="busybox:1",
    command=("sh", "-c", "true"),
    entrypoint=(),
    environment=("A=1", "B"),
    labels={"a": "b"},
    user="1:2",
    working_dir="/srv",
    hostname="h",
    domainname="d",
    tty=True,
    open_stdin=True,
    stdin_once=True,
    attach_stdin=True,
    attach_stdout=False,
    stop_signal="SIGINT",
    stop_timeout_s=7,
    healthcheck=Healthcheck(("CMD", "true"), 1.5, 2, 3, 4, 0.5),
    exposed_ports=("80/tcp",),
    anonymous_volumes=("/data",),
    shell=("sh",),
    mounts=(
        Mount(MountType.VOLUME, "/v", "data", no_copy=True, volume_driver="local", volume_labels={"x": "y"}, volume_options={"o": "1"}),
        Mount(MountType.BIND, "/b", "/src", read_only=True, propagation="rslave", non_recursive=True),
        Mount(MountType.TMPFS, "/t", tmpfs_size_bytes=1024, tmpfs_mode=0o1777),
    ),
    tmpfs={"/run": "size=1m"},
    ports=(PortBinding(80, "tcp", "127.0.0.1", 8080), PortBinding(53, "udp", "", 0), PortBinding(90, "tcp", "", 9000, 9005)),
    publish_all_ports=True,
    network_mode="back",
    endpoints=(EndpointSpec("back", ("db",), "10.0.0.2", "fd00::2", "02:00:00:00:00:01", ("a:b",), {"k": "v"}, 5),),
    restart_policy=RestartPolicy("on-failure", 3),
    auto_remove=True,
    resources=Resources(
        memory_bytes=1 << 20,
        memory_swap_bytes=-1,
        nano_cpus=500_000_000,
        pids_limit=10,
        ulimits=(Ulimit("nofile", 1, 2),),
        devices=(DeviceMapping("/dev/null", "/dev/x", "r"),),
        device_cgroup_rules=("c 1:3 r",),
    ),
    log_config=LogConfig("json-file", {"max-size": "1m"}),
    cap_add=("NET_ADMIN",),
    cap_drop=("ALL",),
    privileged=True,
    read_only_rootfs=True,
    init=True,
    security_opt=("no-new-privileges",),
    dns=("1.1.1.1",),
    dns_options=("ndots:1",),
    dns_search=("x.y",),
    extra_hosts=("a:1.2.3.4",),
    group_add=("10",),
    sysctls={"net.core.somaxconn": "1"},
    shm_size_bytes=1 << 26,
    ipc_mode="private",
    pid_mode="host",
    cgroup_parent="/x",
    oom_score_adj=5,
    masked_paths=("/proc/kcore",),
    readonly_paths=(),
)


def test_a_spec_survives_the_way_there_and_back() -> None:
    spec, warnings = specs.container_spec(json.loads(json.dumps(specs.create_body(FULL))))
    assert spec == FULL
    assert warnings == ()


def test_null_is_accepted_everywhere() -> None:
    """Go clients send null for every empty list, map and pointer."""
    body = specs.create_body(ContainerSpec("x"))
    nulls = {
        **dict.fromkeys(body),
        "Image": "x",
        "HostConfig": dict.fromkeys(body["HostConfig"]),
        "NetworkingConfig": {"EndpointsConfig": {"back": None}},
    }
    spec, _ = specs.container_spec(nulls)
    assert spec == ContainerSpec("x", endpoints=(EndpointSpec("back"),))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ([], "the body must be an object"),
        ({"Image": 5}, "invalid JSON: Image must be a string"),
        ({"Env": {"A": "1"}}, "invalid JSON: Env must be an array"),
        ({"Env": [1]}, r"invalid JSON: Env\[0\] must be a string"),
        ({"HostConfig": {"Memory": "64m"}}, "invalid JSON: HostConfig.Memory must be a number"),
        ({"HostConfig": {"Memory": True}}, "invalid JSON: HostConfig.Memory must be a number"),
        ({"HostConfig": {"Privileged": 1}}, "invalid JSON: HostConfig.Privileged must be true or false"),
        ({"HostConfig": {"Binds": ["/a:/b:zz"]}}, "invalid mode: zz"),
        ({"HostConfig": {"Binds": ["/a:b"]}}, "mount path must be absolute"),
        ({"HostConfig": {"Binds": ["/a:/b", "/c:/b"]}}, "Duplicate mount point: /b"),
        ({"HostConfig": {"Mounts": [{"Type": "npipe", "Target": "/x"}]}}, "mount type unknown: 'npipe'"),
        ({"HostConfig": {"Mounts": [{"Type": "bind", "Target": "/x", "Source": "rel"}]}}, "mount path must be absolute"),
        ({"HostConfig": {"PortBindings": {"http": []}}}, "invalid port specification: 'http'"),
        ({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "99999"}]}}}, "invalid port specification: '99999'"),
        ({"HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}, "unknown policy 'sometimes'"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(body: object, complaint: str) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        specs.container_spec(body)


def test_what_is_asked_and_not_done_is_named() -> None:
    host = {"Links": ["a:b"], "KernelMemory": 5, "MemorySwappiness": 10, "VolumeDriver": "nfs", "Isolation": "default", "CpuCount": 0}
    _, warnings = specs.container_spec({"Image": "x", "HostConfig": host, "OnBuild": ["RUN x"]})
    assert warnings == tuple(
        f"{place} is not supported and was left out"
        for place in ("OnBuild", "HostConfig.Links", "HostConfig.VolumeDriver", "HostConfig.KernelMemory", "HostConfig.MemorySwappiness")
    )


def test_what_every_client_sends_without_meaning_it_is_no_warning() -> None:
    host = {"MemorySwappiness": -1, "VolumeDriver": "local", "ConsoleSize": [24, 80]}
    _, warnings = specs.container_spec({"Image": "x", "HostConfig": host})
    assert warnings == ()


def test_the_clients_default_network_is_bridge() -> None:
    spec, _ = specs.container_spec({"Image": "x", "NetworkingConfig": {"EndpointsConfig": {"default": {}}}})
    assert spec.endpoints == (EndpointSpec("bridge"),)


def test_the_first_network_is_the_mode_when_none_is_given() -> None:
    body = specs.create_body(ContainerSpec("x", endpoints=(EndpointSpec("back"), EndpointSpec("front"))))
    assert body["HostConfig"]["NetworkMode"] == "back"


@pytest.mark.parametrize(
    ("bind", "mount"),
    [
        ("/a:/b", Mount(MountType.BIND, "/b", "/a", create_host_path=True)),
        ("/a:/b:ro,rslave,z", Mount(MountType.BIND, "/b", "/a", read_only=True, propagation="rslave", create_host_path=True)),
        ("data:/b:nocopy", Mount(MountType.VOLUME, "/b", "data", no_copy=True)),
        ("/b", Mount(MountType.VOLUME, "/b")),
    ],
)
def test_binds_are_mounts_in_short(bind: str, mount: Mount) -> None:
    assert bind_mount(bind) == mount


def test_binds_are_kept_as_written_and_said_once() -> None:
    spec, _ = specs.container_spec({"Image": "x", "HostConfig": {"Binds": ["/a:/b:ro"], "Mounts": [{"Type": "tmpfs", "Target": "/t"}]}})
    assert spec.binds == ("/a:/b:ro",)
    assert [one.target for one in spec.mounts] == ["/b", "/t"]
    host = specs.host_config_to_json(spec)
    assert host["Binds"] == ["/a:/b:ro"]
    assert host["Mounts"] == [{"Type": "tmpfs", "Target": "/t"}]


def test_a_bind_whose_source_may_be_made_goes_as_a_bind() -> None:
    """Engines before API 1.42 do not know CreateMountpoint."""
    mount = Mount(MountType.BIND, "/b", "/a", create_host_path=True, read_only=True)
    host = specs.host_config_to_json(ContainerSpec("x", mounts=(mount,)))
    assert (host["Binds"], host["Mounts"]) == (["/a:/b:ro"], [])


def test_an_update_tells_what_it_mentions() -> None:
    resources, policy = specs.update_from_json({"Memory": 5, "RestartPolicy": {"Name": "always"}})
    assert (resources, policy) == (Resources(memory_bytes=5), RestartPolicy("always"))
    assert specs.update_from_json({}) == (None, None)
    assert specs.update_to_json(resources, policy) == {"Memory": 5, "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}


def _at(seconds: int) -> int:
    return epoch_ns(NOW) + seconds * 1_000_000_000


@pytest.mark.parametrize(
    ("state", "seconds", "text"),
    [
        (ContainerState(Status.RUNNING, started_at=NOW), 3, "Up 3 seconds"),
        (ContainerState(Status.RUNNING, started_at=NOW, health=Health(HealthStatus.HEALTHY)), 60, "Up About a minute (healthy)"),
        (ContainerState(Status.RUNNING, started_at=NOW, health=Health(HealthStatus.STARTING)), 2, "Up 2 seconds (health: starting)"),
        (ContainerState(Status.PAUSED, started_at=NOW), 7200, "Up 2 hours (Paused)"),
        (ContainerState(Status.EXITED, exit_code=0, finished_at=NOW), 130, "Exited (0) 2 minutes ago"),
        (ContainerState(Status.EXITED, exit_code=137, finished_at=NOW), 86400 * 3, "Exited (137) 3 days ago"),
        (ContainerState(Status.RESTARTING, exit_code=1, finished_at=NOW), 1, "Restarting (1) 1 second ago"),
        (ContainerState(), 0, "Created"),
        (ContainerState(Status.DEAD), 0, "Dead"),
    ],
)
def test_the_words_of_docker_ps(state: ContainerState, seconds: int, text: str) -> None:
    assert containers.status_text(state, _at(seconds)) == text


def test_an_exec_needs_a_command_and_attaches_only_what_is_asked() -> None:
    with pytest.raises(InvalidArgument, match="No exec command specified"):
        containers.exec_spec_from_json({"Cmd": None})
    assert containers.exec_spec_from_json({"Cmd": ["sh"], "AttachStdout": True}) == ExecSpec(("sh",), attach_stderr=False)
