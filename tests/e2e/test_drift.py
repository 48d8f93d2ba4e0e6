"""`drift` on the real kernel: silent where nobody touched anything, by field where somebody did, and everything works after `--repair`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd
from free_ports import free_port
from machine import EXAMPLES, Machine, busybox_tar, http_get

from stackrun.engine.local import instance
from stackrun.network.firewall import table_name

NEEDS_IMAGES = {"compose.real.yaml"}
"""Brought up, and looked at for drift, by test_shop_real, which builds its images first."""
STACK = """
name: drifting
services:
  web:
    image: busybox:test
    command: [sh, -c, "cp /src/index.html /www/ && exec httpd -f -p 80 -h /www"]
    stop_grace_period: 0s
    mem_limit: 64m
    pids_limit: 64
    cap_drop: [SYS_PTRACE]
    ports: ["{port}:80"]
    volumes: ["./src:/src:ro", "data:/data", {{type: tmpfs, target: /www, tmpfs: {{size: 1m}}}}]
    environment: {{LOG: info}}
    networks: [front, back]
  beside:
    image: busybox:test
    command: [sleep, "1000"]
    init: true
    stop_grace_period: 0s
    network_mode: service:web
  done:
    image: busybox:test
    command: [echo, "done"]
    networks: [back]
networks: {{front: {{}}, back: {{internal: true}}}}
volumes: {{data: {{}}}}
"""


def host(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Stack:
    """One that nobody keeps, so that what is taken away stays away until it is repaired."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.port = machine, free_port()
        self.folder = machine.project("drifting", STACK.format(port=self.port), {"src/index.html": "hello"})
        self.table = table_name(instance(str(machine.state)))
        self.run("up", "-d", "--no-keep", "--wait")

    def run(self, *args: str, code: int | None = 0) -> str:
        return self.machine.run(*args, cwd=self.folder, code=code).stdout

    def drift(self, *args: str, code: int | None = None) -> dict[tuple[str, str], str]:
        """(resource, field) → how it is brought back."""
        report = json.loads(self.run("drift", "--format", "json", *args, code=code))
        assert report["version"] == 1 and report["kernel"]
        return {(one["resource"], one["field"]): one["repair"] for one in report["left"]}

    def pid(self, service: str) -> int:
        pid: int = self.machine.inspect(f"drifting-{service}-1")["State"]["Pid"]
        return pid

    def bridge(self) -> str:
        return f"sr-{self.machine.docker('network', 'inspect', '-f', '{{.Id}}', 'drifting_front').stdout[:12]}"

    def veth(self) -> str:
        """Of `web` on the front network."""
        links = host("ip", "-o", "link", "show", "master", self.bridge())
        return links.split(": ")[1].split("@")[0]

    def limit_memory(self, limit_bytes: int) -> None:
        groups = [line.split(":", 2) for line in Path(f"/proc/{self.pid('web')}/cgroup").read_text().splitlines()]
        v1 = next((path for _, controllers, path in groups if "memory" in controllers.split(",")), None)
        file = f"/sys/fs/cgroup/memory{v1}/memory.limit_in_bytes" if v1 else f"/sys/fs/cgroup{groups[-1][2]}/memory.max"
        Path(file).write_text(str(limit_bytes))

    def inside(self, service: str, *command: str) -> None:
        host("nsenter", "-m", "-p", "-n", "-t", str(self.pid(service)), "/bin/busybox", *command)

    def served(self) -> str:
        """Through the published port, waited for while the server comes up."""
        deadline = time.monotonic() + 10
        while True:
            try:
                return http_get(f"http://127.0.0.1:{self.port}/", timeout=2)
            except OSError:
                assert time.monotonic() < deadline, "the published port does not answer"
                time.sleep(0.05)


@pytest.fixture(scope="module")
def stack(machine: Machine, busybox: str) -> Stack:
    return Stack(machine)


EXAMPLE_FILES = sorted(one for one in EXAMPLES.glob("*/compose*.yaml") if one.name not in NEEDS_IMAGES)


