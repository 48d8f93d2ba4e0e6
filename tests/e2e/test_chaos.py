"""kill -9 of daemon, zygote, a shim or the command line at random moments of `up`, `up` with a change, a change that is saved while
somebody watches, and `down` of ten services.

Each time the next command brings the stack where it belongs, nothing that should have gone on was disturbed, and nothing is left over
or corrupt.  CHAOS_POINTS moments are tried (`make chaos`: 200), of the dice that CHAOS_SEED throws.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from machine import Machine

POINTS = int(os.environ.get("CHAOS_POINTS", "10"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
VICTIMS = ("daemon", "daemon", "command line", "zygote", "shim")
CHANGING = frozenset({"api", "web", "worker", "search"})
STABLE = frozenset({"db", "cache", "mail", "logs", "cron"})
"""Nothing that changes concerns them: only what is done to themselves may stop them."""
STACK = """
name: chaos
x-plain: &plain
  image: busybox:test
  command: [sleep, "100000"]
  stop_grace_period: 0s
services:
  db:
    <<: *plain
    healthcheck: {{test: [CMD, "true"], interval: 100ms}}
    volumes: ["data:/data"]
    secrets: [password]
  cache: {{<<: *plain, networks: [default, back]}}
  migrate:
    <<: *plain
    command: ["true"]
    depends_on: {{db: {{condition: service_healthy}}}}
  api:
    <<: *plain
    environment: {{GENERATION: "{generation}"}}
    depends_on: {{migrate: {{condition: service_completed_successfully}}, cache: {{condition: service_started}}}}
    deploy: {{replicas: 2, update_config: {{order: start-first}}}}
  web:
    <<: *plain
    command: [httpd, -f, -p, "80", -h, /etc]
    environment: {{GENERATION: "{generation}"}}
    ports: ["127.0.0.1:{port}:80"]
    depends_on: [api]
  worker:
    <<: *plain
    environment: {{GENERATION: "{generation}"}}
    depends_on: {{db: {{condition: service_healthy, restart: true}}}}
    networks: [back]
  search: {{<<: *plain, environment: {{GENERATION: "{generation}"}}, volumes: [/index]}}
  mail: {{<<: *plain, restart: always}}
  logs: {{<<: *plain, tmpfs: [/run]}}
  cron: {{<<: *plain, depends_on: [mail, logs]}}
