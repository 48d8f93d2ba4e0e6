"""A config that changes under a running container: told as the file says, and the container stays the same one."""

from __future__ import annotations

import json
import select
import subprocess
from pathlib import Path

import pytest
from machine import Machine

STACK = """
name: live
services:
  app:
    image: busybox:test
    command: [sh, -c, "trap 'cp /site /tmp/told' USR1; rm -f /tmp/end; until [ -e /tmp/end ]; do sleep 0.1; done"]
    restart: always
    stop_grace_period: 0s
    configs: [site]
configs:
  site:
    file: ./site
    x-stackrun: {{on_change: {how}}}
"""


@pytest.fixture(scope="module")
def folder(machine: Machine, busybox: str) -> Path:
    folder = machine.project("live", STACK.format(how="{signal: USR1}"), {"site": "one"})
    machine.run("up", "-d", cwd=folder)
    return folder


def change(folder: Path, content: str) -> None:
    """As an editor saves: another file under the same name."""
    (folder / "site.new").write_text(content)
    (folder / "site.new").rename(folder / "site")


def read(machine: Machine, folder: Path, path: str) -> str:
    return machine.run("exec", "-T", "app", "sh", "-c", f"cat {path} 2>/dev/null; true", cwd=folder).stdout


def wait_for(machine: Machine, folder: Path, path: str, text: str) -> None:
    script = f'until [ "$(cat {path} 2>/dev/null)" = "{text}" ]; do sleep 0.05; done'
    machine.run("exec", "-T", "app", "sh", "-c", script, cwd=folder, timeout=10)


def next_line(events: subprocess.Popen[str]) -> str:
    ready, _, _ = select.select([events.stdout], [], [], 20)
    assert ready and events.stdout, "no event in 20 s"
    return events.stdout.readline()


def state(machine: Machine) -> tuple[str, str]:
    told = machine.inspect("live-app-1")
    return told["Id"], told["State"]["StartedAt"]


def test_a_signal_reaches_the_process_with_the_new_content(machine: Machine, folder: Path) -> None:
    before = state(machine)
    change(folder, "two")
    told = machine.run("plan", "--detailed-exitcode", cwd=folder, code=2).stdout
    assert "  ~ Container live-app-1  signal by SIGUSR1 (config site changed)" in told and read(machine, folder, "/site") == "one"
    machine.run("up", "-d", cwd=folder)
    wait_for(machine, folder, "/tmp/told", "two")
    assert state(machine) == before
    assert machine.run("plan", "--detailed-exitcode", cwd=folder).stdout.endswith("2 unchanged\n")


def test_its_restart_policy_still_holds(machine: Machine, folder: Path) -> None:
    """An engine takes a signal for an order to stop, unless the container has a stop signal of its own."""
    before = state(machine)
    assert machine.inspect("live-app-1")["Config"]["StopSignal"] == "SIGTERM"
    follow = ["docker", "-H", machine.host, "events", "--filter", "event=start", "--since", before[1], "--format", "{{.Action}}"]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as events:
        try:
            assert next_line(events) == "start\n", "the first start, told again"
            machine.run("exec", "-T", "app", "touch", "/tmp/end", cwd=folder)
            assert next_line(events) == "start\n"
        finally:
            events.terminate()
    after = state(machine)
    assert after[0] == before[0] and after[1] > before[1]


def test_a_command_is_run_in_it_and_its_failure_is_told(machine: Machine, folder: Path) -> None:
    before = state(machine)
    machine.project("live", STACK.format(how='{exec: [sh, -c, "cp /site /tmp/copied && grep -q three /site || exit 5"]}'))
    change(folder, "bad")
    assert "exited (5)" in machine.run("up", "-d", cwd=folder, code=1).stderr
    change(folder, "three")
    machine.run("up", "-d", cwd=folder)
    assert read(machine, folder, "/tmp/copied") == "three" and state(machine) == before


def test_a_restart_keeps_the_container(machine: Machine, folder: Path) -> None:
    before = state(machine)
    machine.project("live", STACK.format(how="restart"))
    change(folder, "four")
    machine.run("up", "-d", cwd=folder)
    after = state(machine)
    assert after[0] == before[0] and after[1] > before[1] and read(machine, folder, "/site") == "four"


def test_none_shows_the_file_and_tells_nobody(machine: Machine, folder: Path) -> None:
    before = state(machine)
    machine.project("live", STACK.format(how="none"))
    change(folder, "five")
    plan = json.loads(machine.run("plan", "--format", "json", cwd=folder).stdout)
    assert [(one["symbol"], one["resource"]) for one in plan["actions"]] == [("~", "Config site")]
    machine.run("up", "-d", cwd=folder)
    assert read(machine, folder, "/site") == "five" and state(machine) == before


def test_by_default_the_container_is_replaced(machine: Machine, folder: Path) -> None:
    before = state(machine)
    machine.project("live", STACK.format(how="recreate"))
    machine.run("up", "-d", cwd=folder)
    change(folder, "six")
    machine.run("up", "-d", cwd=folder)
    assert read(machine, folder, "/site") == "six" and state(machine)[0] != before[0]
