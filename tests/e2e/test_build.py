"""A stack that builds its images: brought up, changed, refused, watched."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from following import Following
from free_ports import free_port
from machine import EXAMPLES, Machine, http_get

STACK = """
name: building
services:
  web:
    build: ./web
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
  other:
    image: busybox:test
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
    depends_on: {web: {condition: service_started, restart: true}}
"""
DOCKERFILE = "FROM busybox:test\nWORKDIR /app\nCOPY . .\nRUN cat page.txt > /made && echo built from $(cat page.txt)\n"
FILES = {"web/Dockerfile": DOCKERFILE, "web/page.txt": "one", "web/.dockerignore": "*.log\n"}


@pytest.fixture
def folder(machine: Machine, busybox: str) -> Iterator[Path]:
    made = machine.project("building", STACK, FILES)
    yield made
    machine.run("down", "-t", "0", cwd=made)
    for image in ("building-web", "building-base"):
        machine.docker("rmi", "-f", image, code=None)
    shutil.rmtree(made)


def inside(machine: Machine, command: str) -> str:
    return machine.docker("exec", "building-web-1", "sh", "-c", command).stdout.strip()


def plan(machine: Machine, folder: Path) -> dict[str, str]:
    found = json.loads(machine.run("plan", "--format", "json", cwd=folder).stdout)
    return {one["resource"]: f"{one['symbol']} {one['cause']}" for one in found["actions"]}


def ids(machine: Machine) -> dict[str, str]:
    return {one["Names"]: one["ID"] for one in machine.containers(all=False)}


def test_up_builds_and_a_change_of_the_context_builds_and_recreates(machine: Machine, folder: Path) -> None:
    told = machine.run("up", "-d", cwd=folder).stderr
    assert "Step 4/" in told and "built from one" in told and "Image building-web  Built" in told
    assert inside(machine, "cat /made; echo; ls -A /app").split() == ["one", ".dockerignore", "Dockerfile", "page.txt"]
    before = ids(machine)
    assert plan(machine, folder) == {}
    assert "Building" not in machine.run("up", "-d", cwd=folder).stderr and ids(machine) == before
    (folder / "web" / "ignored.log").write_text("x")
    (folder / "web" / ".page.txt.swp").write_text("x")
    assert plan(machine, folder) == {}, "neither what is ignored nor what an editor leaves"
    (folder / "web" / "page.txt").write_text("two")
    assert plan(machine, folder) == {
        "Image building-web": "-/+ build context changed (1 file: page.txt)",
        "Container building-web-1": "-/+ image changed",
        "Container building-other-1": "~ dependency web replaced",
    }
    assert ids(machine) == before, "a plan does nothing"
    machine.run("up", "-d", cwd=folder)
    assert inside(machine, "cat /made; cat /app/page.txt") == "twotwo"
    assert plan(machine, folder) == {} and ids(machine)["building-web-1"] != before["building-web-1"]


def test_a_failing_step_is_shown_with_its_line_and_what_it_printed(machine: Machine, folder: Path) -> None:
    machine.run("up", "-d", cwd=folder)
    before = ids(machine)
    (folder / "web" / "Dockerfile").write_text(DOCKERFILE + "# a comment\nRUN echo no compiler; exit 3\n")
    failed = machine.run("up", "-d", cwd=folder, code=1)
    assert "build building-web: web/Dockerfile:6: RUN echo no compiler; exit 3: " in failed.stderr
    assert "returned a non-zero code: 3" in failed.stderr and "  no compiler\n" in failed.stderr
    assert ids(machine) == before, "what ran runs on"
    why = machine.run("why", "web", cwd=folder).stdout
    assert "failed by up: could not build" in why
    (folder / "web" / "Dockerfile").write_text(DOCKERFILE + "RUM x\n")
    assert "web/Dockerfile:5: " in machine.run("up", "-d", cwd=folder, code=None).stderr


def test_the_command_build_and_the_options_of_up(machine: Machine, folder: Path) -> None:
    assert "No such image: building-web" in machine.run("up", "-d", "--no-build", cwd=folder, code=1).stderr
    assert "Image building-web  Built" in machine.run("build", cwd=folder).stderr
    assert ids(machine) == {} and plan(machine, folder)["Container building-web-1"] == "+ missing"
    machine.run("up", "-d", "--no-build", cwd=folder)
    before = ids(machine)
    assert "Built" in machine.run("up", "-d", "--build", cwd=folder).stderr
    assert ids(machine) == before, "of the same things the same image is built"
    (folder / "web" / "Dockerfile").write_text("FROM busybox:test\nARG V=none\nRUN echo $V > /made\n")
    machine.run("build", "--no-cache", "--build-arg", "V=by hand", "web", cwd=folder)
    assert plan(machine, folder)["Container building-web-1"] == "-/+ image changed"
    machine.run("up", "-d", cwd=folder)
    assert inside(machine, "cat /made") == "by hand"


def test_a_saved_plan_is_refused_when_the_context_has_changed_since(machine: Machine, folder: Path) -> None:
    machine.run("up", "-d", cwd=folder)
    (folder / "web" / "page.txt").write_text("two")
    machine.run("plan", "--out", "plan.json", cwd=folder)
    (folder / "web" / "page.txt").write_text("three")
    assert "what is built as building-web has changed" in machine.run("up", "-d", "--plan", "plan.json", cwd=folder, code=1).stderr
    machine.run("plan", "--out", "plan.json", cwd=folder)
    machine.run("up", "-d", "--plan", "plan.json", cwd=folder)
    assert inside(machine, "cat /made") == "three"


def test_ctrl_c_ends_a_build_and_what_ran_runs_on(machine: Machine, folder: Path) -> None:
    machine.run("up", "-d", cwd=folder)
    before = ids(machine)
    (folder / "web" / "Dockerfile").write_text(DOCKERFILE + "RUN echo it has begun && sleep 100000\n")
    with machine.start("up", "-d", cwd=folder) as building:
        assert building.stderr is not None
        assert any("it has begun" in line and "RUN" not in line for line in building.stderr), "it never began"
        building.send_signal(signal.SIGINT)
    assert building.returncode == 130
    deadline = time.monotonic() + 20
    while (found := {one["Names"]: one["ID"] for one in machine.containers(all=True)}) != before:  # the daemon hears of it a moment later
        assert time.monotonic() < deadline, f"a container of the build is left: {found}"
        time.sleep(0.05)
    assert plan(machine, folder)["Image building-web"] == "-/+ Dockerfile changed"


def test_rollback_takes_the_image_of_then(machine: Machine, folder: Path) -> None:
    machine.run("up", "-d", cwd=folder)
    (folder / "web" / "page.txt").write_text("two")
    machine.run("up", "-d", cwd=folder)
    assert inside(machine, "cat /made") == "two"
    machine.run("rollback", cwd=folder)
    assert inside(machine, "cat /made") == "one"


def test_a_build_on_another_services_build_with_a_secret_and_a_dockerfile_from_elsewhere(machine: Machine, folder: Path) -> None:
    (folder / "compose.yaml").write_text("""
