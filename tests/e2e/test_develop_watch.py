"""`develop.watch`: a source is saved, and the running container has it. And `up --watch`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerd import COMPOSE
from following import Following
from machine import Machine

STACK = """
name: developed
services:
  web:
    image: busybox:test
    command: [sh, -c, "echo started; trap 'exit 0' TERM; while :; do sleep 0.05; done"]
    environment: {{LEVEL: "{level}"}}
    scale: 2
    develop:
      watch:
        - {{path: ./src, action: sync, target: /app, ignore: [out/, "*.log"], initial_sync: true}}
        - {{path: ./conf, action: sync+restart, target: /conf}}
        - {{path: ./hooked, action: sync+exec, target: /hooked, exec: {{command: [sh, -c, "cat /hooked/f >> /ran"]}}}}
        - {{path: ./Dockerfile, action: rebuild}}
        - {{path: ./single.txt, action: sync, target: /single/renamed.txt}}
        - {{path: ./py, action: sync, target: /py, include: ["**/*.py"]}}
  other:
    image: busybox:test
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
    develop:
      watch: [{{path: ./signal, action: restart}}]
"""
FILES = {
    "src/a.txt": "a", "src/deep/b.txt": "b", "src/out/x": "x", "conf/c": "c", "hooked/f": "one\n", "single.txt": "s", "py/a.py": "p",
    "py/a.txt": "t", "signal/s": "s",
}  # fmt: skip


class Session(Following):
    """A program that watches, and what it has said so far."""

    def __init__(self, machine: Machine, folder: Path, *words: str) -> None:
        super().__init__(machine, folder, folder.parent / f"{folder.name}.log", *words)

    def inside(self, command: str, container: str = "developed-web-1") -> str:
        return self.machine.docker("exec", container, "sh", "-c", command, code=None).stdout

    def write(self, path: str, text: str) -> int:
        """The position in the log before the change."""
        at = self.position()
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return at


@pytest.fixture(scope="module")
def session(machine: Machine, busybox: str) -> Iterator[Session]:
    folder = machine.project("developed", STACK.format(level=1), FILES)
    made = Session(machine, folder, "watch")
    made.said("[watch] watching ")
    yield made
    made.end()
    machine.run("down", "-t", "0", cwd=folder)


def test_an_initial_sync_sends_what_is_not_ignored(session: Session) -> None:
    assert session.inside("cd /app && find . -type f | sort").split() == ["./a.txt", "./deep/b.txt"]
    assert session.inside("ls /conf /py 2>&1 || true").count("No such file") == 2, "without one the image has it"


def test_a_rule_that_builds_what_has_no_build_is_named_with_its_place(session: Session) -> None:
    assert "compose.yaml:14:" in (text := session.log.read_text()) and "service web has no build" in text


def test_a_write_a_rename_save_a_mode_and_a_removal_reach_every_replica(session: Session) -> None:
    source = session.folder / "src"
    at = session.write("src/a.txt", "new")
    session.said("developed-web-2: 1 file", at)
    assert session.inside("cat /app/a.txt") == session.inside("cat /app/a.txt", "developed-web-2") == "new"
    at = session.position()
    (source / ".a.txt.new").write_text("renamed")
    (source / ".a.txt.new").rename(source / "a.txt")
    session.said("developed-web-1: ", at)
    assert session.inside("cat /app/a.txt; ls -A /app") == "renameda.txt\ndeep\n"
    at = session.position()
    (source / "a.txt").chmod(0o755)
    session.said("developed-web-1: 1 file", at)
    assert session.inside("stat -c %a /app/a.txt") == "755\n"
    at = session.position()
    (source / "deep").rename(source / "moved")
    session.said("developed-web-1: 2 files, 1 removed", at)
    assert session.inside("find /app -type f | sort").split() == ["/app/a.txt", "/app/moved/b.txt"]
    at = session.position()
    (source / "a.txt").unlink()
    session.said("developed-web-1: 1 removed", at)
    assert session.inside("ls /app") == "moved\n"


def test_what_is_ignored_and_what_editors_leave_is_not_sent(session: Session) -> None:
    at = session.write("src/out/y", "y")
    session.write("src/a.log", "l")
    session.write("src/.b.txt.swp", "s")
    session.write("src/b.txt~", "s")
    session.write("py/a.txt", "changed")
    session.write("src/marker", "m")
    session.said("developed-web-1: 1 file", at)
    assert session.inside("ls -A /app").split() == ["marker", "moved"]


def test_a_burst_is_one_delivery(session: Session) -> None:
    at = session.position()
    for number in range(50):
        session.write(f"src/many/{number}", "x")
    end = session.said("developed-web-1: 51 files", at)
    assert session.log.read_text()[at:end].count("developed-web-1: ") == 1


def test_a_restart_comes_after_the_files(session: Session) -> None:
    before = session.machine.inspect("developed-web-1")["State"]["StartedAt"]
    at = session.write("conf/c", "changed")
    session.said("developed-web-1: 1 file, restart", at)
    after = session.machine.inspect("developed-web-1")
    assert after["State"]["StartedAt"] != before and after["State"]["Running"]
    assert session.inside("cat /conf/c") == "changed"


def test_a_command_runs_after_the_files(session: Session) -> None:
    at = session.write("hooked/f", "two\n")
    session.said("developed-web-1: 1 file, exec sh", at)
    assert session.inside("cat /ran") == "two\n"


def test_a_single_file_goes_by_the_targets_name_and_included_files_alone(session: Session) -> None:
    at = session.write("single.txt", "t")
    session.said("developed-web-1: 1 file", at)
    assert session.inside("cat /single/renamed.txt") == "t"
    at = session.write("py/deep/b.py", "p")
    session.said("developed-web-1: 1 file", at)
    assert session.inside("find /py -type f") == "/py/deep/b.py\n"


def test_a_restart_alone_sends_nothing(session: Session) -> None:
    at = session.write("signal/s", "t")
    session.said("developed-other-1: restart", at)
    assert "No such file" in session.machine.docker("exec", "developed-other-1", "ls", "/signal", code=1).stderr


def test_a_container_that_is_replaced_gets_what_it_lacks(session: Session) -> None:
    at = session.write("compose.yaml", STACK.format(level=2))
    at = session.said("to replace", at)
    session.said("developed-web-1: ", at)
    assert session.inside("cat /conf/c; cat /single/renamed.txt; cat /app/marker") == "changedtm"


def test_a_failing_command_is_told_and_the_watch_goes_on(session: Session) -> None:
    at = session.write("compose.yaml", STACK.format(level=2).replace("cat /hooked/f >> /ran", "echo no such luck; exit 3"))
    at = session.said("nothing to do", at)
    session.write("hooked/f", "three\n")
    session.said("ended with 3: no such luck", at)
    for replica in (1, 2):
        session.said(f"developed-web-{replica}: 1 file, exec sh", at)
    at = session.write("src/after", "x")
    end = session.said("developed-web-1: 1 file\n", at)
    assert "ended with 3" not in session.log.read_text()[at:end], "it is not run again for what it has seen"
    assert session.inside("cat /app/after") == "x"


def test_up_with_watch_shows_logs_and_follows_both(machine: Machine, busybox: str) -> None:
    text = (
        "name: upped\nservices:\n  web:\n    image: busybox:test\n    environment: {{LEVEL: '{level}'}}\n"
        "    command: [sh, -c, \"echo level $$LEVEL; trap 'exit 0' TERM; while :; do sleep 0.05; done\"]\n"
        "    develop: {{watch: [{{path: src, action: sync, target: /app}}]}}\n"
    )
    folder = machine.project("upped", text.format(level=1), {"src/a": "a"})
    session = Session(machine, folder, "up", "--watch")
    session.said("level 1")
    at = session.said("Ctrl-C stops the stack")
    session.write("src/a", "b")
    at = session.said("upped-web-1: 1 file", at)
    assert session.inside("cat /app/a", "upped-web-1") == "b"
    (folder / "compose.yaml").write_text(text.format(level=2))
    session.said("level 2", session.said("compose.yaml", at))
    session.end()
    assert not [one for one in machine.containers(all=False) if one["Names"].startswith("upped")], "Ctrl-C stops the stack, as in up"
    machine.run("down", "-t", "0", cwd=folder)


def test_watch_stays_in_the_foreground(machine: Machine, busybox: str) -> None:
    folder = machine.project("refused", "services: {a: {image: x}}\n")
    assert "--watch stays in the foreground" in machine.run("up", "-d", "--watch", cwd=folder, code=2).stderr


def test_docker_composes_own_watch_works_on_our_engine(machine: Machine, busybox: str) -> None:
    text = (
        "name: theirs\nservices:\n  web:\n    image: busybox:test\n    command: [sleep, '100000']\n    init: true\n"
        "    develop: {watch: [{path: src, action: sync, target: /app}]}\n"
    )
    folder = machine.project("theirs", text, {"src/a": "a"})
    log = folder.parent / "theirs.log"
    environment = {**os.environ, "DOCKER_HOST": machine.host}
    subprocess.run([COMPOSE, "up", "-d"], cwd=folder, env=environment, capture_output=True, check=True, timeout=60)
    with (
        log.open("w") as output,
        subprocess.Popen([COMPOSE, "watch", "--no-up"], cwd=folder, env=environment, stdout=output, stderr=output) as process,
    ):
        deadline = time.monotonic() + 20
        while "Watch enabled" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        (folder / "src" / "a").write_text("b")
        while machine.docker("exec", "theirs-web-1", "cat", "/app/a", code=None).stdout != "b":
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    machine.run("down", "-t", "0", cwd=folder)
