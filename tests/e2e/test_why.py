"""`why` and `events` as a user runs them: what happened to containers, what was decided, and that it outlives the daemon."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dockerd import COMPOSE
from machine import Machine

STACK = """
name: told
services:
  web:
    image: busybox:test
    command: [sh, -c, "echo serving; exec sleep 100000"]
    stop_grace_period: 0s
    labels: {a.b: "<c>"}
  db:
    image: busybox:test
    command: [sleep, "100000"]
    stop_grace_period: 0s
    healthcheck: {test: [CMD-SHELL, "test ! -e /tmp/sick || { echo refused; exit 3; }"], interval: 100ms, retries: 2}
  loop:
    image: busybox:test
    command: [sh, -c, "echo no way; exit 7"]
    restart: always
"""
Change = dict[str, Any]


@pytest.fixture(scope="module")
def stack(machine: Machine, busybox: str) -> Path:
    folder = machine.project("told", STACK)
    machine.run("up", "-d", cwd=folder)
    return folder


@contextmanager
def followed(machine: Machine, folder: Path, *arguments: str) -> Iterator[Iterator[Change]]:
    """`events --format json`, each change within 20 s; it listens when this has begun."""
    with machine.start("events", "--format", "json", *arguments, cwd=folder, bufsize=0) as told:
        assert told.stdout
        try:
            yield changes(told.stdout.fileno())
        finally:
            told.kill()


def changes(fd: int) -> Iterator[Change]:
    held = b""
    while True:
        while b"\n" not in held:
            ready, _, _ = select.select([fd], [], [], 20)
            assert ready, "nothing happened in 20 s"
            part = os.read(fd, 65536)
            assert part, "the events have ended"
            held += part
        line, _, held = held.partition(b"\n")
        yield json.loads(line)


def wait_for(machine: Machine, folder: Path, action: str, service: str, count: int = 1) -> Change:
    """Until the stack's own history has it."""
    with followed(machine, folder, "--since", "1h", service) as told:
        found = (one for one in told if (one["type"], one["action"], one["service"]) == ("stack", action, service))
        for _ in range(count):
            change = next(found)
        return change


def why(machine: Machine, *arguments: str, cwd: Path | None = None) -> list[str]:
    return machine.run("why", *arguments, cwd=cwd).stdout.splitlines()


def kill(machine: Machine, name: str) -> None:
    os.kill(machine.inspect(name)["State"]["Pid"], signal.SIGKILL)


def test_an_up_is_remembered(machine: Machine, stack: Path) -> None:
    standing, created = why(machine, "web", cwd=stack)
    assert re.fullmatch(r"told-web-1 runs since \d\d:\d\d:\d\d", standing)
    assert re.fullmatch(r"\d\d:\d\d:\d\d created by up: missing", created)


def test_a_container_that_is_killed_from_outside(machine: Machine, stack: Path) -> None:
    kill(machine, "told-web-1")
    died = wait_for(machine, stack, "died", "web")
    assert died["attributes"]["cause"] == "exited (137), as SIGKILL ends it"
    assert died["attributes"]["detail"].endswith("; last log: serving")
    assert any("died: exited (137), as SIGKILL ends it" in line for line in why(machine, "web", cwd=stack))


def test_a_health_check_that_fails(machine: Machine, stack: Path) -> None:
    wait_for(machine, stack, "became healthy", "db")
    machine.run("exec", "-T", "db", "touch", "/tmp/sick", cwd=stack)
    sick = wait_for(machine, stack, "became unhealthy", "db")
    assert sick["attributes"] == {"by": "itself", "cause": "2 probes failed", "detail": "exit code 3: refused"}
    assert "unhealthy (last probe: exit code 3: refused)" in why(machine, "db", cwd=stack)[0]


def test_a_restart_loop_is_counted(machine: Machine, stack: Path) -> None:
    wait_for(machine, stack, "restarted", "loop", 3)
    found = json.loads(machine.run("why", "loop", "--format", "json", cwd=stack).stdout)
    restarts = [one for one in found["decisions"] if one["did"] == "restarted"]
    assert sum(one["times"] for one in restarts) >= 3 > len(restarts)
    assert {(one["by"], one["cause"]) for one in restarts} == {("policy", "exited (7)")}
    assert found["containers"][0]["restart_policy"] == "always" and "no way" in restarts[-1]["detail"]


def test_the_history_outlives_a_daemon_that_is_killed_and_has_what_happened_meanwhile(machine: Machine, stack: Path) -> None:
    before = why(machine, "web", cwd=stack)[1:]
    pid = machine.inspect("told-db-1")["State"]["Pid"]
    machine.kill_daemon()
    process = os.pidfd_open(pid)
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [], 10)
    os.close(process)
    assert why(machine, "web", cwd=stack)[1:][: len(before)] == before
    assert wait_for(machine, stack, "died", "db")["attributes"]["cause"] == "exited (137), as SIGKILL ends it"


def test_events_of_before_a_restart_are_the_same_lines_after_it(machine: Machine, stack: Path) -> None:
    machine.run("up", "-d", cwd=stack)
    machine.docker("pause", "told-web-1")
    machine.docker("unpause", "told-web-1")
    kill(machine, "told-web-1")
    wait_for(machine, stack, "died", "web")
    machine.run("stop", "loop", cwd=stack)  # or its count goes on
    span = ("--since", "1h", "--until", f"{time.time():.6f}")
    asked = [("events", *form, *span) for form in ((), ("--json",), ("--format", "json"))]
    before = [machine.run(*one, cwd=stack).stdout for one in asked]
    assert '"type": "network", ' in before[2] and "container unpause" in before[0] and "container die" in before[0]
    docker = ("events", *span, "--format", "json", "--filter", "label=com.docker.compose.project=told")
    told = machine.docker(*docker).stdout
    assert len(told.splitlines()) > 10
    machine.run("daemon", "stop")
    assert [machine.run(*one, cwd=stack).stdout for one in asked] == before
    wait_for(machine, stack, "started", "web")
    machine.kill_daemon()
    assert [machine.run(*one, cwd=stack).stdout for one in asked] == before
    assert machine.docker(*docker).stdout == told


