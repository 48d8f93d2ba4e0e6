"""Records come back as they were written, and broken ones are told."""

from __future__ import annotations

import json

import pytest

from stackrun.api.stored import from_json, to_json
from stackrun.api.types import (
    ContainerSpec,
    ContainerState,
    Endpoint,
    EndpointSpec,
    Health,
    Healthcheck,
    HealthProbe,
    HealthStatus,
    IpamPool,
    Mount,
    MountPoint,
    MountType,
    Network,
    NetworkSpec,
    PortBinding,
    PublishedPort,
    Resources,
    RestartPolicy,
    Status,
    Ulimit,
)
from stackrun.engine.record import Definition, Situation
from stackrun.errors import InvalidArgument

SPEC = ContainerSpec(
    image="busybox:1",
    command=("sh", "-c", "exit 3"),
    entrypoint=(),
    environment=("A=ä",),
    labels={"x": "y"},
    stop_timeout_s=0,
    healthcheck=Healthcheck(("CMD", "true"), interval_s=0.5),
    mounts=(Mount(MountType.TMPFS, "/t", tmpfs_size_bytes=1),),
    ports=(PortBinding(80, "udp", "127.0.0.1", 0),),
    endpoints=(EndpointSpec("net", aliases=("a",)),),
    restart_policy=RestartPolicy("on-failure", 3),
    resources=Resources(memory_bytes=1 << 20, ulimits=(Ulimit("nofile", 1, -1),)),
    init=False,
    masked_paths=(),
)


def test_a_definition_comes_back() -> None:
    point = MountPoint(MountType.VOLUME, "/v", "/s", name="v", read_write=False)
    definition = Definition("i" * 64, "n", "c", "sh", ("-c",), "sha256:1", SPEC, (point,), ("/l1", "/l2"), (), ("v",))
    assert from_json(Definition, to_json(definition)) == definition


def test_a_situation_comes_back() -> None:
    health = Health(HealthStatus.HEALTHY, 1, (HealthProbe("s", "e", 0, "o"),))
    state = ContainerState(Status.EXITED, exit_code=3, health=health)
    situation = Situation(state, (Endpoint("n", "i", spec=EndpointSpec("n")),), (PublishedPort(80, "tcp", "0.0.0.0", 8080),), 2, True, 1)
    assert from_json(Situation, to_json(situation)) == situation
    assert from_json(Situation, to_json(Situation())) == Situation()


def test_a_network_comes_back() -> None:
    network = Network("i", "c", NetworkSpec("n", pools=(IpamPool("10.0.0.0/24", gateway="10.0.0.1"),), labels={"a": "b"}))
    assert from_json(Network, to_json(network)) == network


def test_defaults_are_not_written_but_empty_is_kept_where_it_means_something() -> None:
    text = json.loads(to_json(SPEC))
    assert "hostname" not in text and "tty" not in text
    assert text["entrypoint"] == [] and text["init"] is False and text["stop_timeout_s"] == 0 and text["masked_paths"] == []


def test_a_newer_versions_fields_are_ignored() -> None:
    assert from_json(RestartPolicy, b'{"name":"always","later":1}') == RestartPolicy("always")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'"x"', b'{"state":{"status":"odd"}}', b'{"restart_count":"1"}', b'{"endpoints":[1]}'])
def test_a_broken_record_is_told(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match="broken record of a situation"):
        from_json(Situation, text)
