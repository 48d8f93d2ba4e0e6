"""Merging with the image, and everything that is refused at creation."""

from __future__ import annotations

from typing import Any

import pytest

from stackrun.api.types import (
    ContainerSpec,
    EndpointSpec,
    Healthcheck,
    ImageConfig,
    LogConfig,
    Mount,
    MountType,
    PortBinding,
    PublishedPort,
    Resources,
    RestartPolicy,
    Ulimit,
)
from stackrun.engine.creation import check, clean_path, command_line, completed, endpoint_specs, exposed_only
from stackrun.errors import InvalidArgument, StackrunError, Unsupported

IMAGE = ImageConfig(
    command=("serve",),
    entrypoint=("/entry", "--"),
    environment=("PATH=/image", "A=image", "GONE=x"),
    labels={"from": "image", "both": "image"},
    user="app",
    working_dir="/srv",
    exposed_ports=("80/tcp",),
    volumes=("/data",),
    stop_signal="SIGQUIT",
    healthcheck=Healthcheck(("CMD", "check"), interval_s=7.0, retries=2),
)


def asked(**fields: Any) -> ContainerSpec:
    return ContainerSpec(image="x", **fields)


def test_the_image_fills_what_was_not_asked() -> None:
    spec = completed(asked(), IMAGE)
    assert command_line(spec) == ("/entry", ("--", "serve"))
    assert (spec.user, spec.working_dir, spec.stop_signal, spec.anonymous_volumes) == ("app", "/srv", "SIGQUIT", ("/data",))
    assert spec.healthcheck == IMAGE.healthcheck and spec.labels == IMAGE.labels and spec.environment == IMAGE.environment


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"command": ("other",)}, ("/entry", "--", "other")),
        ({"entrypoint": ("sh",)}, ("sh",)),
        ({"entrypoint": ("sh",), "command": ("-c", "x")}, ("sh", "-c", "x")),
        ({"entrypoint": ("",), "command": ("plain",)}, ("plain",)),
        ({"entrypoint": (), "command": ("plain",)}, ("plain",)),
        ({"command": ()}, ("/entry", "--")),
    ],
)
def test_commands_and_entrypoints_as_docker_merges_them(fields: dict[str, Any], words: tuple[str, ...]) -> None:
    path, arguments = command_line(completed(asked(**fields), IMAGE))
    assert (path, *arguments) == words


def test_no_command_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        command_line(completed(asked(), ImageConfig()))


def test_the_environment_asked_for_wins_and_can_take_away() -> None:
    assert completed(asked(environment=("A=mine", "GONE")), IMAGE).environment == ("A=mine", "PATH=/image")


def test_a_healthcheck_is_merged_field_by_field() -> None:
    assert completed(asked(healthcheck=Healthcheck(interval_s=1.0)), IMAGE).healthcheck == Healthcheck(("CMD", "check"), 1.0, retries=2)
    assert completed(asked(healthcheck=Healthcheck(("NONE",))), IMAGE).healthcheck == Healthcheck(("NONE",))


def test_published_ports_are_exposed() -> None:
    spec = completed(asked(ports=(PortBinding(53, "udp"),), exposed_ports=("9",)), IMAGE)
    assert spec.exposed_ports == ("9/tcp", "80/tcp", "53/udp")
    assert exposed_only(spec) == (PublishedPort(9, "tcp"), PublishedPort(80, "tcp"), PublishedPort(53, "udp"))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"working_dir": "here"}, "the working directory 'here' is invalid"),
        ({"stop_signal": "SIGNO"}, "invalid signal: SIGNO"),
        ({"cap_add": ("FLY",)}, 'unknown capability: "CAP_FLY"'),
        ({"security_opt": ("odd=1",)}, "invalid --security-opt"),
        ({"restart_policy": RestartPolicy("sometimes")}, "invalid restart policy: unknown policy 'sometimes'"),
        ({"restart_policy": RestartPolicy("always", 3)}, "maximum retry count can only be used with 'on-failure'"),
        ({"restart_policy": RestartPolicy("always"), "auto_remove": True}, "can't create 'AutoRemove' container with restart policy"),
        ({"resources": Resources(memory_bytes=1024)}, "Minimum memory limit allowed is 6MB"),
        ({"resources": Resources(memory_bytes=8 << 20, memory_swap_bytes=7 << 20)}, "memoryswap limit should be larger"),
        ({"resources": Resources(nano_cpus=1, cpu_quota_us=1)}, "Nano CPUs and CPU Period/Quota cannot both be set"),
        ({"resources": Resources(ulimits=(Ulimit("nofile", 2, 1),))}, "ulimit soft limit must be less"),
        ({"healthcheck": Healthcheck(("SHELL", "x"))}, "unknown type 'SHELL' in healthcheck"),
        ({"healthcheck": Healthcheck(("CMD", "x"), interval_s=0.0001)}, "interval in healthcheck cannot be less than 1ms"),
        ({"log_config": LogConfig("json-file", {"odd": "1"})}, "unknown log opt 'odd' for json-file log driver"),
        ({"ipc_mode": "odd"}, "invalid IPC mode: odd"),
        ({"uts_mode": "container:x"}, "invalid UTS mode: container:x"),
        ({"mounts": (Mount(MountType.TMPFS, "relative"),)}, "mount path must be absolute"),
        ({"mounts": (Mount(MountType.TMPFS, "/a/.."),)}, "destination can't be '/'"),
        ({"mounts": (Mount(MountType.TMPFS, "/a"),), "tmpfs": {"/a/": ""}}, "Duplicate mount point: /a"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text.replace("(", r"\(")):
        check(asked(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"log_config": LogConfig("syslog")},
        {"userns_mode": "keep-id"},
        {"storage_options": {"size": "1g"}},
        {"security_opt": ("apparmor=mine",)},
    ],
)
def test_what_this_engine_lacks_is_said(fields: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        check(asked(**fields))


def test_an_ordinary_spec_is_accepted() -> None:
    check(asked(restart_policy=RestartPolicy("on-failure", 3), ipc_mode="shareable", pid_mode="container:x", runtime="runc"))
    assert issubclass(Unsupported, StackrunError)


@pytest.mark.parametrize(("path", "clean"), [("/a//b/", "/a/b"), ("/a/./b", "/a/b"), ("/a/../../b", "/b"), ("/", "/")])
def test_paths_are_cleaned_without_leaving_the_root(path: str, clean: str) -> None:
    assert clean_path(path) == clean


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["bridge"]),
        ({"network_mode": "default"}, ["bridge"]),
        ({"network_mode": "host"}, []),
        ({"network_mode": "none"}, []),
        ({"network_mode": "container:x"}, []),
        ({"network_mode": "net"}, ["net"]),
        ({"network_mode": "net", "endpoints": (EndpointSpec("other"), EndpointSpec("net"))}, ["net", "other"]),
        ({"endpoints": (EndpointSpec("one"), EndpointSpec("two"))}, ["one", "two"]),
        ({"network_mode": "bridge", "endpoints": (EndpointSpec("one"),)}, ["bridge", "one"]),
        ({"endpoints": (EndpointSpec("default", aliases=("a",)),)}, ["bridge"]),
    ],
)
def test_which_networks_are_joined(fields: dict[str, Any], names: list[str]) -> None:
    assert [one.network for one in endpoint_specs(asked(**fields))] == names
