"""The same command line on a real Docker host: our reconciler, their engine."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerd import Dockerd
from free_ports import free_port
from machine import Machine, busybox_tar

STACK = """
name: abroad
services:
  a:
    image: busybox:test
    command: [sh, -c, "echo from a; exec sleep 100000"]
    healthcheck: {test: [CMD, "true"], interval: 1s}
    stop_grace_period: 0s
    volumes: ["data:/data"]
  b:
    image: busybox:test
    command: [sleep, "100000"]
    stop_grace_period: 0s
    depends_on: {a: {condition: service_healthy}}
volumes:
  data: {}
"""


@pytest.fixture(scope="module")
def dockerd(machine: Machine) -> Iterator[Dockerd]:
    made = Dockerd()
    made.docker("import", str(busybox_tar(machine.root)), "busybox:test")
    yield made
    made.close()


@pytest.fixture(scope="module")
def stack(machine: Machine, dockerd: Dockerd) -> Path:
    folder = machine.project("abroad", STACK)
    machine.run("-H", dockerd.host, "up", "-d", cwd=folder)
    return folder


def containers(dockerd: Dockerd) -> dict[str, str]:
    lines = dockerd.docker("ps", "-a", "--no-trunc", "--format", "{{json .}}").splitlines()
    return {one["Names"]: one["ID"] for one in map(json.loads, lines)}


def test_the_stack_is_up_there_and_no_engine_of_ours_was_started(machine: Machine, dockerd: Dockerd, stack: Path) -> None:
    assert set(containers(dockerd)) == {"abroad-a-1", "abroad-b-1"}
    assert not machine.state.exists()


def test_a_second_up_does_nothing(machine: Machine, dockerd: Dockerd, stack: Path) -> None:
    before = containers(dockerd)
    machine.run("-H", dockerd.host, "up", "-d", cwd=stack)
    assert containers(dockerd) == before


def test_docker_compose_sees_it_as_its_own(dockerd: Dockerd, stack: Path) -> None:
    assert "abroad-a-1" in dockerd.compose("ps", cwd=stack).stdout


def test_logs_exec_and_ps(machine: Machine, dockerd: Dockerd, stack: Path) -> None:
    assert "from a" in machine.run("-H", dockerd.host, "logs", "a", cwd=stack).stdout
    assert machine.run("-H", dockerd.host, "exec", "-T", "a", "sh", "-c", "echo in; exit 4", cwd=stack, code=4).stdout == "in\n"
    assert "(healthy)" in machine.run("-H", dockerd.host, "ps", cwd=stack).stdout


def test_why_and_events_tell_what_can_be_known_here(machine: Machine, dockerd: Dockerd, stack: Path) -> None:
    pid = int(dockerd.docker("inspect", "--format", "{{.State.Pid}}", "abroad-b-1"))
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([process], [], [], 10)
    os.close(process)
    dockerd.docker("wait", "abroad-b-1")
    told = machine.run("-H", dockerd.host, "why", "b", cwd=stack)
    assert told.stderr.startswith("note: nobody of ours watches this engine")
    standing, *history = told.stdout.splitlines()
    assert standing.startswith("abroad-b-1 exited (137)")
    assert [line.partition(" ")[2] for line in history] == ["created by up: missing", history[-1].partition(" ")[2]]
    assert "died: exited (137), as SIGKILL ends it" in history[-1]
    events = machine.run("-H", dockerd.host, "events", "--since", "1h", "--until", "0s", "b", cwd=stack).stdout
    assert " container die " in events and " stack created Container abroad-b-1 (by=up, cause=missing)" in events


def test_down_v_removes_everything(machine: Machine, dockerd: Dockerd, stack: Path) -> None:
    machine.run("-H", dockerd.host, "down", "-v", cwd=stack)
    assert not containers(dockerd)
    assert "abroad" not in dockerd.docker("volume", "ls", "-q") + dockerd.docker("network", "ls", "--format", "{{.Name}}")


def test_start_first_with_a_published_port_is_stop_first_there_and_said_so(machine: Machine, dockerd: Dockerd) -> None:
    text = """
name: abroad
services:
  a:
    image: busybox:test
    init: true
    command: [sleep, "{version}"]
    ports: ["{port}:80"]
    deploy: {{update_config: {{order: start-first}}}}
"""
    port = free_port()
    folder = machine.project("abroad", text.format(version="100001", port=port))
    machine.run("-H", dockerd.host, "up", "-d", cwd=folder)
    before = containers(dockerd)
    machine.project("abroad", text.format(version="100002", port=port))
    told = machine.run("-H", dockerd.host, "up", "-d", cwd=folder).stderr
    assert "this engine gives a published port to one container at a time: it is replaced stop-first" in told
    after = containers(dockerd)
    assert list(after) == list(before) == ["abroad-a-1"] and after != before
    machine.run("-H", dockerd.host, "down", cwd=folder)


BUILT = """
name: builtabroad
services:
  web:
    build: {context: ./web, args: [WHO=me]}
    command: [sleep, "100000"]
    stop_grace_period: 0s
"""


def test_images_are_built_there(machine: Machine, dockerd: Dockerd) -> None:
    dockerfile = "FROM busybox:test\nARG WHO\nCOPY . /app\nRUN echo $WHO > /made\n"
    folder = machine.project("builtabroad", BUILT, {"web/Dockerfile": dockerfile, "web/a.txt": "one", "web/.dockerignore": "*.log\n"})
    up = ("-H", dockerd.host, "up", "-d")
    assert "Image builtabroad-web  Built" in machine.run(*up, cwd=folder).stderr
    assert dockerd.docker("exec", "builtabroad-web-1", "sh", "-c", "cat /made /app/a.txt") == "me\none"
    before = containers(dockerd)["builtabroad-web-1"]
    (folder / "web" / "x.log").write_text("ignored")
    assert "Building" not in machine.run(*up, cwd=folder).stderr and containers(dockerd)["builtabroad-web-1"] == before
    (folder / "web" / "a.txt").write_text("two")
    assert "build context changed (1 file: a.txt)" in machine.run("-H", dockerd.host, "plan", cwd=folder).stdout
    machine.run(*up, cwd=folder)
    assert dockerd.docker("exec", "builtabroad-web-1", "cat", "/app/a.txt") == "two"
    (folder / "web" / "Dockerfile").write_text(dockerfile + "RUN echo no; exit 3\n")
    failed = machine.run(*up, cwd=folder, code=None)
    assert failed.returncode and "web/Dockerfile:5: RUN echo no; exit 3: " in failed.stderr and "  no\n" in failed.stderr
    (folder / "web" / "Dockerfile").unlink()
    (folder / "compose.yaml").write_text(BUILT.replace("context: ./web", "context: ./web, dockerfile: ../other"))
    (folder / "other").write_text(dockerfile.replace("/app", "/other"))
    machine.run(*up, cwd=folder)
    assert dockerd.docker("exec", "builtabroad-web-1", "ls", "-A", "/other") == ".dockerignore\na.txt\n"
    machine.run("-H", dockerd.host, "down", cwd=folder)
