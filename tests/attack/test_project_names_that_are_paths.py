"""A project's name is a directory of private files, <state>/stacks/<project>: `..` in it must lead nowhere, wherever it comes from."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import Machine

NAMES = ("../evil", "..", "a/../../evil", "/evil", ".", "-evil", "a\nb", "évil", "$(id)")
STACK = """
services:
  web:
    image: host
    command: [sleep, "1000"]
    secrets: [key]
secrets:
  key: {environment: KEY}
"""


def outside(machine: Machine) -> list[str]:
    """What is in the directories above that of the stacks, but for a file that the engine makes with its first event."""
    return sorted(name for folder in (machine.root, machine.state) for name in os.listdir(folder) if name != "events.jsonl")


@pytest.fixture
def folder(machine: Machine) -> Path:
    for name in ("victim", "stacks"):
        (machine.state / name).mkdir(exist_ok=True)
    return machine.project("stack", STACK)


@pytest.mark.parametrize("name", NAMES)
def test_asked_for_it_is_refused(machine: Machine, folder: Path, name: str) -> None:
    before = outside(machine)
    done = machine.run(f"--project-name={name}", "down", "-v", cwd=folder, code=None)
    assert done.returncode != 0 and "project name" in done.stderr, done.stderr
    done = machine.run("up", "-d", cwd=folder, env={"KEY": "x", "COMPOSE_PROJECT_NAME": name}, code=None)
    assert done.returncode != 0 and "project name" in done.stderr, done.stderr
    assert outside(machine) == before


def test_in_a_file_it_is_reduced_to_a_name(machine: Machine, folder: Path) -> None:
    """As compose does: only letters, digits, dashes and underscores are left of it."""
    before = outside(machine)
    (folder / "compose.yaml").write_text(f"name: ../../evil\n{STACK}")
    machine.run("up", "-d", cwd=folder, env={"KEY": "x"})
    assert outside(machine) == before and (machine.state / "stacks/evil").is_dir()
    machine.run("down", "-v", "-t", "0", cwd=folder)
    assert outside(machine) == before


def test_the_engine_refuses_it_too(machine: Machine, folder: Path) -> None:
    """Without a client's checks before it, and without a stack file, as `down -p` does it."""
    before = outside(machine)
    for operation in ("down", "history", "diff", "keep", "rollback", "up", "plan"):
        body = {"source": {"project_name": "../victim", "working_dir": "/nowhere", "files": []}}
        status, told = machine.request("POST", f"/stackrun/v1/stacks/{operation}", body)
        assert status >= 400 or b'"phase": "failed"' in told or b"invalid project name" in told, (operation, told)
    assert outside(machine) == before


def noted(machine: Machine, project: str) -> bool:
    """Whether the journal tells of it within 5 seconds: it is written behind the events."""
    body = {"source": {"project_name": project, "working_dir": "/", "files": []}}
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if b'"removed"' in machine.request("POST", "/stackrun/v1/stacks/why", body)[1]:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("label", ["../../evil", "../evil", "../victim/evil"])
def test_a_label_of_an_image_writes_no_journal(machine: Machine, evil_image: Callable[..., str], folder: Path, label: str) -> None:
    """Which stack a container belongs to is a label, and labels come from the image as well."""
    image = evil_image(changes=(f"LABEL com.docker.compose.project={label} com.docker.compose.service=web",))
    before = outside(machine)
    machine.docker("run", "--rm", image, "false", code=1)
    honest = evil_image(changes=("LABEL com.docker.compose.project=honest com.docker.compose.service=web",))
    machine.docker("run", "--rm", honest, "false", code=1)
    assert noted(machine, "honest"), "what an honest label says is noted, and so would the other be by now"
    assert outside(machine) == before and list((machine.state / "victim").iterdir()) == []


@pytest.mark.parametrize("kind", ["services", "volumes", "secrets"])
def test_the_names_of_its_parts_are_no_paths(machine: Machine, folder: Path, kind: str) -> None:
    (folder / "compose.yaml").write_text(STACK + "".join(f"{kind}:\n  ../evil: {{}}\n" for _ in [0] if kind not in STACK))
    text = (folder / "compose.yaml").read_text()
    if kind in STACK:
        text = text.replace("  web:", "  ../evil:") if kind == "services" else text.replace("  key: {", "  ../evil: {")
        (folder / "compose.yaml").write_text(text)
    before = outside(machine)
    assert machine.run("up", "-d", cwd=folder, env={"KEY": "x"}, code=None).returncode != 0
    assert outside(machine) == before


def test_an_honest_name_has_its_files_where_only_root_may_go(machine: Machine, folder: Path) -> None:
    secret = b"a secret nobody else has"
    machine.run("-p", "honest", "up", "-d", cwd=folder, env={"KEY": secret.decode()})
    holding = [path for path in machine.state.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert [path.parent for path in holding] == [machine.state / "stacks/honest"]
    assert holding[0].parent.stat().st_mode & 0o077 == 0
    machine.run("-p", "honest", "down", "-t", "0", cwd=folder)
