"""`stackrun watch`: a file is saved, and the stack follows."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from following import Following
from machine import Machine

STACK = """
name: watched
services:
  one:
    image: busybox:test
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
    environment: {{LEVEL: "{level}"}}
    env_file: [one.env]
    configs: [settings]
  two:
    image: busybox:test
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
configs:
  settings: {{file: settings.conf}}
"""
FILES = {"one.env": "FROM_FILE=a\n", "settings.conf": "a\n"}


@pytest.fixture
def watching(machine: Machine, busybox: str) -> Iterator[Following]:
    folder = machine.project("watched", STACK.format(level=1), FILES)
    made = Following(machine, folder, folder / "watch.log", "watch")
    made.said("watching ")
    yield made
    made.process.send_signal(signal.SIGINT)
    assert made.process.wait(10) == 130
    machine.run("down", "-t", "0", cwd=folder)


def running(machine: Machine) -> dict[str, Any]:
    return {one["Names"]: one["ID"] for one in machine.containers(all=False)}


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "compose.yaml").write_text(STACK.format(level=2)),
        lambda folder: (folder / "one.env").write_text("FROM_FILE=b\n"),
        lambda folder: (folder / "settings.conf").write_text("b\n"),
        lambda folder: (folder / "compose.override.yaml").write_text("services: {one: {environment: {MORE: x}}}\n"),
    ],
    ids=["stack file", "env file", "config", "new override"],
)
def test_a_change_replaces_what_it_concerns_alone(machine: Machine, watching: Following, change: Callable[[Path], object]) -> None:
    before = running(machine)
    at = len(watching.log.read_text())
    change(watching.folder)
    watching.said("1 to replace", at)
    after = running(machine)
    assert after["watched-two-1"] == before["watched-two-1"] and after["watched-one-1"] != before["watched-one-1"]


def test_a_fault_is_told_with_its_place_and_the_stack_stays(machine: Machine, watching: Following) -> None:
    before = running(machine)
    (watching.folder / "compose.yaml").write_text(STACK.format(level=2).replace("command", "comand", 1))
    at = watching.said("compose.yaml:6:5")
    at = watching.said("stays as it is", at)
    assert running(machine) == before
    (watching.folder / "compose.yaml").write_text(STACK.format(level=3))
    watching.said("1 to replace", at)


def test_a_file_that_is_missing_is_waited_for(machine: Machine, watching: Following) -> None:
    text = STACK.format(level=2).replace("env_file: [one.env]", "env_file: [one.env, later.env]")
    (watching.folder / "compose.yaml").write_text(text)
    at = watching.said("stays as it is", watching.said("later.env is not there"))
    (watching.folder / "later.env").write_text("LATER=1\n")
    watching.said("1 to replace", at)


def test_what_would_be_removed_is_held_and_shown(machine: Machine, watching: Following) -> None:
    text = STACK.format(level=2)
    (watching.folder / "compose.yaml").write_text(text[: text.index("  two:")] + text[text.index("configs:\n  settings") :])
    at = watching.said("held: - Container watched-two-1")
    watching.said("1 to replace", at)
    assert "watched-two-1" in running(machine)
