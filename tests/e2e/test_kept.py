"""A stack that is kept: disturbed from outside it comes back by itself, in the order of its graph, also with the next daemon."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import Machine

STACK = """
name: kept
services:
  db:
    image: busybox:test
    command: [sleep, "100000"]
    healthcheck: {test: [CMD, test, "!", -e, /tmp/sick], interval: 200ms, retries: 1, start_period: 2s, start_interval: 100ms}
    x-stackrun: {on_unhealthy: restart}
    stop_grace_period: 0s
  web:
    image: busybox:test
    command: [sleep, "100000"]
    depends_on: {db: {condition: service_healthy}}
    x-stackrun: {on_dependency: hold}
    stop_grace_period: 0s
  beside:
    image: busybox:test
    command: [sleep, "100000"]
    network_mode: service:db
    stop_grace_period: 0s
  lone:
    image: busybox:test
    command: [sleep, "100000"]
    stop_grace_period: 0s
  job:
    image: busybox:test
    command: ["true"]
    x-stackrun: {kind: job}
  once:
    image: busybox:test
    command: ["false"]
    restart: "no"
"""
Events = Iterator[dict[str, Any]]


@pytest.fixture(scope="module")
def stack(machine: Machine, busybox: str) -> Path:
    folder = machine.project("kept", STACK)
    machine.run("up", "-d", cwd=folder)
    return folder


def until(events: Events, *wanted: str) -> list[str]:
    """Reads events until all of these have been there, `start web`; gives all, in their order."""
    found: list[str] = []
    while not set(wanted) <= set(found):
        event = next(events)
        found.append(f"{event['Action']} {event['Actor']['Attributes'].get('com.docker.compose.service', '')}")
    return found


def pid(machine: Machine, service: str) -> int:
    found: int = machine.inspect(f"kept-{service}-1")["State"]["Pid"]
    return found


def why(machine: Machine, stack: Path, service: str) -> list[tuple[str, str, str]]:
    told = json.loads(machine.run("why", "--format", "json", service, cwd=stack).stdout)
    return [(one["by"], one["did"], one["cause"]) for one in told["decisions"]]


def test_a_killed_container_comes_back(machine: Machine, stack: Path) -> None:
    with machine.followed("type=container") as events:
        os.kill(pid(machine, "lone"), signal.SIGKILL)
        until(events, "die lone", "start lone")
    assert ("keep", "started", "exited (137)") in why(machine, stack, "lone")


def test_a_removed_one_is_made_again(machine: Machine, stack: Path) -> None:
    with machine.followed("type=container") as events:
        machine.docker("rm", "-f", "kept-lone-1")  # killed, then removed: nobody starts it in between
        until(events, "destroy lone", "create lone", "start lone")


def test_what_depends_on_it_is_held_and_what_shares_with_it_joins_it_again(machine: Machine, stack: Path) -> None:
    with machine.followed("type=container") as events:
        machine.docker("stop", "kept-db-1")
        happened = until(events, "start db", "die web", "start web", "start beside")
    order = [one for one in happened if one in ("die db", "die web", "start db", "health_status: healthy db", "start web")]
    assert order.index("die web") < order.index("start web")
    assert order.index("start db") < order.index("health_status: healthy db") < order.index("start web")
    assert os.readlink(f"/proc/{pid(machine, 'beside')}/ns/net") == os.readlink(f"/proc/{pid(machine, 'db')}/ns/net")


def test_an_unhealthy_one_is_restarted(machine: Machine, stack: Path) -> None:
    with machine.followed("type=container") as events:
        machine.docker("exec", "kept-db-1", "sh", "-c", "mount -o remount,rw / 2>/dev/null; touch /tmp/sick")
        until(events, "health_status: unhealthy db", "die db", "start db")
        machine.docker("exec", "kept-db-1", "rm", "/tmp/sick")
        until(events, "health_status: healthy db", "start web")
    assert any(by == "keep" and cause.startswith("unhealthy after") for by, _, cause in why(machine, stack, "db"))


def test_a_network_that_was_taken_away_comes_back(machine: Machine, stack: Path) -> None:
    with machine.followed("type=container") as events:
        for name in ("db", "web"):
            machine.docker("network", "disconnect", "-f", "kept_default", f"kept-{name}-1")
        until(events, "destroy db", "start db", "destroy web", "start web", "rename db", "rename web")
    for name in ("db", "web"):
        assert "kept_default" in machine.inspect(f"kept-{name}-1")["NetworkSettings"]["Networks"]


def test_what_is_done_and_what_may_end_stay_ended(machine: Machine, stack: Path) -> None:
    before = {name: machine.inspect(f"kept-{name}-1")["State"] for name in ("job", "once")}
    with machine.followed("type=container") as events:
        os.kill(pid(machine, "beside"), signal.SIGKILL)
        until(events, "start beside")
    assert {name: machine.inspect(f"kept-{name}-1")["State"] for name in ("job", "once")} == before
    assert (before["job"]["ExitCode"], before["once"]["ExitCode"]) == (0, 1)


def test_a_person_is_not_contradicted(machine: Machine, stack: Path) -> None:
    machine.run("stop", "beside", cwd=stack)
    with machine.followed("type=container") as events:
        os.kill(pid(machine, "lone"), signal.SIGKILL)
        until(events, "start lone")
    assert machine.inspect("kept-beside-1")["State"]["Status"] == "exited"
    assert "beside: stopped on purpose" in machine.run("keep", cwd=stack).stdout
    assert "kept is left alone" in machine.run("keep", "off", cwd=stack).stdout
    os.kill(pid(machine, "lone"), signal.SIGKILL)
    with machine.followed("type=container") as events:
        machine.run("start", "beside", cwd=stack)
        until(events, "start beside")
        assert machine.inspect("kept-lone-1")["State"]["Status"] == "exited"
        machine.run("keep", "on", cwd=stack)
        until(events, "start lone")


def test_the_next_daemon_keeps_it_too(machine: Machine, stack: Path) -> None:
    web = pid(machine, "web")
    machine.kill_daemon()
    os.kill(web, signal.SIGKILL)
    since_s = time.time()
    machine.run("ps", cwd=stack)
    with machine.followed("type=container", since_s=since_s) as events:
        until(events, "start web")


def test_after_a_reboot_it_comes_up_in_order(machine: Machine, stack: Path) -> None:
    """A reboot: every process is gone at once, and what the run directory held."""
    pids = [pid(machine, name) for name in ("db", "web", "beside")]
    shims = [int(Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[1]) for one in pids]
    machine.kill_daemon()
    for one in shims:
        os.kill(one, signal.SIGKILL)
    for one in pids:
        await_end(one)
    shutil.rmtree(machine.state / "run" / "c")
    since_s = time.time()
    machine.run("ps", cwd=stack)
    with machine.followed("type=container", since_s=since_s) as events:
        happened = until(events, "start beside", "start web", "health_status: healthy db")
    starts = [one for one in happened if one.startswith(("start", "health"))]
    assert starts.index("start db") < starts.index("health_status: healthy db") < starts.index("start web")
    assert machine.inspect("kept-once-1")["State"]["Status"] == "exited"


def await_end(pid: int) -> None:
    try:
        select.select([os.pidfd_open(pid)], [], [], 10)
    except ProcessLookupError:
        pass


def test_down_is_the_end(machine: Machine, stack: Path) -> None:
    machine.run("down", "-t", "0", cwd=stack)
    assert machine.containers() == []
    assert "is not up" in machine.run("keep", cwd=stack, code=1).stderr
