"""Mistakes: every fault at once with its place, one clear line otherwise, and nothing half-made."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

from free_ports import free_port
from machine import STACKRUN, Machine

PLACE = re.compile(r"^compose\.yaml:(\d+):(\d+): ", re.MULTILINE)

FAULTY = """name: faulty
services:
  web:
    image: busybox:test
    comand: [sleep, "1"]
    ports: ["80000:80"]
    depends_on: [nobody]
    networks: [missing]
  db:
    image: busybox:test
    mem_limit: lots
    restart: sometimes
    version: 3
"""


def test_every_fault_is_printed_at_once_with_its_place(machine: Machine, busybox: str) -> None:
    folder = machine.project("faulty", FAULTY)
    for verb, code in ((["up", "-d"], 2), (["validate"], 1), (["config"], 2)):
        done = machine.run(*verb, cwd=folder, code=code)
        places = [(int(line), int(column)) for line, column in PLACE.findall(done.stderr + done.stdout)]
        assert places == sorted(places)
        assert {line for line, _ in places} >= {5, 6, 7, 8, 11, 13}, done.stderr + done.stdout
        assert "command" in done.stderr + done.stdout, "did you mean: command"
    assert not machine.containers()


def test_a_cycle_is_reported_with_its_whole_path(machine: Machine, busybox: str) -> None:
    text = "services:\n" + "".join(
        f"  {name}:\n    image: busybox:test\n    depends_on: [{other}]\n" for name, other in (("a", "b"), ("b", "c"), ("c", "a"))
    )
    done = machine.run("up", "-d", cwd=machine.project("cycle", text), code=2)
    assert "a → b → c → a" in done.stderr or "a -> b -> c -> a" in done.stderr, done.stderr
    assert not machine.containers()


def test_yaml_that_does_not_parse_has_a_place(machine: Machine) -> None:
    done = machine.run("validate", cwd=machine.project("broken", "services:\n  web: [\n"), code=2)
    assert re.search(r"^compose\.yaml:\d+:\d+: error\[yaml-syntax\] ", done.stdout, re.MULTILINE)


def test_a_missing_image_starts_nothing(machine: Machine, busybox: str) -> None:
    text = "services:\n  a:\n    image: busybox:test\n    command: [sleep, '9']\n  b:\n    image: localhost:1/none:1\n"
    done = machine.run("up", "-d", cwd=machine.project("noimage", text), code=1)
    assert "localhost:1/none:1" in done.stderr and "hint:" in done.stderr and "Traceback" not in done.stderr
    assert not machine.containers()
    assert "noimage" not in machine.docker("network", "ls", "--format", "{{.Name}}").stdout


def test_a_taken_port_names_its_holder(machine: Machine, busybox: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        text = f"services:\n  a:\n    image: busybox:test\n    command: [sleep, '9']\n    ports: ['127.0.0.1:{port}:80']\n"
        folder = machine.project("taken", text)
        done = machine.run("up", "-d", cwd=folder, code=1)
        assert f"{port}" in done.stderr and f"pid {os.getpid()}" in done.stderr, done.stderr
    machine.run("down", cwd=folder)


def test_a_port_another_container_publishes_names_that_container(machine: Machine, busybox: str) -> None:
    port = free_port()
    text = "name: {name}\nservices:\n  a:\n    image: busybox:test\n    command: [sleep, '9']\n    ports: ['{port}:80']\n"
    first = machine.project("first", text.format(name="first", port=port))
    second = machine.project("second", text.format(name="second", port=port))
    machine.run("up", "-d", cwd=first)
    done = machine.run("up", "-d", cwd=second, code=1)
    assert "first-a-1" in done.stderr, done.stderr
    for folder in (first, second):
        machine.run("down", "-t", "0", cwd=folder)


def test_a_command_that_does_not_exist_is_one_line(machine: Machine, busybox: str) -> None:
    text = "services:\n  a:\n    image: busybox:test\n    command: [no-such-command]\n"
    folder = machine.project("nocommand", text)
    done = machine.run("up", "-d", cwd=folder, code=None)
    assert done.returncode != 0 and "no-such-command" in done.stderr and "Traceback" not in done.stderr
    machine.run("down", cwd=folder)


def test_no_stack_file_says_which_names_are_looked_for(machine: Machine, short_tmp: Path) -> None:
    done = machine.run("up", "-d", cwd=short_tmp, code=2)
    assert "compose.yaml" in done.stderr and "stack.yaml" in done.stderr


def test_an_ordinary_user_is_told_so(machine: Machine, busybox: str) -> None:
    environment = {**machine.environment, "HOME": "/"}
    done = subprocess.run(
        [STACKRUN, "ps"], cwd="/", env=environment, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert "hint:" in done.stderr and "Traceback" not in done.stderr


def test_a_host_that_does_not_answer_is_exit_3(machine: Machine) -> None:
    done = machine.run("-H", "unix:///nowhere/docker.sock", "ps", "-a", code=3)
    assert "/nowhere/docker.sock" in done.stderr


def test_validate_tells_a_finding_with_its_code_its_line_and_a_caret(machine: Machine) -> None:
    done = machine.run("validate", cwd=machine.project("coded", FAULTY), code=1)
    assert 'compose.yaml:5:5: error[unknown-key] unknown key "comand" in service "web"' in done.stdout
    assert '    5 |     comand: [sleep, "1"]\n      |     ^^^^^^\n' in done.stdout and not done.stderr


def test_validate_looks_at_the_machine_when_it_is_asked_to(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        folder = machine.project("looked", f"services:\n  a:\n    image: busybox:test\n    ports: ['127.0.0.1:{port}:80']\n")
        machine.run("validate", cwd=folder, code=0)
        done = machine.run("validate", "--host", cwd=folder, code=1)
    assert f"error[host-port-taken] port {port}/tcp is in use" in done.stdout and f"pid {os.getpid()}" in done.stdout
