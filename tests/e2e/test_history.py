"""Up as a transaction, with real containers: revisions, going back with and without the file, and returning by itself.

On our engine and, by the same code in the command line, on a real Docker host.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dockerd import Dockerd
from machine import Machine, busybox_tar

WEB = """
services:
  web:
    image: busybox:test
    command: [sleep, "100000"]
    environment: {{V: "{v}", API_TOKEN: hush-{v}}}
    stop_grace_period: 0s
    secrets: [key]
secrets: {{key: {{environment: KEY}}}}
"""
ONE = WEB.format(v=1)
TWO = ONE.replace('V: "1"', 'V: "2"').replace(
    "secrets: {key", "  cache: {image: 'busybox:test', command: [sleep, '100000'], stop_grace_period: 0s}\nsecrets: {key"
)
TALKING = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $$i; done; exec sleep 100000"
UNHEALTHY = TWO.replace('[sleep, "100000"]', f'[sh, -c, "{TALKING}"]').replace(
    "    secrets: [key]", "    secrets: [key]\n    healthcheck: {test: [CMD-SHELL, echo not yet; exit 1], interval: 200ms, retries: 2}", 1
)

NEVER_READY = TWO.replace('V: "2"', 'V: "3"').replace(
    "    secrets: [key]", "    secrets: [key]\n    healthcheck: {test: [CMD, 'false'], interval: 100s}", 1
)


OURS_ALONE = pytest.mark.parametrize("side", ["own"], indirect=True, scope="module")
"""What is the same code on both, and slow on the other."""


class Side:
    """A command line with its engine; `docker` is the client that looks at it, `load` makes the image anew."""

    def __init__(self, machine: Machine, host: tuple[str, ...], docker: Callable[..., str], load: Callable[..., object]) -> None:
        self.machine, self.host, self.docker, self.load = machine, host, docker, load
        self.folder = machine.project("story", ONE)
        machine.environment["KEY"] = "first-key"

    def write(self, text: str) -> None:
        self.machine.project("story", text)

    def run(self, *args: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.machine.run(*self.host, *args, cwd=self.folder, code=code)

    def containers(self) -> dict[str, str]:
        told = self.docker("ps", "-a", "--no-trunc", "--filter", "label=com.docker.compose.project=story", "--format", "{{.Names}} {{.ID}}")
        return dict(sorted(line.split() for line in told.splitlines()))

    def read(self, *command: str) -> str:
        return self.run("exec", "-T", "web", *command).stdout.strip()

    def version(self) -> str:
        return self.read("sh", "-c", "echo $V")

    def history(self) -> list[tuple[int, str, str, bool]]:
        told: dict[str, Any] = json.loads(self.run("history", "--format", "json").stdout)
        return [(one["number"], one["how"], one["changed"], one["current"]) for one in told["revisions"]]


@pytest.fixture(scope="module", params=["own", "docker"])
def side(request: pytest.FixtureRequest, nothing_left_behind: None) -> Iterator[Side]:
    machine = Machine()
    tar = str(busybox_tar(machine.root))
    if request.param == "own":
        yield own(machine, tar)
        machine.close()
        return
    dockerd = Dockerd()
    try:
        machine.environment["XDG_STATE_HOME"] = str(machine.root / "xdg")
        made = Side(machine, ("-H", dockerd.host), dockerd.docker, lambda *args: dockerd.docker("import", *args, tar, "busybox:test"))
        made.load()
        yield made
        machine.run("-H", dockerd.host, "-p", "story", "down", "-v", "-t", "0", code=None)
    finally:
        subprocess.run(["umount", "--quiet", dockerd.root / "exec/netns/default"], check=False, stderr=subprocess.DEVNULL)
        dockerd.close()
        machine.close()


def own(machine: Machine, tar: str) -> Side:
    made = Side(machine, (), lambda *args: machine.docker(*args).stdout, lambda *args: machine.run("import", *args, tar, "busybox:test"))
    made.load()
    return made


def test_each_up_that_changes_something_is_a_revision(side: Side) -> None:
    assert "stack story has no revisions" in side.run("history", code=1).stderr
    side.run("up", "-d")
    side.run("up", "-d")
    assert side.history() == [(1, "up", "+web", True)]
    side.write(TWO)
    told = side.run("diff", "--detailed-exitcode", code=2).stdout
    assert "  + Service cache\n" in told and "environment.V: 1 → 2" in told and "compose.yaml:6" in told and "hush" not in told
    side.machine.environment["KEY"] = "second-key"
    side.run("up", "-d")
    assert side.history() == [(1, "up", "+web", False), (2, "up", "+cache, web environment.V and secrets.key", True)]
    told = side.run("diff", "1", "2").stdout
    assert "secrets.key: content " in told and "-key" not in told.replace("secrets.key", "")
    assert side.run("diff", "--detailed-exitcode").stdout == "revision 2 and the file declare the same\n"


def test_rollback_brings_back_what_was(side: Side) -> None:
    before = side.containers()
    planned = side.run("rollback", "--plan").stdout
    assert "  - Container story-cache-1  orphan" in planned and "plan: 0 to create, 1 to replace, 1 to remove; 1 unchanged" in planned
    assert side.containers() == before
    side.run("rollback", "--wait")
    assert set(side.containers()) == {"story-web-1"}
    assert side.version() == "1" and side.read("cat", "/run/secrets/key") == "first-key"
    assert side.history()[2] == (3, "rollback to 1", "-cache, web environment.V and secrets.key", True)


@OURS_ALONE
def test_up_of_the_file_that_was_rolled_back_to_does_nothing(side: Side) -> None:
    side.write(ONE)
    side.machine.environment["KEY"] = "first-key"
    before = side.containers()
    assert "0 to create, 0 to replace, 0 to remove" in side.run("plan").stdout
    side.run("up", "-d")
    assert side.containers() == before and len(side.history()) == 3


def test_it_needs_no_file(side: Side) -> None:
    side.write("services: [")
    assert side.run("diff", code=2).stderr.startswith("compose.yaml:")
    side.run("rollback")
    assert set(side.containers()) == {"story-cache-1", "story-web-1"}
    (side.folder / "compose.yaml").unlink()
    side.run("rollback", "1")
    assert set(side.containers()) == {"story-web-1"} and [one[1] for one in side.history()[3:]] == ["rollback to 2", "rollback to 1"]
    side.run("-p", "story", "down", "-t", "0")
    assert side.containers() == {} and not any(current for *_, current in side.history())
    side.run("rollback")
    assert set(side.containers()) == {"story-web-1"}
    side.write(TWO)
    side.machine.environment["KEY"] = "second-key"
    side.run("up", "-d")
    assert side.version() == "2"


def test_an_atomic_up_that_fails_returns_by_itself_and_says_why(side: Side) -> None:
    before, past = side.containers(), side.history()
    side.write(UNHEALTHY)
    told = side.run("up", "--atomic", code=1).stderr
    assert "  container story-web-1 is unhealthy\n    health probe exited (1): not yet\n" in told
    lines = [line.strip() for line in told.splitlines() if line.strip().startswith("line ")]
    assert lines == [f"line {number}" for number in range(3, 13)]
    assert told.endswith(f"  returned to revision {past[-1][0]}\n")
    assert side.version() == "2" and set(side.containers()) == set(before) and side.history() == past
    assert side.containers()["story-cache-1"] == before["story-cache-1"]


def interrupted(side: Side, *seen: str) -> str:
    """`up --atomic`, with Ctrl-C whenever the next of these has been told; what it said."""
    told, awaited = "", [*seen]
    with side.machine.start(*side.host, "up", "--atomic", cwd=side.folder) as process:
        assert process.stderr
        for line in process.stderr:
            told += line
            if awaited and awaited[0] in line:
                awaited.pop(0)
                process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130 and not awaited, told
    return told


def test_ctrl_c_in_an_atomic_up_returns_to_the_last_good_state(side: Side) -> None:
    before, past = side.containers(), side.history()
    side.write(NEVER_READY)
    told = interrupted(side, "Container story-web-1  Waiting")
    assert "Interrupted: returning to the last good state" in told
    assert told.endswith(f" Project story  Returned  to revision {past[-1][0]}\n")
    assert side.version() == "2" and set(side.containers()) == set(before) and side.history() == past


def test_ctrl_c_twice_in_an_atomic_up_leaves_and_says_how_to_get_back(side: Side) -> None:
    past = side.history()
    told = interrupted(side, "Container story-web-1  Waiting", "Project story  Returning")
    assert told.endswith(f"left half way: `stackrun rollback` returns to revision {past[-1][0]}\n")
    side.run("rollback", "--wait")
    assert side.version() == "2" and side.history() == past


@OURS_ALONE
def test_nothing_is_left_of_a_first_one_that_is_interrupted(side: Side) -> None:
    side.run("-p", "story", "down", "-v", "-t", "0")
    told = interrupted(side, "Container story-web-1  Waiting")
    assert told.endswith(" Project story  Returned  to nothing\n")
    assert side.containers() == {} and "story_default" not in side.docker("network", "ls", "--format", "{{.Name}}")
    side.write(UNHEALTHY)


@OURS_ALONE
def test_nothing_is_left_of_a_first_one_that_fails(side: Side) -> None:
    side.run("-p", "story", "down", "-v", "-t", "0")
    told = side.run("up", "--atomic", code=1).stderr
    assert told.endswith("  nothing was up before: what was made is removed again, volumes are kept\n")
    assert side.containers() == {} and "story_default" not in side.docker("network", "ls", "--format", "{{.Name}}")


@OURS_ALONE
def test_the_image_of_then_is_used_though_its_name_means_another(side: Side) -> None:
    side.write(ONE)
    side.run("up", "-d")
    then = side.docker("inspect", "-f", "{{.Image}}", "story-web-1").strip()
    side.load("-c", "LABEL another=1")
    side.run("up", "-d")
    assert side.docker("inspect", "-f", "{{.Image}}", "story-web-1").strip() != then
    told = side.run("rollback").stderr
    assert "busybox:test means another image now: the one of revision " in told
    assert side.docker("inspect", "-f", "{{.Image}}", "story-web-1").strip() == then
    side.run("up", "-d")
    assert side.docker("inspect", "-f", "{{.Image}}", "story-web-1").strip() != then


@OURS_ALONE
def test_a_job_is_waited_for_and_runs_again_only_when_it_is_another(side: Side) -> None:
    text = """
