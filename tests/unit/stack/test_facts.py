"""Nothing that a specification can say goes untold."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

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
from stackrun.stack.facts import Context, facts, inheritable

NEVER_ASKED = {
    "image", "stdin_once", "attach_stdin", "attach_stdout", "attach_stderr", "anonymous_volumes", "mac_address", "shell", "binds",
    "publish_all_ports", "auto_remove", "masked_paths", "readonly_paths", "resources",
}  # fmt: skip
"""The image is compared by itself, resources below; a stack file cannot ask for the others."""
NEVER_ASKED_OF_ENDPOINTS = {"network", "mac_address"}
"""An engine gives every endpoint an address of its own and tells it as if it had been asked for."""

OTHERS: dict[str, Any] = {
    "command": ("x",), "entrypoint": ("x",), "environment": ("A=1",), "labels": {"a": "1"}, "stop_timeout_s": 0, "init": True,
    "healthcheck": Healthcheck(("CMD", "x")), "exposed_ports": ("80/tcp",), "mounts": (Mount(MountType.TMPFS, "/x"),), "tmpfs": {"/x": ""},
    "ports": (PortBinding(80),), "endpoints": (EndpointSpec("n"),), "restart_policy": RestartPolicy("always"), "annotations": {"a": "1"},
    "log_config": LogConfig("none"), "sysctls": {"a": "1"}, "storage_options": {"a": "1"}, "shm_size_bytes": 1,
}  # fmt: skip
OTHER_RESOURCES: dict[str, Any] = {"ulimits": (Ulimit("nofile", 1, 2),), "devices": (DeviceMapping("/a", "/b"),)}
OTHER_ENDPOINTS: dict[str, Any] = {"driver_options": {"a": "1"}, "links": ("shop-db-1:db",)}


def other(value: Any) -> Any:
    """A value of the same kind that is not the default."""
    return True if value is False else "other" if value == "" else 1 if value in (0, None) else ("x",) if value == () else value


def told(spec: ContainerSpec) -> dict[str, str]:
    return {key: one.text for key, one in (facts(spec, Context()) | inheritable(spec)).items()}


@pytest.mark.parametrize("name", [one.name for one in fields(ContainerSpec) if one.name not in NEVER_ASKED])
def test_every_field_of_a_container(name: str) -> None:
    bare = ContainerSpec("x")
    changed = replace(bare, **{name: OTHERS.get(name, other(getattr(bare, name)))})
    assert changed != bare and told(changed) != told(bare)


@pytest.mark.parametrize("name", [one.name for one in fields(Resources) if one.name != "cpuset_mems"])
def test_every_limit(name: str) -> None:
    bare = ContainerSpec("x")
    changed = replace(bare, resources=replace(Resources(), **{name: OTHER_RESOURCES.get(name, other(getattr(Resources(), name)))}))
    assert changed != bare and told(changed) != told(bare)


@pytest.mark.parametrize("name", [one.name for one in fields(EndpointSpec) if one.name not in NEVER_ASKED_OF_ENDPOINTS])
def test_every_field_of_an_endpoint(name: str) -> None:
    bare = EndpointSpec("net")
    changed = replace(bare, **{name: OTHER_ENDPOINTS.get(name, other(getattr(bare, name)))})
    assert told(ContainerSpec("x", endpoints=(changed,))) != told(ContainerSpec("x", endpoints=(bare,)))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (MountType.BIND, {"source": "/b"}), (MountType.BIND, {"read_only": True}), (MountType.BIND, {"propagation": "shared"}),
        (MountType.VOLUME, {"source": "b"}), (MountType.VOLUME, {"subpath": "x"}), (MountType.VOLUME, {"no_copy": True}),
        (MountType.TMPFS, {"tmpfs_size_bytes": 1}), (MountType.TMPFS, {"tmpfs_mode": 0o700}), (MountType.BIND, {"non_recursive": True}),
        (MountType.BIND, {"create_host_path": True}),
    ],
)  # fmt: skip
def test_what_a_mount_can_say(kind: MountType, change: dict[str, Any]) -> None:
    bare = Mount(kind, "/x", "" if kind is MountType.TMPFS else "/a")
    assert told(ContainerSpec("x", mounts=(replace(bare, **change),))) != told(ContainerSpec("x", mounts=(bare,)))


@pytest.mark.parametrize(
    ("count", "text"), [(64 << 20, "64m"), (1 << 30, "1g"), (1536 << 20, "1536m"), (2048, "2k"), (1000, "1000"), (-1, "unlimited")]
)
def test_bytes_are_exact(count: int, text: str) -> None:
    assert told(ContainerSpec("x", resources=Resources(memory_swap_bytes=count)))["memswap_limit"] == text


def test_what_compose_adds_by_itself() -> None:
    made = EndpointSpec("net", links=("shop-db-1:db-1", "shop-db-1:shop-db-1", "shop-db-1:store"))
    assert told(ContainerSpec("x", endpoints=(made,)))["networks.net.links"] == "shop-db-1:store"
    assert told(ContainerSpec("x", exposed_ports=("99",))) == told(ContainerSpec("x", exposed_ports=("99/tcp",)))
