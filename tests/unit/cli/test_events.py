"""How `events` reads: Docker Compose's lines and objects, byte for byte where it has them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator

import pytest

from stackrun.api.stacks import Change
from stackrun.api.wire.stacks import change_from_json, change_to_json
from stackrun.cli.commands import events

TIME_NS = 1_795_531_485_165_395_380
START = Change(TIME_NS, "container", "start", "2f7c3b", "ev", "web", {"name": "ev-web-1", "image": "busybox:test", "a.b": "<c> & d"})
DECISION = Change(TIME_NS, "stack", "restarted", "Container ev-web-1", "ev", "web", {"by": "policy", "cause": "exited (1)"})


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(change: Change, **options: object) -> str:
    return events._line(change_to_json(change), argparse.Namespace(**{"json": False, "format": "text", "all": False, **options}))


def test_a_line_of_compose() -> None:
    assert shown(START) == "2026-11-24 14:44:45.165395 container start 2f7c3b (a.b=<c> & d, image=busybox:test, name=ev-web-1)"


def test_an_object_of_compose() -> None:
    """As `docker compose events --json` (5.0.2) printed it."""
    assert shown(START, json=True) == (
        '{"action":"start","attributes":{"a.b":"\\u003cc\\u003e \\u0026 d","image":"busybox:test","name":"ev-web-1"},'
        '"id":"2f7c3b","service":"web","time":"2026-11-24T14:44:45.16539538Z","type":"container"}'
    )


def test_decisions_are_lines_too_and_never_objects_of_compose() -> None:
    assert shown(DECISION) == "2026-11-24 14:44:45.165395 stack restarted Container ev-web-1 (by=policy, cause=exited (1))"
    assert shown(DECISION, all=True).endswith("(by=policy, cause=exited (1), project=ev)")
    assert shown(DECISION, json=True) == ""


def test_every_change_as_an_object() -> None:
    network = Change(TIME_NS, "network", "create", "n1", "ev", "", {"name": "ev_default"})
    assert shown(network) == shown(network, json=True) == ""
    for change in (START, DECISION, network):
        found = json.loads(shown(change, format="json"))
        assert found["project"] == "ev" and found["time"] == "2026-11-24T14:44:45.16539538Z"
        assert (found["type"], found["action"], found["attributes"]) == (change.type, change.action, dict(change.attributes))


def test_a_change_is_one_line() -> None:
    assert "\n" not in shown(Change(1, "stack", "died", "Container x", "ev", "x", {"detail": "a\nb\x1b"}))


def test_zones_and_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    assert events._rfc3339(1_795_531_485_000_000_000) == "2026-11-24T20:14:45+05:30"


def test_a_change_goes_there_and_back() -> None:
    assert change_from_json(change_to_json(DECISION)) == DECISION