services:
  load:
    image: busybox:test
    command: [sh, -c, "sleep 0.2; echo $$V >>/runs/log"]
    environment: {{V: "{v}"}}
    volumes: ["runs:/runs"]
    x-stackrun: {{kind: job}}
  web:
    image: busybox:test
    command: [sleep, "100000"]
    environment: {{W: "{w}"}}
    volumes: ["runs:/runs"]
    stop_grace_period: 0s
volumes: {{runs: {{}}}}
"""
    side.run("-p", "story", "down", "-v", "-t", "0")
    for v, w, runs in ((1, 1, "1"), (1, 1, "1"), (1, 2, "1"), (2, 2, "1\n2")):
        side.write(text.format(v=v, w=w))
        side.run("up", "--wait", "--remove-orphans")
        assert side.read("cat", "/runs/log") == runs
    side.run("rollback", "--wait")
    assert side.read("cat", "/runs/log") == "1\n2\n1"
    side.write(text.format(v=1, w=2).replace("echo $$V", "exit 3; echo $$V"))
    assert "container story-load-1 did not complete: exited (3)" in side.run("up", "--atomic", code=1).stderr
    assert side.read("cat", "/runs/log") == "1\n2\n1\n1"


def test_after_a_daemon_was_killed_in_the_middle_rollback_is_the_last_state(machine: Machine) -> None:
    side = own(machine, str(busybox_tar(machine.root)))
    side.run("up", "-d")
    slow = TWO.replace("cache: {", "cache: {healthcheck: {test: [CMD, 'false'], interval: 1h, start_period: 1h}, ")
    side.write(slow.replace("    secrets: [key]", "    secrets: [key]\n    depends_on: {cache: {condition: service_healthy}}"))
    up = machine.start("up", "-d", cwd=side.folder)
    deadline = time.monotonic() + 20
    while "story-cache-1" not in machine.docker("ps", "--format", "{{.Names}}").stdout and time.monotonic() < deadline:
        time.sleep(0.02)
    machine.kill_daemon()
    assert up.wait(20) != 0
    up.communicate()
    told = side.run("history").stdout
    assert "unfinished: up, begun 20" in told and told.endswith(": `stackrun rollback` returns to 1\n")
    side.run("rollback", "--wait")
    assert set(side.containers()) == {"story-web-1"} and side.version() == "1"
    assert side.history() == [(1, "up", "+web", True)]
