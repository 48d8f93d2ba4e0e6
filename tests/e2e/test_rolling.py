"""`deploy.update_config` on a real stack: who serves while containers are replaced, and what follows a failure."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from load import Load
from machine import Machine

STACK = """
name: roll
services:
  web:
    image: busybox:test
    init: true
    command: [sh, -c, "mkdir -p /www && echo {version} > /www/index.html && {start}"]
    ports: {ports}
    volumes: ["data:/data"]
    scale: {replicas}
    healthcheck: {{test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"], interval: 100ms, timeout: 2s, retries: 3}}
    deploy: {{update_config: {{{config}}}}}
  last:
    image: busybox:test
    command: [sleep, "100000"]
    stop_grace_period: 0s
    depends_on: {{web: {{condition: service_healthy}}}}
volumes: {{data: {{}}}}
"""
SERVES = "exec httpd -f -p 80 -h /www"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


def write(machine: Machine, version: str, config: str, *, ports: str = "[]", replicas: int = 1, start: str = SERVES) -> Path:
    return machine.project("roll", STACK.format(version=version, config=config, ports=ports, replicas=replicas, start=start))


def fresh(machine: Machine, config: str, **keys: Any) -> Path:
    """Version one is up, as if there had never been another."""
    folder = write(machine, "one", config, **keys)
    machine.run("down", "-v", cwd=folder)
    machine.run("up", "-d", "--wait", cwd=folder)
    return folder


def host_address(machine: Machine) -> str:
    """One of this machine's addresses that is not its loopback's: the stack's gateway."""
    told = json.loads(machine.docker("network", "inspect", "roll_default").stdout)
    return str(told[0]["IPAM"]["Config"][0]["Gateway"])


def webs(machine: Machine, *, all: bool = True) -> dict[str, str]:
    return {one["Names"]: one["ID"] for one in machine.containers(all=all) if "roll-web" in one["Names"]}


def started(machine: Machine, name: str) -> datetime:
    text: str = machine.inspect(name)["State"]["StartedAt"]
    return datetime.fromisoformat(f"{text[:26].rstrip('Z')}+00:00")


def test_start_first_drops_no_request(machine: Machine, busybox: str, port: int) -> None:
    config, ports = "order: start-first", f'["{port}:80"]'
    folder = fresh(machine, config, ports=ports)
    addresses, before = ("127.0.0.1", host_address(machine)), webs(machine)
    write(machine, "two", config, ports=ports)
    plan = machine.run("plan", cwd=folder).stdout
    assert f"start beside the old one, wait until ready, take over {port}/tcp, drain within 10s, stop, remove, rename" in plan
    load = Load(port, addresses)
    with load.running():
        load.wait_for(*((one, "one") for one in addresses))
        machine.run("up", "-d", cwd=folder)
        load.wait_for(*((one, "two") for one in addresses))
    assert load.failures == []
    assert {told for _, told in load.answers} == {"one", "two"}
    after = webs(machine)
    assert list(after) == list(before) == ["roll-web-1"] and after != before
    machine.run("plan", "--detailed-exitcode", cwd=folder)


def test_two_replicas_on_a_range_of_ports_are_replaced_one_after_the_other(machine: Machine, busybox: str) -> None:
    first = free_port(neighbours=2)
    config, ports = "order: start-first", f'["{first}-{first + 1}:80"]'
    folder = fresh(machine, config, ports=ports, replicas=2)
    write(machine, "two", config, ports=ports, replicas=2)
    loads = [Load(one, ("127.0.0.1",)) for one in (first, first + 1)]
    with loads[0].running(), loads[1].running():
        for load in loads:
            load.wait_for(("127.0.0.1", "one"))
        machine.run("up", "-d", cwd=folder)
        for load in loads:
            load.wait_for(("127.0.0.1", "two"))
    assert [load.failures for load in loads] == [[], []]
    assert started(machine, "roll-web-2") > started(machine, "roll-web-1")


@pytest.mark.parametrize("line", [3, 5, 7])
def test_a_daemon_killed_during_an_update_drops_nothing_either(machine: Machine, busybox: str, port: int, line: int) -> None:
    """At the n-th line that `up` prints; the next `up` finishes the work."""
    config, ports = "order: start-first, monitor: 300ms", f'["{port}:80"]'
    folder = fresh(machine, config, ports=ports)
    write(machine, "two", config, ports=ports)
    load = Load(port, ("127.0.0.1",))
    with load.running():
        load.wait_for(("127.0.0.1", "one"))
        with machine.start("up", "-d", cwd=folder, bufsize=1) as up:
            assert up.stdout and up.stderr
            for count, _ in enumerate(up.stderr, 1):
                if count == line:
                    machine.kill_daemon()
                    break
            up.communicate(timeout=60)
        machine.run("up", "-d", cwd=folder)
        load.wait_for(("127.0.0.1", "two"))
    assert load.failures == []
    assert list(webs(machine)) == ["roll-web-1"]
    machine.run("plan", "--detailed-exitcode", cwd=folder)


def test_a_version_that_never_gets_healthy_is_rolled_back_and_nobody_notices(machine: Machine, busybox: str, port: int) -> None:
    config, ports = "order: start-first, failure_action: rollback", f'["{port}:80"]'
    folder = fresh(machine, config, ports=ports)
    before = webs(machine)
    write(machine, "two", config, ports=ports, start="echo it is not to be; exec sleep 100000")
    load = Load(port, ("127.0.0.1", host_address(machine)))
    with load.running():
        load.wait_for(("127.0.0.1", "one"))
        told = machine.run("up", "-d", cwd=folder, code=1).stderr
        answered = len(load.answers)
        load.wait_for(("127.0.0.1", "one"))
    assert load.failures == [] and {text for _, text in load.answers} == {"one"} and answered
    assert "update of service web failed and is rolled back: container" in told and "is unhealthy" in told and "it is not to be" in told
    assert webs(machine) == before == webs(machine, all=False)


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_a_rollback_takes_back_what_has_been_replaced_already(machine: Machine, busybox: str, order: str) -> None:
    """The first of two gets well, the second does not: both go back to the containers that were there before."""
    first = free_port(neighbours=2)
    config, ports = f"order: {order}, failure_action: rollback", f'["{first}-{first + 1}:80"]'
    folder = fresh(machine, config, ports=ports, replicas=2)
    before = webs(machine)
    write(machine, "two", config, ports=ports, replicas=2, start=f"if mkdir /data/taken; then {SERVES}; else exec sleep 100000; fi")
    loads = [Load(one, ("127.0.0.1",)) for one in (first, first + 1)]
    with loads[0].running(), loads[1].running():
        assert "is rolled back" in machine.run("up", "-d", cwd=folder, code=1).stderr
        for load in loads:
            load.wait_for(("127.0.0.1", "one"))
    assert webs(machine) == before == webs(machine, all=False)
    assert {told for load in loads for _, told in load.answers} == {"one", "two"}
    assert order == "stop-first" or [load.failures for load in loads] == [[], []]


def test_a_failure_pauses_the_update_and_the_next_up_goes_on(machine: Machine, busybox: str) -> None:
    folder = fresh(machine, "order: start-first", replicas=2)
    before = webs(machine)
    write(machine, "two", "order: start-first", replicas=2, start="exec sleep 100000")
    told = machine.run("up", "-d", cwd=folder, code=1).stderr
    assert "update of service web failed and is paused: container" in told and "Container roll-web-2  Skipped" in told
    running = webs(machine, all=False)
    assert before.items() <= running.items() and len(running) == 3, "the old ones serve, and who failed is there to be looked at"
    write(machine, "three", "order: start-first", replicas=2)
    machine.run("up", "-d", "--wait", cwd=folder)
    assert sorted(webs(machine)) == ["roll-web-1", "roll-web-2"]
    assert "three" in machine.run("exec", "-T", "web", "cat", "/www/index.html", cwd=folder).stdout
    machine.run("plan", "--detailed-exitcode", cwd=folder)


def test_batches_are_as_large_and_as_far_apart_as_the_file_says(machine: Machine, busybox: str) -> None:
    folder = fresh(machine, "parallelism: 2, delay: 1s", replicas=3)
    write(machine, "two", "parallelism: 2, delay: 1s", replicas=3)
    assert "steps: create as" in (plan := machine.run("plan", cwd=folder).stdout) and "pause for 1s, stop, start, wait until ready" in plan
    machine.run("up", "-d", cwd=folder)
    first, second, third = (started(machine, f"roll-web-{number}") for number in (1, 2, 3))
    assert third - max(first, second) >= timedelta(seconds=1)
    assert abs(second - first) < timedelta(seconds=1)


INSIDE = """
name: roll
services:
  web:
    image: busybox:test
    init: true
    command:
      - sh
      - -c
      - |
        mkdir -p /www/cgi-bin && echo {version} > /www/index.html
        printf '#!/bin/sh\\nsleep 2\\nprintf "\\\\r\\\\nslowly {version}\\\\n"\\n' > /www/cgi-bin/slow && chmod +x /www/cgi-bin/slow
        exec httpd -f -p 80 -h /www
    healthcheck: {{test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"], interval: 100ms, timeout: 2s, retries: 3}}
    deploy: {{update_config: {{order: start-first}}}}
  clients:
    image: busybox:test
    init: true
    stop_grace_period: 0s
    command:
      - sh
      - -c
      - |
        by_name() {{ while :; do /bin/wget -q -O - http://web/ || echo "failed by name"; done; }}
        slowly() {{ while :; do /bin/wget -q -O - http://web/cgi-bin/slow || echo "failed slowly"; done; }}
        remembering() {{
          while :; do
            address=$$(/bin/nslookup -type=a web 127.0.0.11 | sed -n '/^Name/,$$s/^Address: *//p')
            sleep 0.6
            /bin/wget -q -O - http://$$address/ || echo "failed at $$address"
          done
        }}
        by_name & by_name & slowly & remembering & wait
volumes: {{}}
"""


def test_start_first_drops_no_request_between_containers_either(machine: Machine, busybox: str) -> None:
    """By name, each on a connection of its own; in the middle of an answer; and at an address that was asked for a moment before."""
    folder = machine.project("roll", INSIDE.format(version="one"))
    machine.run("down", "-v", cwd=folder)
    machine.run("up", "-d", "--wait", cwd=folder)
    told = Told(machine)
    told.wait_for("one", "slowly one")
    before, earlier = webs(machine), len(told.lines())  # it began before there was anything to be served
    machine.project("roll", INSIDE.format(version="two"))
    machine.run("up", "-d", cwd=folder)
    assert webs(machine, all=False).keys() == before.keys() and webs(machine) != before
    told.wait_for("two", "slowly two")
    lines = told.lines()[earlier:]
    assert [line for line in lines if "failed" in line] == []
    assert set(lines) == {"one", "two", "slowly one", "slowly two"} and len(lines) > 100
    machine.run("down", "-v", cwd=folder)


class Told:
    """What the stack's own clients have been answered."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def lines(self) -> list[str]:
        done = self._machine.docker("logs", "roll-clients-1")
        return done.stdout.splitlines()

    def wait_for(self, *wanted: str) -> None:
        """Each of them, twice from now on."""
        with self._machine.start("logs", "-f", "--no-log-prefix", "--tail", "0", "clients", cwd=self._machine.root / "roll") as follower:
            assert follower.stdout
            limit = threading.Timer(30, follower.kill)
            limit.start()
            missing = dict.fromkeys(wanted, 2)
            try:
                for line in follower.stdout:
                    if missing.get(line.strip()):
                        missing[line.strip()] -= 1
                    if not any(missing.values()):
                        return
            finally:
                limit.cancel()
                follower.kill()
        raise AssertionError(missing)
