"""`plan` on our engine and on a real Docker host: it does nothing, tells the truth, and `up` holds to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd
from free_ports import free_port
from machine import Machine, busybox_tar

STACK = """
name: planned
services:
  web:
    image: busybox:test
    command: [sleep, "{seconds}"]
    hostname: box
    environment: {{LOG: {log}, API_TOKEN: {log}-hush}}
    labels: {{team: shop}}
    cap_add: [NET_ADMIN]
    mem_limit: 64m
    cpus: 0.5
    ports: ["{port}:80"]
    volumes: ["data:/data:ro", "./:/here:ro", /cache, {{type: tmpfs, target: /scratch, tmpfs: {{size: 1m}}}}]
    ulimits: {{nofile: {{soft: 1024, hard: 2048}}}}
    extra_hosts: ["x:10.0.0.1"]
    sysctls: {{net.ipv4.ip_forward: "1"}}
    stop_grace_period: 0s
    configs: [site]
    secrets: [token]
    networks: {{default: {{aliases: [www]}}, back: {{}}}}
    depends_on: {{prepare: {{condition: service_completed_successfully}}}}
  beside:
    image: busybox:test
    command: [sleep, "1000"]
    network_mode: service:web
    stop_grace_period: 0s
  alone:
    image: busybox:test
    command: [sleep, "1000"]
    network_mode: none
    stop_grace_period: 0s
  prepare:
    image: busybox:test
    command: [echo, ready]
    x-stackrun: {{kind: job}}
networks: {{back: {{internal: true}}}}
volumes: {{data: {{}}}}
configs: {{site: {{content: hello}}}}
secrets: {{token: {{file: ./token}}}}
"""


class Side:
    """A command line with its engine: `docker` is the client that looks at it, `roots` what an engine writes to."""

    def __init__(self, machine: Machine, host: tuple[str, ...], docker: Callable[..., str], roots: tuple[Path, ...]) -> None:
        self.machine, self.host, self.docker, self.roots = machine, host, docker, roots
        self.port = free_port()
        self.folder = machine.project("planned", self.text(), {"token": "hush-hush"})

    def text(self, *, seconds: int = 1000, log: str = "info") -> str:
        return STACK.format(seconds=seconds, log=log, port=self.port)

    def write(self, text: str) -> None:
        self.machine.project("planned", text)

    def run(self, *args: str, code: int | None = 0, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return self.machine.run(*self.host, *args, cwd=self.folder, code=code, env=env)

    def plan(self, *args: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.run("plan", "--format", "json", *args).stdout)
        return told

    def everything(self) -> dict[str, Any]:
        """All that an engine shows, every file below its root, and the machine's links."""
        ids = {noun: self.docker(noun, "ls", "-q", "--no-trunc", *every).split() for noun, every in NOUNS.items()}
        ids["volume"] = self.docker("volume", "ls", "-q").split()
        shown = {noun: _ordered(json.loads(self.docker(noun, "inspect", *found))) if found else [] for noun, found in ids.items()}
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        return {**shown, "files": [files_below(root) for root in self.roots], "links": [line.split()[1] for line in links.splitlines()]}


def _ordered(value: Any) -> Any:
    """dockerd lists mounts and networks in another order every time."""
    if isinstance(value, dict):
        return {key: _ordered(inner) for key, inner in value.items()}
    return sorted(map(_ordered, value), key=repr) if isinstance(value, list) else value


NOUNS = {"container": ("-a",), "image": ("-a",), "network": ()}


