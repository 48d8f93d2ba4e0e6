"""A small stack through its life: up, nothing to do, one change, scale, orphans, stop, start, down."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from free_ports import free_port
from machine import Machine, http_get

STACK = """
name: life
services:
  web:
    image: busybox:test
    command: [httpd, -f, -p, "80", -h, /www]
    volumes: ["./www:/www:ro"]
    ports: ["127.0.0.1:{port}:80"]
    depends_on:
      store: {{condition: service_healthy}}
      prepare: {{condition: service_completed_successfully}}
      side: {{condition: service_started}}
  store:
    image: busybox:test
    command: [sh, -c, "touch /data/ready && exec sleep 100000"]
    volumes: ["data:/data"]
    healthcheck: {{test: [CMD, test, -f, /data/ready], interval: 1s, start_interval: 200ms, start_period: 5s}}
  prepare:
    image: busybox:test
    command: [sh, -c, "echo prepared"]
    depends_on: [store]
  side:
    image: busybox:test
    command: [sleep, "{side}"]
    stop_grace_period: 0s
volumes:
  data: {{}}
"""


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(machine: Machine, busybox: str, port: int) -> Path:
    folder = machine.project("life", STACK.format(port=port, side=100000), {"www/index.html": "hello\n"})
    machine.run("up", "-d", "--wait", cwd=folder)
    return folder


def ids(machine: Machine) -> dict[str, str]:
    return {one["Names"]: one["ID"] for one in machine.containers()}


def test_up_starts_everything_in_the_order_of_the_graph(machine: Machine, stack: Path, port: int) -> None:
    assert http_get(f"http://127.0.0.1:{port}/") == "hello\n"
    assert set(ids(machine)) == {"life-web-1", "life-store-1", "life-prepare-1", "life-side-1"}
    started = {name: machine.inspect(f"life-{name}-1")["State"] for name in ("web", "store", "prepare", "side")}
    assert started["prepare"]["ExitCode"] == 0 and started["prepare"]["Status"] == "exited"
    assert started["web"]["StartedAt"] > started["prepare"]["FinishedAt"] > started["store"]["StartedAt"]
    assert started["store"]["Health"]["Status"] == "healthy"


def test_a_second_up_does_nothing(machine: Machine, stack: Path) -> None:
    before = ids(machine)
    started = machine.inspect("life-prepare-1")["State"]["StartedAt"]
    machine.run("up", "-d", cwd=stack)
    assert ids(machine) == before
    assert machine.inspect("life-prepare-1")["State"]["StartedAt"] == started, "a finished one-shot was run again"


def test_ps_tells_names_services_states_and_ports(machine: Machine, stack: Path, port: int) -> None:
    rows = {row["Service"]: row for row in map(json.loads, machine.run("ps", "-a", "--format", "json", cwd=stack).stdout.splitlines())}
    assert set(rows) == {"web", "store", "prepare", "side"}
    assert rows["web"]["State"] == "running" and rows["store"]["Health"] == "healthy" and rows["prepare"]["ExitCode"] == 0
    text = machine.run("ps", cwd=stack).stdout
    assert f"127.0.0.1:{port}->80/tcp" in text and "life-prepare-1" not in text


def test_logs_are_prefixed_and_kept(machine: Machine, stack: Path) -> None:
    assert "prepared" in machine.run("logs", "prepare", cwd=stack).stdout


def test_exec_runs_inside_and_passes_the_exit_code_on(machine: Machine, stack: Path) -> None:
    assert machine.run("exec", "-T", "store", "cat", "/etc/hostname", cwd=stack).stdout.strip() in ids(machine)["life-store-1"]
    assert machine.run("exec", "-T", "store", "sh", "-c", "echo out; echo err >&2; exit 7", cwd=stack, code=7).stdout == "out\n"
    assert machine.run("exec", "-T", "store", "no-such-command", cwd=stack, code=127).stdout is not None


def test_services_find_each_other_by_name(machine: Machine, stack: Path) -> None:
    assert "hello" in machine.run("exec", "-T", "side", "wget", "-qO-", "http://web/", cwd=stack).stdout


def test_a_changed_service_alone_is_recreated(machine: Machine, stack: Path, port: int) -> None:
    before = ids(machine)
    machine.project("life", STACK.format(port=port, side=99999))
    machine.run("up", "-d", cwd=stack)
    after = ids(machine)
    assert {name for name in before if before[name] != after[name]} == {"life-side-1"}


def test_scaling_adds_and_removes_replicas(machine: Machine, stack: Path) -> None:
    machine.run("up", "-d", "--scale", "side=3", cwd=stack)
    assert {"life-side-1", "life-side-2", "life-side-3"} <= set(ids(machine))
    answers = {machine.run("exec", "-T", "store", "nslookup", "side", cwd=stack).stdout for _ in range(1)}
    assert sum(line.count("Address") for line in answers) >= 3
    machine.run("up", "-d", cwd=stack)
    assert not {"life-side-2", "life-side-3"} & set(ids(machine))


def test_orphans_are_named_and_removed_when_asked(machine: Machine, stack: Path, port: int) -> None:
    text = STACK.format(port=port, side=99999)
    machine.project("life", text + "\n# with one more\n" + "", {})
    (stack / "more.yaml").write_text("services:\n  extra:\n    image: busybox:test\n    command: [sleep, '9']\n    stop_grace_period: 0s\n")
    machine.run("-f", "compose.yaml", "-f", "more.yaml", "up", "-d", cwd=stack)
    assert "life-extra-1" in ids(machine)
    named = machine.run("up", "-d", cwd=stack)
    assert "life-extra-1" in named.stdout + named.stderr
    assert "life-extra-1" in ids(machine)
    machine.run("up", "-d", "--remove-orphans", cwd=stack)
    assert "life-extra-1" not in ids(machine)


def test_files_written_in_a_container_survive_stop_and_start(machine: Machine, stack: Path) -> None:
    machine.run("exec", "-T", "side", "sh", "-c", "echo kept > /root/file", cwd=stack)
    machine.run("stop", "side", cwd=stack)
    assert machine.inspect("life-side-1")["State"]["Status"] == "exited"
    machine.run("start", "side", cwd=stack)
    assert machine.run("exec", "-T", "side", "cat", "/root/file", cwd=stack).stdout == "kept\n"


def test_stop_takes_its_grace_period_and_no_more(machine: Machine, stack: Path) -> None:
    start = time.monotonic()
    machine.run("restart", "-t", "1", "store", cwd=stack)
    assert time.monotonic() - start < 8, "sh as pid 1 ignores SIGTERM: one second of grace, then SIGKILL"


def test_down_keeps_the_named_volume_and_up_finds_its_data(machine: Machine, stack: Path) -> None:
    machine.run("exec", "-T", "store", "sh", "-c", "echo saved > /data/file", cwd=stack)
    machine.run("down", "-t", "0", cwd=stack)
    assert not machine.containers()
    assert "life_data" in machine.docker("volume", "ls", "-q").stdout
    machine.run("up", "-d", "--wait", cwd=stack)
    assert machine.run("exec", "-T", "store", "cat", "/data/file", cwd=stack).stdout == "saved\n"
    assert json.loads(machine.run("ls", "--format", "json", cwd=stack).stdout)[0]["Name"] == "life"


def test_down_v_removes_everything(machine: Machine, stack: Path) -> None:
    machine.run("down", "-v", "-t", "0", cwd=stack)
    assert not machine.containers()
    assert "life" not in machine.docker("volume", "ls", "-q").stdout + machine.docker("network", "ls", "--format", "{{.Name}}").stdout
