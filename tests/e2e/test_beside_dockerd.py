"""A real dockerd on the same host, whose FORWARD policy is DROP: neither breaks the other, in either order of starting."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerd import Dockerd
from free_ports import free_port
from machine import Machine, busybox_tar, http_get

STACK = """
name: beside
services:
  web:
    image: busybox:test
    command: [httpd, -f, -p, "80", -h, /etc]
    ports: ["{port}:80"]
    healthcheck: {{test: [CMD, wget, -qO, /dev/null, "http://127.0.0.1/passwd"], start_period: 5s, start_interval: 100ms}}
    stop_grace_period: 0s
  peer:
    image: busybox:test
    command: [sleep, "100000"]
    stop_grace_period: 0s
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def stack(machine: Machine, busybox: str, port: int) -> Iterator[Path]:
    folder = machine.project("beside", STACK.format(port=port))
    yield folder
    machine.run("down", "-t", "0", cwd=folder)


def own_address() -> str:
    """An address of this host that is not loopback, as another machine would use it."""
    fields = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    return next(address for address in fields if "." in address)


def check_ours(machine: Machine, folder: Path, port: int) -> None:
    assert http_get(f"http://127.0.0.1:{port}/passwd").startswith("root:")
    assert machine.run("exec", "-T", "peer", "timeout", "5", "wget", "-qO-", "http://web/passwd", cwd=folder).stdout.startswith("root:")
    across = machine.run("exec", "-T", "peer", "timeout", "5", "wget", "-qO-", f"http://{own_address()}:{port}/passwd", cwd=folder)
    assert across.stdout.startswith("root:"), "from a container through the host's published port"


def check_theirs(dockerd: Dockerd) -> None:
    port = free_port()
    serve = ["httpd", "-f", "-p", "80", "-h", "/etc"]
    dockerd.docker("run", "-d", "--name", "theirs", "-p", f"{port}:80", "busybox:test", *serve)
    dockerd.docker("exec", "theirs", "sh", "-c", "until wget -qO /dev/null http://127.0.0.1/passwd; do sleep 0.1; done")
    assert http_get(f"http://127.0.0.1:{port}/passwd").startswith("root:")
    dockerd.docker("rm", "-f", "theirs")


@pytest.fixture
def dockerd(machine: Machine) -> Iterator[Dockerd]:
    """dockerd leaves its chains and its bridge on the host when it ends: the host gets its own rules back."""
    saved = subprocess.run(["iptables-save"], capture_output=True, check=True).stdout
    made = Dockerd(private_network=False)
    made.docker("import", str(busybox_tar(machine.root)), "busybox:test")
    yield made
    made.close()
    subprocess.run(["ip", "link", "delete", "docker0"], check=True)
    for family in ("ip", "ip6"):
        for table in ("nat", "filter"):
            subprocess.run(["nft", "delete", "table", family, table], check=False, capture_output=True)
    subprocess.run(["iptables-restore"], input=saved, check=True)


def test_dockerd_first(machine: Machine, busybox: str, dockerd: Dockerd, stack: Path, port: int) -> None:
    machine.run("up", "-d", "--wait", cwd=stack)
    check_ours(machine, stack, port)
    check_theirs(dockerd)
    machine.run("down", "-t", "0", cwd=stack)
    check_theirs(dockerd)


def test_stackrun_first(machine: Machine, busybox: str, stack: Path, port: int, request: pytest.FixtureRequest) -> None:
    machine.run("up", "-d", "--wait", cwd=stack)
    check_ours(machine, stack, port)
    dockerd = request.getfixturevalue("dockerd")
    check_theirs(dockerd)
    check_ours(machine, stack, port)
    machine.run("down", "-t", "0", cwd=stack)