def files_below(root: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of change; the daemon's own log and what is mounted inside containers are no part of a stack."""
    found = {}
    for one in root.rglob("*"):
        if "merged" not in one.parts and not one.is_symlink() and one.is_file() and one.name != "daemon.log":
            stat = one.stat()
            found[str(one.relative_to(root))] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


@pytest.fixture(scope="module", params=["own", "docker"])
def side(request: pytest.FixtureRequest, nothing_left_behind: None) -> Iterator[Side]:
    machine = Machine()
    if request.param == "own":
        machine.run("import", str(busybox_tar(machine.root)), "busybox:test")
        yield Side(machine, (), lambda *args: machine.docker(*args).stdout, (machine.state,))
        machine.close()
        return
    dockerd = Dockerd()
    try:
        dockerd.docker("import", str(busybox_tar(machine.root)), "busybox:test")
        state = machine.root / "xdg"
        machine.environment["XDG_STATE_HOME"] = str(state)
        yield Side(machine, ("-H", dockerd.host), dockerd.docker, (state, dockerd.root / "data/volumes"))
        machine.run("-H", dockerd.host, "-p", "planned", "down", "-v", "-t", "0", code=None)
    finally:
        subprocess.run(["umount", "--quiet", dockerd.root / "exec/netns/default"], check=False, stderr=subprocess.DEVNULL)
        dockerd.close()
        machine.close()


def outline(plan: dict[str, Any]) -> dict[str, str]:
    return {one["resource"]: one["symbol"] for one in plan["actions"]}


def test_a_plan_of_a_new_stack_does_nothing_at_all(side: Side) -> None:
    before = side.everything()
    assert outline(side.plan()) == {
        "Network planned_back": "+", "Network planned_default": "+", "Volume planned_data": "+", "Config site": "+",
        "Container planned-web-1": "+", "Container planned-beside-1": "+", "Container planned-alone-1": "+",
        "Container planned-prepare-1": "+",
    }  # fmt: skip
    assert side.run("plan", "--detailed-exitcode", code=2).stdout.endswith("plan: 8 to create, 0 to replace, 0 to remove; 0 unchanged\n")
    assert side.everything() == before


def test_up_makes_what_was_planned_and_then_there_is_nothing_to_do(side: Side) -> None:
    side.run("plan", "--out", "p.json")
    side.run("up", "-d", "--plan", "p.json")
    told = side.run("plan", "--detailed-exitcode").stdout
    assert told == "plan: 0 to create, 0 to replace, 0 to remove; 7 unchanged\n"


def test_no_field_differs_that_nobody_changed(side: Side) -> None:
    """Whatever the engine filled in: of containers that are replaced all the same, no field is said to differ."""
    plan = side.plan("--force-recreate")
    assert {one["resource"]: one["changes"] for one in plan["actions"] if one["changes"]} == {}
    assert [one["cause"] for one in plan["actions"]] == ["forced"] * 4


def test_a_change_is_told_field_by_field_and_nothing_is_done(side: Side) -> None:
    side.write(side.text(seconds=999, log="debug"))
    (side.folder / "token").write_text("changed-hush")
    before = side.everything()
    told = side.run("plan").stdout
    assert "-/+ Container planned-web-1     configuration changed" in told
    for line in ("command: sleep 1000 → sleep 999", "environment.LOG: info → debug", "environment.API_TOKEN: (hidden) → (hidden)"):
        assert line in told
    assert "compose.yaml:6" in told and "secrets.token: content " in told and "hush" not in told
    assert "the anonymous volume at /cache goes over to the new container" in told
    assert "-/+ Container planned-beside-1  shares with web, which is replaced" in told
    side.run("plan", "--pull", "always", "--renew-anon-volumes", "--remove-orphans")
    assert side.everything() == before


def test_a_saved_plan_is_carried_out_unless_the_world_has_moved(side: Side) -> None:
    side.run("plan", "--out", "p.json")
    assert "hush" not in (side.folder / "p.json").read_text()
    side.run("stop", "alone")
    refused = side.run("up", "-d", "--plan", "p.json", code=1).stderr
    assert "the world has moved since this was planned: container planned-alone-1 was " in refused and "running and is" in refused
    side.run("start", "alone")
    side.machine.run(*side.host, "up", "-d", "--plan", str(side.folder / "p.json"))
    assert side.run("exec", "-T", "web", "sh", "-c", "echo $LOG").stdout == "debug\n"
    assert "container planned-web-1 was " in side.run("up", "-d", "--plan", "p.json", code=1).stderr


def test_a_pull_is_planned_and_not_made(side: Side) -> None:
    before = side.everything()
    text = side.text(seconds=999, log="debug")
    side.write(text.replace("busybox:test\n    command: [echo", "nowhere.invalid/busybox:9\n    command: [echo"))
    told = side.run("plan").stdout
    assert "  + Image nowhere.invalid/busybox:9  pull (missing)" in told and "\nplan: 1 to pull, 0 to create" in told
    assert side.everything() == before
    side.write(side.text(seconds=999, log="debug"))


def test_a_build_is_planned_and_not_made(side: Side) -> None:
    (side.folder / "Dockerfile").write_text("FROM busybox:test\nRUN touch /made\n")
    text = side.text(seconds=999, log="debug")
    side.write(text.replace("image: busybox:test\n    command: [echo", "build: .\n    command: [echo"))
    before = side.everything()
    assert outline(side.plan()) == {"Image planned-prepare": "+", "Container planned-prepare-1": "-/+"}
    assert "\nplan: 1 to build, 0 to create, 1 to replace" in side.run("plan").stdout
    assert side.everything() == before
    side.write(text)


def test_a_faulty_file_is_refused_with_its_place(side: Side) -> None:
    side.write("services:\n  web: {imag: x}\n")
    assert "compose.yaml:2:9: unknown key" in side.run("plan", code=2).stderr
    side.write(side.text(seconds=999, log="debug"))
