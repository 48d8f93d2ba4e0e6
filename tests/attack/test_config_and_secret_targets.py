"""Configs and secrets of a stack are mounted where the file says, and where the image's links lead: never on the host's files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from evil_layers import link
from machine import Machine

STACK = """
services:
  web:
    image: {image}
    command: ["sh", "-c", "cat /root/stackrun-host-secret {target} 2>/dev/null; echo broken > {target}"]
    configs: [{{source: it, target: {target}}}]
    secrets: [{{source: it, target: key}}]
configs: {{it: {{content: inner}}}}
secrets: {{it: {{environment: KEY}}}}
"""
TARGETS = ("/root/stackrun-host-secret", "/../../../../root/stackrun-host-secret", "/out/stackrun-host-secret", "/up/stackrun-host-secret")


def up(machine: Machine, image: str, target: str) -> str:
    folder = machine.project("targets", STACK.format(image=image, target=target))
    done = machine.run("up", "--no-keep", cwd=folder, env={"KEY": "x"}, code=None)
    machine.run("down", "-t", "0", cwd=folder)
    return done.stdout + done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_the_hosts_file_is_neither_read_nor_written(
    machine: Machine, evil_image: Callable[..., str], host_secret: Path, target: str
) -> None:
    image = evil_image(link("out", "/root"), link("up", "../../../../root"), link("run", "/root"))
    told = up(machine, image, target)
    assert "untouched" not in told and host_secret.read_text() == "untouched"
    assert "inner" in told, "it is mounted, inside"
    assert not Path("/root/secrets").exists()


@pytest.mark.parametrize("target", ["/proc/self/environ", "/proc/sys/kernel/core_pattern"])
def test_none_over_proc(machine: Machine, target: str) -> None:
    assert "inner" not in up(machine, "host", target)