def test_what_others_do_over_the_api(machine: Machine, stack: Path) -> None:
    machine.run("up", "-d", cwd=stack)
    machine.docker("stop", "-t", "0", "told-web-1")
    stopped = wait_for(machine, stack, "stopped", "web")
    assert stopped["attributes"]["by"] == "outside" and "SIGTERM" in stopped["attributes"]["cause"]


def test_events_see_every_change_of_a_down_and_an_up(machine: Machine, stack: Path) -> None:
    machine.run("down", cwd=stack)
    began = f"{time.time():.6f}"
    machine.run("up", "-d", cwd=stack)
    machine.run("down", cwd=stack)
    lines = machine.run("events", "--format", "json", "--since", began, "--until", "0s", cwd=stack).stdout.splitlines()
    seen = [(one["type"], one["action"], one["attributes"].get("name", one["id"])) for one in map(json.loads, lines)]
    for service in ("web", "db", "loop"):
        name = f"told-{service}-1"
        happened = [action for kind, action, about in seen if kind == "container" and about == name]
        assert happened[:2] == ["create", "start"] and happened[-1] == "destroy" and "die" in happened
        assert {("stack", "created", f"Container {name}"), ("stack", "removed", f"Container {name}")} <= set(seen)
    assert {("stack", "created", "Network told_default"), ("stack", "removed", "Network told_default")} <= set(seen)


def test_they_come_as_they_happen(machine: Machine, stack: Path) -> None:
    with followed(machine, stack, "--since", f"{time.time():.6f}") as told:
        machine.run("up", "-d", cwd=stack)
        first = next(told)
        assert (first["type"], first["action"], first["attributes"]["name"]) == ("network", "create", "told_default")
        while next(told)["id"] != "Container told-loop-1":
            pass


def test_events_json_is_what_docker_compose_prints(machine: Machine, stack: Path) -> None:
    """Both read one engine's memory of the same minutes."""
    environment = {**machine.environment, "DOCKER_HOST": machine.host}
    arguments = ["events", "--json", "--since", "1h", "--until", f"{time.time():.6f}", "web", "db"]
    command = [COMPOSE, *arguments]
    theirs = subprocess.run(command, cwd=stack, env=environment, capture_output=True, text=True, timeout=60, check=False).stdout
    assert theirs.count('"action":"start"') >= 2
    assert machine.run(*arguments, cwd=stack).stdout == theirs


def test_plain_lines_are_those_of_docker_compose(machine: Machine, stack: Path) -> None:
    lines = machine.run("events", "--since", "1h", "--until", "0s", "web", cwd=stack).stdout.splitlines()
    starts = [line for line in lines if " container start " in line]
    assert re.fullmatch(
        r"[\d-]{10} [\d:]{8}\.\d{6} container start [0-9a-f]{64} \(a\.b=<c>, image=busybox:test, name=told-web-1\)", starts[-1]
    )
    assert any(" stack created Container told-web-1 (by=up, cause=missing)" in line for line in lines)


def test_without_a_stack_file_and_after_down(machine: Machine, stack: Path) -> None:
    machine.run("down", cwd=stack)
    lines = why(machine, "-p", "told", "web")
    assert lines[0] == "web has no container" and lines[-1].endswith("removed by down")
    assert "no such service: nope" in machine.run("-p", "told", "why", "nope", code=1).stderr
    assert machine.run("events", "--all", "--since", "1h", "--until", "0s").stdout.count("project=told") > 10


SLOW = """
name: slow
services:
  db:
    image: busybox:test
    command: [sleep, "100000"]
    stop_grace_period: 0s
    healthcheck: {test: [CMD, test, -e, /tmp/well], interval: 100ms, retries: 100000}
  web:
    image: busybox:test
    command: [sleep, "100000"]
    stop_grace_period: 0s
    depends_on: {db: {condition: service_healthy}}
"""


def test_what_an_up_has_decided_is_told_before_it_is_over_and_outlives_a_kill(machine: Machine, busybox: str) -> None:
    folder = machine.project("slow", SLOW)
    with machine.start("up", "-d", cwd=folder) as up:
        waiting = wait_for(machine, folder, "waiting", "web")
        assert (waiting["id"], waiting["attributes"]["cause"]) == ("Container slow-web-1", "for db to be healthy")
        assert why(machine, "db", cwd=folder)[-1].endswith("created by up: missing")
        assert "waits for db to be healthy" in why(machine, "web", cwd=folder)[0]
        machine.kill_daemon()
        up.wait(timeout=20)
    assert any(line.endswith("created by up: missing") for line in why(machine, "db", cwd=folder))
    assert why(machine, "web", cwd=folder)[-1].endswith("waiting by up: for db to be healthy")
    machine.run("exec", "-T", "db", "touch", "/tmp/well", cwd=folder)
    machine.run("up", "-d", cwd=folder)
    assert why(machine, "web", cwd=folder)[-1].endswith("started by up: is created")
    machine.run("down", cwd=folder)
