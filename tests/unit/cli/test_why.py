"""How `why` reads: one line for each container as it stands, one for each decision."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from stackrun.api.stacks import Decision, Reasons, Standing
from stackrun.api.wire.stacks import reasons_from_json, reasons_to_json
from stackrun.cli.commands.why import lines

NOW = time.mktime((2026, 11, 24, 15, 0, 0, 0, 0, -1))
AT_TWO = NOW - 3600
DECISION = Decision(AT_TWO, "web", "Container shop-web-1", "created", "missing")
STANDING = Standing("shop-web-1", "c1", "running", AT_TWO)


def told(*decisions: Decision, standing: tuple[Standing, ...] = ()) -> list[str]:
    return list(lines(reasons_to_json(Reasons("shop", "web", standing, decisions)), NOW))


def decision(**words: Any) -> str:
    return told(replace(DECISION, **words))[-1]


def standing(**words: Any) -> str:
    return told(standing=(replace(STANDING, **words),))[0]


def test_decisions() -> None:
    assert decision() == "14:00:00 created by up: missing"
    assert decision(time_s=AT_TWO - 86400) == "2026-11-23 14:00:00 created by up: missing"
    assert decision(did="removed", cause="down", by="down") == "14:00:00 removed by down"
    assert decision(did="died", by="itself", cause="exited (1)", detail="ran 3s; last log: no") == (
        "14:00:00 died: exited (1); ran 3s; last log: no"
    )
    assert decision(did="restarted", by="policy", cause="exited (1)", times=12, since_s=AT_TWO - 60) == (
        "14:00:00 restarted by policy: exited (1) (x12 since 13:59:00)"
    )


def test_nothing_that_was_printed_moves_the_cursor() -> None:
    assert decision(detail="a\x1b[2J\nb\r") == "14:00:00 created by up: missing; a\\x1b[2J b\\r"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, "runs since 14:00:00"),
        ({"health": "healthy"}, "runs since 14:00:00, healthy"),
        ({"health": "unhealthy", "probe": "exit code 1: no"}, "runs since 14:00:00, unhealthy (last probe: exit code 1: no)"),
        (
            {"restart_policy": "on-failure:3", "restart_count": 1},
            "runs since 14:00:00; restarted once by its policy on-failure:3",
        ),
        ({"status": "exited", "exit_code": 3}, "exited (3) at 14:00:00"),
        ({"status": "exited", "exit_code": 137, "oom_killed": True}, "exited (137) for want of memory at 14:00:00"),
        ({"status": "exited", "exit_code": 127, "error": "no such file"}, "exited (127) at 14:00:00: no such file"),
        ({"status": "created", "since_s": 0.0, "error": "port 80/tcp is taken"}, "has never run: port 80/tcp is taken"),
        (
            {"status": "created", "since_s": 0.0, "waits": ("db to be healthy (it has no container)", "mq to be started (it exited (1))")},
            "has not been started; waits for db to be healthy (it has no container), mq to be started (it exited (1))",
        ),
        ({"status": "paused"}, "is paused"),
        (
            {"status": "restarting", "exit_code": 1, "waits": ("its restart by policy",), "restart_policy": "always", "restart_count": 7},
            "exited (1) at 14:00:00; waits for its restart by policy; restarted 7 times by its policy always",
        ),
    ],
)
def test_how_a_container_stands(words: dict[str, Any], expected: str) -> None:
    assert standing(**words) == f"shop-web-1 {expected}"


def test_a_service_without_containers() -> None:
    assert told(DECISION) == ["web has no container", "14:00:00 created by up: missing"]


def test_the_document_goes_there_and_back() -> None:
    reasons = Reasons("shop", "web", (replace(STANDING, waits=("x",)),), (replace(DECISION, times=3, since_s=1.5),), ("partial",))
    assert reasons_to_json(reasons)["version"] == 1
    assert reasons_from_json(reasons_to_json(reasons)) == reasons