networks: {{back: {{}}}}
volumes: {{data: {{}}}}
secrets: {{password: {{file: password}}}}
"""
APPLIED = re.compile(r"\(\d+\.\d+s\)$|nothing more was done|nothing to do", re.MULTILINE)
"""The last that who watches says of a change."""
WHOLE = {f"chaos-{name}-1" for name in (*STABLE, *CHANGING, "migrate")} | {"chaos-api-2"}
JOB = "chaos-migrate-1"


@dataclass
class Chaos:
    machine: Machine
    folder: Path
    port: int
    dice: random.Random
    generation: int = 0
    is_up: bool = False
    took_s: dict[str, float] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    seen_bridges: set[str] = field(default_factory=set)

    def command(self, verb: str) -> list[str]:
        if verb == "down":
            return ["down", "-v"]
        if verb == "change" or not self.generation:
            self.generation += 1
            self.machine.project("chaos", STACK.format(generation=self.generation, port=self.port), {"password": "hush"})
        return ["up", "-d", "--wait"]

    def undisturbed(self, verb: str) -> None:
        if verb == "save":
            self.save()
        else:
            began = time.monotonic()
            self.machine.run(*self.command(verb), cwd=self.folder)
            self.took_s[verb] = time.monotonic() - began
        self.check(verb)

    def disturbed(self, verb: str, victim: str, after_s: float) -> None:
        """Whatever became of the command, it did not break; then the same once more, in peace."""
        before = self.pids()
        if verb == "save":
            command, (lost, told) = self.command("up"), self.save(victim, after_s)
        else:
            command = self.command(verb)
            with self.machine.start(*command, cwd=self.folder) as process:
                lost = self.kill(victim, process, after_s)
                told = "".join(process.communicate(timeout=60))
        print(told)
        assert "Traceback" not in told
        self.machine.run(*command, cwd=self.folder)
        self.check(verb)
        if verb in ("change", "save"):
            after = self.pids()
            moved = {name for name in before if name.split("-")[1] in STABLE and before[name] != after.get(name)}
            assert moved <= lost, "a container that nothing concerned was stopped"

    def save(self, victim: str = "", after_s: float = 0.0) -> tuple[set[str], str]:
        """A change while somebody watches, who outlives all but his own death; what went with the victim, and what he said."""
        command, log = self.dice.choice((["watch"], ["up", "--watch"])), self.machine.root / "watch.log"
        with log.open("w") as output:
            process = self.machine.start_to(output, *command, cwd=self.folder)
        at = _said(log, re.compile(r"watching \d+ files"), process)
        self.command("change")
        began = time.monotonic()
        lost = self.kill(victim, process, after_s) if victim else set()
        if victim != "command line":
            _said(log, APPLIED, process, at)
            self.took_s.setdefault("save", time.monotonic() - began)
        process.kill()
        process.wait()
        return lost, f"{' '.join(command)}:\n{log.read_text()}"

    def kill(self, victim: str, process: subprocess.Popen[Any], after_s: float) -> set[str]:
        """The containers that go with it."""
        told = os.pidfd_open(process.pid)
        select.select([told], [], [], after_s)
        os.close(told)
        self.seen_bridges |= self.bridges()
        if victim == "command line":
            process.kill()
        elif victim == "shim":
            pids = self.pids()
            name = self.dice.choice(sorted(pids)) if pids else ""
            _kill(_parent(pids[name]) if pids else 0)
            return {name}
        else:
            daemon = _number(self.machine.state / "run/stackrun.pid")
            _kill(daemon if victim == "daemon" else _zygote(daemon))
        return set()

    def bridges(self) -> set[str]:
        """Of the networks that are recorded now, the default one aside."""
        records = [_json(path) for path in (self.machine.state / "networks").glob("*.json")]
        return {f"sr-{one['id'][:12]}" for one in records if one and "chaos" in json.dumps(one)}

    def pids(self) -> dict[str, int]:
        """Of the containers that run, by name, from their shims' records."""
        found = {}
        for path in (self.machine.state / "run/c").glob("*/state.json"):
            record = _json(path)
            definition = _json(Path(record.get("bundle", "/-"), "container.json"))
            name = str(definition.get("name", ""))
            if name and _alive(record["pid"]):
                found[name.removeprefix("/")] = int(record["pid"])
        return found

    # --- where it belongs

    def check(self, verb: str) -> None:
        self.is_up = verb != "down"
        self.check_records()
        if self.is_up:
            self.check_up()
        else:
            self.check_down()

    def check_up(self) -> None:
        self.check_states()
        found = json.loads(self.machine.docker("inspect", *WHOLE).stdout)
        for one in found:
            name, service = one["Name"].removeprefix("/"), one["Config"]["Labels"]["com.docker.compose.service"]
            assert name != JOB or one["State"]["ExitCode"] == 0
            if service in CHANGING:
                assert f"GENERATION={self.generation}" in one["Config"]["Env"], f"{name} is not what the file says"
        self.seen |= {one["Id"] for one in found}
        self.seen_bridges |= self.bridges()
        assert len(self.bridges()) == 2
        assert set(os.listdir(self.machine.state / "containers")) == {one["Id"] for one in found}
        assert set(self.pids()) == WHOLE - {JOB}
        shims = {_parent(pid) for pid in self.pids().values()}
        assert len(shims) == len(WHOLE) - 1
        self.machine.run("plan", "--detailed-exitcode", cwd=self.folder)

    def check_states(self) -> None:
        """The keeper may be about to restart what follows another (`restart: true`)."""
        wanted = {name: "exited" if name == JOB else "running" for name in WHOLE}
        deadline = time.monotonic() + 10
        while (states := {one["Names"]: one["State"] for one in self.machine.containers()}) != wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        assert states == wanted, self.machine.run("events", "--since", "60s", "--until", "0s", cwd=self.folder).stdout

    def check_down(self) -> None:
        state = self.machine.state
        assert self.machine.containers() == []
        assert os.listdir(state / "containers") == [] == os.listdir(state / "run/c")
        assert os.listdir(state / "volumes") == []
        assert not (state / "stacks/chaos").exists() and not [*state.glob("stacks/.declared/*"), *state.glob("stacks/.owed/*")]
        assert not list((state / "stacks").glob("**/.*.*[0-9]")), "half written files"
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line]
        assert mounted == []
        assert not self.seen_bridges.intersection(os.listdir("/sys/class/net"))
        trees = [path for path in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()) if (path / "stackrun").is_dir()]
        assert [path for tree in trees for id in self.seen if (path := tree / "stackrun" / id).exists()] == []

    def check_records(self) -> None:
        for path in self.machine.state.glob("*/**/*.json"):
            if "merged" not in path.parts:
                json.loads(path.read_bytes())
        log = (self.machine.state / "daemon.log").read_text()
        assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def chaos(machine: Machine, busybox: str) -> Iterator[Chaos]:
    made = Chaos(machine, machine.root / "chaos", free_port(), random.Random(SEED))
    made.command("change")
    for verb in ("up", "change", "save", "down"):
        made.undisturbed(verb)
    yield made


@pytest.mark.parametrize("point", range(POINTS))
def test_the_next_command_brings_it_where_it_belongs(chaos: Chaos, point: int) -> None:
    verb = chaos.dice.choice(("change", "change", "save", "down")) if chaos.is_up else "up"
    victim = chaos.dice.choice(VICTIMS)
    after_s = chaos.dice.uniform(0, chaos.took_s[verb])
    print(f"seed {SEED}, point {point}: {verb}, the {victim} killed after {after_s:.3f} s of {chaos.took_s[verb]:.3f} s")
    chaos.disturbed(verb, victim, after_s)


def test_it_can_still_be_taken_down_and_its_history_read(chaos: Chaos) -> None:
    chaos.machine.run("down", "-v", cwd=chaos.folder)
    chaos.check("down")
    assert "removed by down" in chaos.machine.run("why", "db", cwd=chaos.folder).stdout


def _said(log: Path, words: re.Pattern[str], process: subprocess.Popen[bytes], after: int = 0) -> int:
    """Waits for it, from that place in the log on; gives the place behind it."""
    deadline = time.monotonic() + 60
    while not (found := words.search(text := log.read_text(), after)):
        assert time.monotonic() < deadline and process.poll() is None, f"{words.pattern} was not said:\n{text}"
        time.sleep(0.02)
    return found.end()


def _json(path: Path) -> dict[str, Any]:
    """Of a file that may go or be written at this moment."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found
    except (OSError, ValueError):
        return {}


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _kill(pid: int) -> None:
    """And until it is gone; 0: nobody was there to be killed."""
    if not pid:
        return
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], 10)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _zygote(daemon: int) -> int:
    try:
        children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
    except OSError:
        return 0
    return next((int(one) for one in children if b"zygote" in Path(f"/proc/{one}/comm").read_bytes()), 0)
