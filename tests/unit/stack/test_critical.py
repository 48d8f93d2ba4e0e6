"""Waves, bounds and the critical path, of stacks as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.load import load
from stackrun.errors import NotFound
from stackrun.stack.critical import Start, plain_s, start_of
from stackrun.stack.graph import longest_path

SHOP = """
name: shop
services:
  db: {image: db:1, healthcheck: {test: probe, interval: 5s, start_period: 20s}}
  cache: {image: cache:1}
  migrate: {image: app:1, depends_on: {db: {condition: service_healthy}}}
  api:
    image: app:1
    scale: 2
    links: [cache]
    depends_on:
      db: {condition: service_healthy, restart: true}
      migrate: {condition: service_completed_successfully}
    healthcheck: {test: probe, retries: 4}
  proxy: {image: proxy:1, depends_on: {api: {condition: service_healthy, required: false}}}
  sidecar: {image: side:1, network_mode: "service:cache", volumes_from: ["db:ro"]}
  debug: {image: debug:1, profiles: [debug], depends_on: [proxy]}
"""


def start(directory: Path, text: str = SHOP, *wanted: str, profiles: tuple[str, ...] = ()) -> Start:
    (directory / "compose.yaml").write_text(text, encoding="utf-8")
    return start_of(load(StackSource(str(directory), profiles=profiles), for_up=False), wanted)


def test_waves_are_what_starts_together(tmp_path: Path) -> None:
    assert start(tmp_path).waves == (("cache", "db"), ("migrate", "sidecar"), ("api",), ("proxy",))


def test_a_service_of_a_profile_is_there_when_it_is_enabled(tmp_path: Path) -> None:
    assert start(tmp_path, profiles=("debug",)).waves[-1] == ("debug",)


def test_implied_edges_tell_the_key_that_implies_them(tmp_path: Path) -> None:
    found = {(wait.edge.source, wait.edge.target): wait.edge for wait in start(tmp_path).waits}
    assert {ends: edge.reason for ends, edge in found.items() if edge.reason != "depends_on"} == {
        ("api", "cache"): "links",
        ("sidecar", "cache"): "network_mode",
        ("sidecar", "db"): "volumes_from",
    }
    assert found["sidecar", "cache"].restart and not found["proxy", "api"].required and found["api", "db"].restart


def test_a_healthy_wait_is_bounded_by_the_healthcheck(tmp_path: Path) -> None:
    waits = {(wait.edge.source, wait.edge.target): wait for wait in start(tmp_path).waits}
    assert (waits["migrate", "db"].seconds, waits["migrate", "db"].why) == (35.0, "start_period 20s + 3 × interval 5s")
    assert (waits["proxy", "api"].seconds, waits["proxy", "api"].why) == (120.0, "4 × interval 30s")
    assert (waits["api", "cache"].seconds, waits["api", "cache"].open) == (0.0, False)
    assert waits["api", "migrate"].open and waits["api", "migrate"].seconds == 0.0


def test_the_critical_path_is_the_longest_chain_of_waits(tmp_path: Path) -> None:
    path = start(tmp_path).critical
    assert path.services == ("db", "migrate", "api", "proxy")
    assert path.seconds == 35.0 + 0.0 + 120.0 and path.open_on == ("migrate",)


def test_when_each_service_starts_at_the_latest(tmp_path: Path) -> None:
    told = {node.name: (node.starts_s, node.open, node.replicas) for node in start(tmp_path).nodes}
    assert told["migrate"] == (35.0, False, 1) and told["api"] == (35.0, True, 2) and told["proxy"] == (155.0, True, 1)


def test_an_open_wait_beside_the_path_is_told_too(tmp_path: Path) -> None:
    text = """
    services:
      job: {image: x}
      db: {image: x, healthcheck: {test: probe}}
      web: {image: x, depends_on: {job: {condition: service_completed_successfully}, db: {condition: service_healthy}}}
      own: {image: x, depends_on: {image-checked: {condition: service_healthy}}}
      image-checked: {image: x}
    """
    path = start(tmp_path, text).critical
    assert path.services == ("db", "web") and path.open_on == ("job",)
    (wait,) = [wait for wait in start(tmp_path, text).waits if wait.edge.source == "own"]
    assert wait.open and wait.why == "its healthcheck is the image's own"


def test_services_named_bring_what_they_need(tmp_path: Path) -> None:
    found = start(tmp_path, SHOP, "migrate", "sidecar")
    assert [node.name for node in found.nodes] == ["cache", "db", "migrate", "sidecar"]
    assert {wait.edge.source for wait in found.waits} == {"migrate", "sidecar"}


@pytest.mark.parametrize(
    ("name", "hint"), [("nosuch", "the services are api, cache"), ("debug", "it belongs to profile debug: add --profile")]
)
def test_a_service_that_is_not_there(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        start(tmp_path, SHOP, name)
    assert name in caught.value.message and hint in caught.value.hint


def test_nothing_to_start(tmp_path: Path) -> None:
    found = start(tmp_path, "services: {}\n")
    assert found.waves == () and found.nodes == () and found.critical.services == () and found.critical.seconds == 0


def test_without_waiting_for_health_the_longer_chain_is_critical(tmp_path: Path) -> None:
    text = "services: {a: {image: x}, b: {image: x, depends_on: [a]}, c: {image: x, depends_on: [b]}, z: {image: x, depends_on: [a]}}"
    assert start(tmp_path, text).critical.services == ("a", "b", "c")


def test_of_equal_paths_it_is_always_the_same() -> None:
    assert longest_path("dcba", {("a", "c"): 5, ("b", "c"): 5, ("a", "d"): 5}) == ("a", "c")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.5, "0.5s"), (59, "59s"), (60, "1m"), (95, "1m35s"), (3600, "1h"), (3665, "1h1m5s")]
)
def test_seconds_as_people_say_them(seconds: float, text: str) -> None:
    assert plain_s(seconds) == text