@pytest.mark.parametrize("file", EXAMPLE_FILES, ids=[f"{one.parent.name}/{one.name}" for one in EXAMPLE_FILES])
def test_an_untouched_example_does_not_drift(machine: Machine, file: Path) -> None:
    folder = machine.root / f"untouched-{file.parent.name}"
    shutil.copytree(file.parent, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    if file.parent.name == "built":
        shutil.copy("/bin/busybox", folder / "site")  # as the example's own text says
    env = {name: str(free_port()) for name in ("SHOP_PORT", "HELLO_PORT", "BUILT_PORT")}

    def run(*args: str) -> str:
        return machine.run("-f", file.name, *args, cwd=folder, env=env).stdout

    run("up", "-d", "--wait")
    assert run("drift") == "drift: none\n"
    machine.kill_daemon()
    assert run("drift") == "drift: none\n", "another daemon has found it all"
    run("restart", "-t", "0")
    assert run("drift") == "drift: none\n"
    run("down", "-v", "-t", "0")


def test_every_example_is_accounted_for() -> None:
    assert {one.parent for one in EXAMPLE_FILES} == {one for one in EXAMPLES.iterdir() if one.is_dir()}


def test_a_stack_that_nobody_touched_does_not_drift_what_has_done_its_work_included(stack: Stack) -> None:
    assert stack.drift(code=0) == {}
    assert stack.run("drift", "web", code=0) == "drift: none\n"


SHARED: dict[str, Callable[[Stack], object]] = {
    "table": lambda stack: host("nft", "delete", "table", "ip", stack.table),
    "rule": lambda stack: host("nft", "flush", "chain", "ip", stack.table, "prerouting"),
    "port": lambda stack: host("nft", "flush", "map", "ip", stack.table, "published"),
}
"""What all stacks share, which comes back by itself whether this one is kept or not."""
BREAKS: dict[str, tuple[Callable[[Stack], object], str, str, str]] = {
    "bridge": (lambda stack: host("ip", "link", "delete", stack.bridge()), "Network drifting_front", "bridge", "repaired in place"),
    "veth": (lambda stack: host("ip", "link", "delete", stack.veth()), "Container drifting-web-1", "interface.srv*", "repaired in place"),
    "address": (
        lambda stack: stack.inside("web", "ip", "address", "flush", "dev", "eth0"), "Container drifting-web-1", "interface.eth0.address",
        "repaired in place",
    ),
    "route": (
        lambda stack: stack.inside("web", "ip", "route", "del", "default"), "Container drifting-web-1", "route.default",
        "repaired in place",
    ),
    "memory": (lambda stack: stack.limit_memory(128 << 20), "Container drifting-web-1", "memory.limit", "repaired in place"),
    "frozen": (
        lambda stack: host("sh", "-c", FREEZE.format(pid=stack.pid("web"))), "Container drifting-web-1", "state", "repaired in place",
    ),
    "update": (
        lambda stack: stack.machine.docker("update", "--memory", "128m", "--memory-swap", "-1", "drifting-web-1"),
        "Container drifting-web-1", "memory limit", "recreate",
    ),
    "mount": (lambda stack: stack.inside("web", "umount", "/data"), "Container drifting-web-1", "mounts./data", "repaired in place"),
    "killed": (lambda stack: stack.machine.docker("kill", "drifting-web-1"), "Container drifting-web-1", "state", "start"),
    "removed": (lambda stack: stack.machine.docker("rm", "-f", "drifting-web-1"), "Container drifting-web-1", "state", "start"),
    "another's namespace": (
        lambda stack: stack.machine.docker("restart", "-t", "0", "drifting-web-1"), "Container drifting-beside-1", "namespaces.net",
        "restart",
    ),
}  # fmt: skip
FREEZE = (
    "for line in $(grep -E 'freezer|^0::' /proc/{pid}/cgroup); do path=${{line##*:}}; "
    "if [ -e /sys/fs/cgroup/unified$path/cgroup.freeze ]; then echo 1 > /sys/fs/cgroup/unified$path/cgroup.freeze; break; "
    "elif [ -e /sys/fs/cgroup$path/cgroup.freeze ]; then echo 1 > /sys/fs/cgroup$path/cgroup.freeze; break; "
    "elif [ -e /sys/fs/cgroup/freezer$path/freezer.state ]; then echo FROZEN > /sys/fs/cgroup/freezer$path/freezer.state; fi; done"
)


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_taken_away_is_told_by_its_field_and_repaired(stack: Stack, what: str) -> None:
    broken, resource, field, repair = BREAKS[what]
    broken(stack)
    found = stack.drift(code=2)
    assert any(name == resource and fnmatch(told, field) and how == repair for (name, told), how in found.items()), found
    assert stack.drift("--repair", code=0) == {}
    assert stack.drift(code=0) == {}
    assert stack.served() == "hello"
    assert os.readlink(f"/proc/{stack.pid('beside')}/ns/net") == os.readlink(f"/proc/{stack.pid('web')}/ns/net")
    stack.run("keep", "off")


def test_what_is_stopped_on_purpose_stays_so(stack: Stack) -> None:
    stack.run("stop", "beside")
    assert stack.drift(code=0) == {}
    stack.machine.docker("kill", "drifting-web-1")
    assert stack.drift("--repair", code=0) == {}
    assert stack.machine.inspect("drifting-beside-1")["State"]["Status"] == "exited"
    stack.run("start", "beside")


def test_a_change_of_the_file_is_told_with_the_plans_own_fields(stack: Stack) -> None:
    text = (stack.folder / "compose.yaml").read_text()
    (stack.folder / "compose.yaml").write_text(text.replace("LOG: info", "LOG: debug").replace("  done:", "  finished:"))
    found = stack.drift(code=2)
    assert found[("Container drifting-web-1", "environment.LOG")] == "recreate"
    assert found[("Container drifting-done-1", "state")] == "none", "an orphan"
    assert found[("Container drifting-finished-1", "state")] == "start"
    (stack.folder / "compose.yaml").write_text(text)
    assert stack.drift(code=0) == {}


def test_a_faulty_file_is_an_error_and_no_drift(stack: Stack) -> None:
    text = (stack.folder / "compose.yaml").read_text()
    (stack.folder / "compose.yaml").write_text("services: {web: {imag: x}}\n")
    stack.run("drift", code=1)
    (stack.folder / "compose.yaml").write_text(text)
    stack.run("drift", "nobody", code=1)


def test_a_kept_stacks_network_is_repaired_unasked(stack: Stack) -> None:
    stack.run("keep", "on")
    for broken in (BREAKS["bridge"][0], BREAKS["veth"][0], *SHARED.values()):
        broken(stack)
        deadline = time.monotonic() + 10
        while stack.drift():
            assert time.monotonic() < deadline, "it is not brought back"
        assert stack.served() == "hello"
    told = stack.run("why", "web")
    assert ".master was no bridge" in told and "repaired by keep: ports.80/tcp was closed" in told
    stack.run("keep", "off")
    BREAKS["bridge"][0](stack)
    assert ("Network drifting_front", "bridge") in stack.drift(code=2)
    assert stack.drift("--repair", code=0) == {}


def test_text_for_a_person(stack: Stack) -> None:
    stack.limit_memory(128 << 20)
    told = stack.run("drift", code=2)
    assert told == (
        "Container drifting-web-1\n"
        "  memory.limit  67108864 → 134217728  (in place)\n"
        "\n"
        "drift: 1 field of 1 resource\n"
    )  # fmt: skip
    assert stack.run("drift", "--repair").endswith("(repaired)\n\ndrift: 1 field of 1 resource, none left\n")
    assert "repaired by drift: memory.limit was 134217728" in stack.run("why", "web")


@pytest.fixture
def dockerd(machine: Machine) -> Iterator[Dockerd]:
    made = Dockerd()
    try:
        made.docker("import", str(busybox_tar(machine.root)), "busybox:test")
        yield made
    finally:
        subprocess.run(["umount", "--quiet", made.root / "exec/netns/default"], check=False, stderr=subprocess.DEVNULL)
        made.close()


def test_of_a_docker_host_only_what_its_api_shows(machine: Machine, dockerd: Dockerd) -> None:
    text = "services: {web: {image: 'busybox:test', command: [sleep, '1000'], init: true}}\n"
    folder = machine.project("foreign", text)

    def run(*args: str, code: int) -> Any:
        return machine.run("-H", dockerd.host, *args, cwd=folder, code=code)

    run("up", "-d", code=0)
    done = run("drift", code=0)
    assert done.stdout == "drift: none\n" and "its kernel was not looked at" in done.stderr
    dockerd.docker("rm", "-f", "foreign-web-1")
    report = json.loads(run("drift", "--format", "json", code=2).stdout)
    assert not report["kernel"] and [(one["resource"], one["actual"]) for one in report["found"]] == [
        ("Container foreign-web-1", "missing")
    ]
    run("drift", "--repair", code=0)
    run("drift", code=0)
    run("down", "-t", "0", code=0)