name: building
services:
  web:
    build: {context: ./web, dockerfile: ../web.dockerfile, additional_contexts: {base: "service:base"}, secrets: [token], args: [WHO=me]}
    command: [sleep, "1000"]
    stop_grace_period: 0s
    depends_on: [base]
  base:
    build: {context: ., dockerfile_inline: "FROM busybox:test\\nRUN echo of base > /based\\nCMD sleep 1000\\n"}
    stop_grace_period: 0s
secrets: {token: {file: ./token.txt}}
""")
    (folder / "token.txt").write_text("hush")
    (folder / "web.dockerfile").write_text(
        "FROM base\nARG WHO\nCOPY . /app\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token > /made && echo $WHO >> /made\n"
    )
    machine.run("up", "-d", cwd=folder)
    assert inside(machine, "cat /based /made; ls -A /app").split() == ["of", "base", "4", "me", ".dockerignore", "Dockerfile", "page.txt"]
    assert plan(machine, folder) == {}


def watch(machine: Machine, folder: Path) -> Following:
    watching = Following(machine, folder, machine.root / f"watch-{time.monotonic_ns()}.log", "watch", timeout_s=30)
    watching.said("[watch] watching ")
    return watching


def test_watch_builds_what_changes_and_keeps_what_runs_when_a_build_fails(machine: Machine, folder: Path) -> None:
    watching = watch(machine, folder)
    try:
        at = watching.position()
        (folder / "web" / "b.log").write_text("ignored")
        (folder / "web" / ".page.txt.swp").write_text("an editor's")
        (folder / "web" / "page.txt").write_text("two")
        at = watching.said("[watch] changed: what web is built from", at)
        at = watching.said("1 to build", at)
        assert inside(machine, "cat /made") == "two"
        before = ids(machine)
        (folder / "web" / "Dockerfile").write_text(DOCKERFILE + "RUN exit 1\n")
        at = watching.said("the stack stays as it is until the next change", at)
        assert ids(machine) == before
        (folder / "web" / "Dockerfile").write_text(DOCKERFILE + "RUN echo mended >> /made\n")
        watching.said("1 to build", at)
        assert inside(machine, "cat /made") == "twomended"
        assert watching.log.read_text().count("changed: ") == 3, "one apply a change, none for what does not count"
    finally:
        watching.end()


def test_rules_say_what_is_synced_and_what_is_built(machine: Machine, folder: Path) -> None:
    synced = "{path: ./web, action: sync, target: /app, ignore: [needs.txt]}"
    rules = f"    develop: {{watch: [{synced}, {{path: ./web/needs.txt, action: rebuild}}]}}\n"
    (folder / "compose.yaml").write_text(STACK.replace("    build: ./web\n", "    build: ./web\n" + rules))
    watching = watch(machine, folder)
    try:
        at = watching.position()
        before = ids(machine)
        (folder / "web" / "page.txt").write_text("synced")
        at = watching.said("building-web-1: 1 file", at)
        assert inside(machine, "cat /app/page.txt /made") == "syncedone" and ids(machine) == before
        (folder / "web" / "needs.txt").write_text("a library")
        at = watching.said("1 to build", at)
        assert inside(machine, "cat /app/page.txt /made /app/needs.txt") == "syncedsynceda library"
    finally:
        watching.end()


def test_the_example_needs_no_registry(machine: Machine, folder: Path) -> None:
    example = folder / "example"
    shutil.copytree(EXAMPLES / "built", example)
    shutil.copy("/bin/busybox", example / "site" / "busybox")
    port = free_port()
    try:
        machine.run("up", "-d", cwd=example, env={"BUILT_PORT": str(port)})
        assert "built here" in http_get(f"http://127.0.0.1:{port}/")
        assert "built on " in http_get(f"http://127.0.0.1:{port}/about.txt")
    finally:
        machine.run("down", "-t", "0", cwd=example)
        machine.docker("rmi", "-f", "example-web", code=None)
