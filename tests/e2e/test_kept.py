"""A stack that is kept: disturbed from outside it comes back by itself, in the order of its graph, also with the next daemon."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import threading
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


TAKEN = """
name: taken
services:
  web:
    image: busybox:test
    command: [sh, -c, "echo mine > /data/file; exec sleep 100000"]
    volumes: ["data:/data", "./bound:/bound", "inner:/data/inner"]
    mem_limit: 64m
    pids_limit: 50
    cap_add: [SYS_ADMIN]
    stop_grace_period: 0s
volumes: {data: {}, inner: {}}
"""


@pytest.fixture(scope="module")
def taken(machine: Machine, busybox: str) -> Path:
    folder = machine.project("taken", TAKEN, {"bound/file": "theirs"})
    machine.run("up", "-d", cwd=folder)
    return folder


def web_pid(machine: Machine) -> int:
    pid: int = machine.inspect("taken-web-1")["State"]["Pid"]
    return pid


def group_file(pid: int, controller: str, v1: str, v2: str) -> Path:
    groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    old = next((path for _, controllers, path in groups if controller in controllers.split(",")), None)
    return Path(f"/sys/fs/cgroup/{controller}{old}/{v1}") if old else Path(f"/sys/fs/cgroup{groups[-1][2]}/{v2}")


def repaired(machine: Machine, folder: Path, field: str, since_s: float) -> None:
    """Until the stack's history says that it was brought back, without a person's asking and without a restart."""
    with machine.start("events", "--format", "json", "--since", f"{since_s:.6f}", "web", cwd=folder) as told:
        assert told.stdout
        limit = threading.Timer(20, told.kill)
        limit.start()
        try:
            found = (json.loads(line) for line in told.stdout)
            repairs = (one for one in found if one["action"] == "repaired")
            seen = next((one for one in repairs if one["attributes"]["cause"].startswith(f"{field} was ")), None)
        finally:
            limit.cancel()
            told.kill()
    assert seen is not None, f"{field} is not brought back"
    assert seen["attributes"]["by"] == "keep"


def inside(machine: Machine, *command: str) -> None:
    subprocess.run(["nsenter", "-m", "-p", "-t", str(web_pid(machine)), "/bin/busybox", *command], check=True, timeout=20)


@pytest.mark.parametrize("what", ["memory", "pids"])
def test_a_limit_that_somebody_changed_is_put_back(machine: Machine, taken: Path, what: str) -> None:
    pid, began = web_pid(machine), time.time()
    names = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max", "pids.max")}[what]
    file = group_file(pid, what, *names)
    before = file.read_text()
    file.write_text(str(48 << 20) if what == "memory" else "7")
    repaired(machine, taken, f"{what}.limit", began)
    assert file.read_text() == before and web_pid(machine) == pid


@pytest.mark.parametrize("lost", ["/bound", "/data"])
def test_a_mount_that_somebody_took_away_is_made_again_without_a_restart(machine: Machine, taken: Path, lost: str) -> None:
    pid, began = web_pid(machine), time.time()
    inside(machine, "umount", "-l", lost)
    repaired(machine, taken, f"mounts.{lost}", began)
    if lost == "/data":
        repaired(machine, taken, "mounts./data/inner", began)
    told = machine.run("exec", "-T", "web", "cat", f"{lost}/file", cwd=taken).stdout.strip()
    assert told == ("theirs" if lost == "/bound" else "mine") and web_pid(machine) == pid
    assert json.loads(machine.run("drift", "--format", "json", cwd=taken).stdout)["left"] == []


@pytest.mark.parametrize("how", ["its files' directory", "all of it", "moved"])
def test_a_volume_that_somebody_took_away_comes_back_empty(machine: Machine, taken: Path, how: str) -> None:
    pid, began = web_pid(machine), time.time()
    data = Path(machine.docker("volume", "inspect", "-f", "{{.Mountpoint}}", "taken_data").stdout.strip())
    if how == "moved":
        data.rename(machine.root / "elsewhere")
    else:
        shutil.rmtree(data if how == "its files' directory" else data.parent)
    repaired(machine, taken, "mounts./data.source", began)
    machine.run("exec", "-T", "web", "sh", "-c", "echo again > /data/file", cwd=taken)
    assert (data / "file").read_text() == "again\n" and web_pid(machine) == pid
    assert json.loads(machine.run("drift", "--format", "json", cwd=taken).stdout)["left"] == []
    assert machine.docker("volume", "ls", "-q", "-f", "name=taken_data").stdout.strip() == "taken_data"


def test_of_a_stack_that_nobody_keeps_nothing_is_put_back_unasked(machine: Machine, taken: Path) -> None:
    machine.run("keep", "off", cwd=taken)
    inside(machine, "umount", "-l", "/bound")
    left = json.loads(machine.run("drift", "--format", "json", cwd=taken, code=2).stdout)["left"]
    assert [(one["field"], one["repair"]) for one in left] == [("mounts./bound", "repaired in place")]
    pid = web_pid(machine)
    machine.run("drift", "--repair", cwd=taken)
    assert machine.run("exec", "-T", "web", "cat", "/bound/file", cwd=taken).stdout.strip() == "theirs" and web_pid(machine) == pid
    machine.run("down", "-v", cwd=taken)


def test_down_is_the_end(machine: Machine, stack: Path) -> None:
    machine.run("down", "-t", "0", cwd=stack)
    assert machine.containers() == []
    assert "is not up" in machine.run("keep", cwd=stack, code=1).stderr
