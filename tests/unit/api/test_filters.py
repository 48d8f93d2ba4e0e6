from __future__ import annotations

from dataclasses import replace

import pytest

from stackrun.api import filters
from stackrun.api.filters import event_matches, parse, select_containers, select_images, select_networks, select_volumes
from stackrun.api.types import (
    Container,
    ContainerSpec,
    ContainerState,
    Endpoint,
    Event,
    Filters,
    Health,
    HealthStatus,
    Image,
    ImageConfig,
    MountPoint,
    MountType,
    Network,
    NetworkMember,
    NetworkSpec,
    PublishedPort,
    Status,
    Volume,
)
from stackrun.errors import InvalidArgument, NotFound

IMAGE = Image("sha256:" + "e" * 64, ImageConfig(labels={"kind": "db"}), ("postgres:15",))


def container(name: str, digit: str, **changes: object) -> Container:
    made = Container(
        digit * 64, name, "2026-01-01T00:00:00Z", "sh", (), IMAGE.id, ContainerSpec("postgres:15", labels={"app": name}),
        ContainerState(Status.RUNNING),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


WEB = container(
    "web", "a",
    endpoints=(Endpoint("back", "f" * 64),), ports=(PublishedPort(80, "tcp", "0.0.0.0", 8080), PublishedPort(53, "udp")),
    mounts=(MountPoint(MountType.VOLUME, "/data", "/var/x", "data"),),
    state=ContainerState(Status.RUNNING, health=Health(HealthStatus.HEALTHY)),
)  # fmt: skip
DB = container("db", "b", state=ContainerState(Status.EXITED, exit_code=3), image_id="sha256:" + "d" * 64, spec=ContainerSpec("redis:7"))
OLD = container("web-old", "c", state=ContainerState())
ALL = (WEB, DB, OLD)


def names(terms: dict[str, tuple[str, ...]], *, all: bool = True) -> list[str]:
    return [one.name for one in select_containers(ALL, Filters(terms), all=all, images=(IMAGE,))]


@pytest.mark.parametrize(
    ("terms", "chosen"),
    [
        ({}, ["web", "db", "web-old"]),
        ({"name": ("web",)}, ["web", "web-old"]),
        ({"name": ("^/web$",)}, ["web"]),
        ({"name": ("(",)}, []),
        ({"id": ("aaaa",)}, ["web"]),
        ({"label": ("app=web",)}, ["web"]),
        ({"label": ("app", "app=web")}, ["web"]),
        ({"status": ("exited", "created")}, ["db", "web-old"]),
        ({"exited": ("3",)}, ["db"]),
        ({"health": ("healthy",)}, ["web"]),
        ({"health": ("none",)}, ["db", "web-old"]),
        ({"network": ("back",)}, ["web"]),
        ({"network": ("f" * 12,)}, ["web"]),
        ({"volume": ("data",)}, ["web"]),
        ({"volume": ("/data",)}, ["web"]),
        ({"publish": ("8080",)}, ["web"]),
        ({"publish": ("8000-9000/tcp",)}, ["web"]),
        ({"expose": ("53/udp",)}, ["web"]),
        ({"expose": ("53/tcp",)}, []),
        ({"ancestor": ("postgres:15",)}, ["web", "web-old"]),
        ({"ancestor": ("e" * 12,)}, ["web", "web-old"]),
        ({"ancestor": ("redis:7",)}, ["db"]),
        ({"before": ("db",)}, ["web-old"]),
        ({"since": ("db",)}, ["web"]),
        ({"before": ("web",), "since": ("web-old",)}, ["db"]),
    ],
)
def test_containers_are_chosen(terms: dict[str, tuple[str, ...]], chosen: list[str]) -> None:
    assert names(terms) == chosen


def test_only_what_runs_is_listed_unless_a_filter_asks_about_states() -> None:
    assert names({}, all=False) == ["web"]
    assert names({"status": ("exited",)}, all=False) == ["db"]


@pytest.mark.parametrize(
    ("terms", "complaint"),
    [
        ({"foo": ("x",)}, "invalid filter 'foo'"),
        ({"status": ("asleep",)}, "invalid filter 'status=asleep'"),
        ({"health": ("fine",)}, "health: fine"),
        ({"exited": ("x",)}, "invalid filter 'exited=x'"),
        ({"publish": ("http",)}, "invalid port filter"),
        ({"is-task": ("maybe",)}, "invalid filter 'is-task=maybe'"),
    ],
)
def test_nonsense_is_refused(terms: dict[str, tuple[str, ...]], complaint: str) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        names(terms)


def test_a_reference_point_must_exist() -> None:
    with pytest.raises(NotFound, match="No such container: nope"):
        names({"before": ("nope",)})


def test_both_spellings_of_a_query_are_read() -> None:
    go, python = parse('{"label":{"a=b":true,"c":false}}'), parse('{"label":["a=b"]}')
    assert go == python == Filters({"label": ("a=b",)})
    assert filters.to_json(go) == {"label": {"a=b": True}}
    assert filters.to_json(parse("")) is None
    for wrong in ("{", "[]", '{"label":"a"}'):
        with pytest.raises(InvalidArgument, match="invalid filter"):
            parse(wrong)


@pytest.mark.parametrize("written", ["1", "true", "True"])
def test_booleans_come_in_every_spelling(written: str) -> None:
    dangling = replace(IMAGE, id="sha256:" + "1" * 64, repo_tags=())
    assert select_images((IMAGE, dangling), Filters({"dangling": (written,)})) == (dangling,)


def test_images_are_chosen() -> None:
    other = Image("sha256:" + "1" * 64, ImageConfig(), ("r.example/team/app:2", "app:2"))
    both = (IMAGE, other)
    assert select_images(both, Filters({"reference": ("postgres",)})) == (IMAGE,)
    assert select_images(both, Filters({"reference": ("r.example/*/app:*",)})) == (other,)
    assert select_images(both, Filters({"reference": ("*:2",)})) == (other,)
    assert select_images(both, Filters({"label": ("kind=db",)})) == (IMAGE,)
    assert select_images(both, Filters({"since": ("app:2",)})) == (IMAGE,)
    assert select_images(both, Filters({"dangling": ("false",)})) == both


def test_networks_are_chosen() -> None:
    bridge = Network("0" * 64, "", NetworkSpec("bridge"))
    back = Network("1" * 64, "", NetworkSpec("back", labels={"a": "b"}), (NetworkMember("c", "web", "", "", ""),))
    idle = Network("2" * 64, "", NetworkSpec("idle"))
    every = (bridge, back, idle)
    assert select_networks(every, Filters({"type": ("custom",)})) == (back, idle)
    assert select_networks(every, Filters({"type": ("builtin",)})) == (bridge,)
    assert select_networks(every, Filters({"dangling": ("1",)})) == (idle,)
    assert select_networks(every, Filters({"label": ("a",)})) == (back,)
    assert select_networks(every, Filters({"name": ("^back$",)})) == (back,)
    with pytest.raises(InvalidArgument, match="'type'='x'"):
        select_networks(every, Filters({"type": ("x",)}))


def test_volumes_are_chosen() -> None:
    data, spare = Volume("data", "/x", ""), Volume("spare", "/y", "", labels={"a": "b"})
    assert select_volumes((data, spare), Filters({"dangling": ("true",)}), used=frozenset({"data"})) == (spare,)
    assert select_volumes((data, spare), Filters({"label": ("a=b",)})) == (spare,)


@pytest.mark.parametrize(
    ("terms", "kept"),
    [
        ({}, True),
        ({"type": ("container",)}, True),
        ({"type": ("network",)}, False),
        ({"event": ("exec_create",)}, True),
        ({"event": ("die",)}, False),
        ({"container": ("web",)}, True),
        ({"container": ("a" * 12,)}, True),
        ({"container": ("db",)}, False),
        ({"image": ("postgres:15",)}, True),
        ({"label": ("app=web",)}, True),
        ({"network": ("back",)}, False),
    ],
)
def test_events_are_chosen(terms: dict[str, tuple[str, ...]], kept: bool) -> None:
    event = Event("container", "exec_create: sh", "a" * 64, {"name": "web", "image": "postgres:15", "app": "web"})
    assert event_matches(event, Filters(terms)) is kept


def test_a_networks_event_is_also_about_its_container() -> None:
    event = Event("network", "connect", "n" * 64, {"name": "back", "container": "a" * 64})
    assert event_matches(event, Filters({"container": ("a" * 64,)}))
    assert event_matches(event, Filters({"network": ("back",)}))
