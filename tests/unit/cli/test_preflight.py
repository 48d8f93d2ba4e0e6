"""What a machine has against a stack."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from unit.compose.sample_rules import installed

from stackrun.api.stacks import StackSource
from stackrun.cli import main, preflight
from stackrun.cli.commands import validate as command
from stackrun.compose.rules.stack import Stack
from stackrun.compose.validation import Validation, validate
from stackrun.errors import Diagnostic
from stackrun.kernel.listening import Holder, Listener
from stackrun.kernel.probe import probes

HOST = preflight.Host(
    listeners=(Listener("tcp", "127.0.0.1", 8080, 1), Listener("udp", "0.0.0.0", 53, 2), Listener("tcp", "::1", 9090, 3)),
    holder_of=lambda inode: Holder(77, "nginx") if inode == 1 else None,
    routes=(("0.0.0.0/0", "eth0"), ("10.1.0.0/16", "eth0"), ("172.30.0.0/24", "sr-shop"), ("192.168.9.0/24", "")),
    memory_bytes=2 << 30,
    cpus=2,
    exists=lambda path: path.endswith("here"),
    lacks=lambda facility: "not on this kernel" if facility == "cgroup pids" else "",
)


def told(
    tmp_path: Path, service: str, *, networks: str = "", host: preflight.Host = HOST, own: frozenset[tuple[int, str]] = frozenset()
) -> list[str]:
    return [f"{one.place.line} {one.level} {one.code}: {one.message}" for one in looked_at(tmp_path, service, networks, host, own).findings]


def looked_at(tmp_path: Path, service: str, networks: str, host: preflight.Host, own: frozenset[tuple[int, str]]) -> Validation:
    lines = "".join(f"    {line}\n" for line in service.splitlines())
    text = f"services:\n  a:\n    image: x\n    user: b\n{lines}{networks}"
    (tmp_path / "stack.yaml").write_text(text)

    def extra(stack: Stack) -> list[Diagnostic]:
        return list(preflight.check(stack, host, own_ports=own))

    with installed():
        return validate(StackSource(str(tmp_path), ("stack.yaml",)), select=["host"], extra=extra)


@pytest.mark.parametrize(
    ("port", "taken"),
    [
        ("8080:80", True),
        ("127.0.0.1:8080:80", True),
        ("0.0.0.0:8080:80", True),
        ("127.0.0.2:8080:80", False),
        ("[::1]:8080:80", False),
        ("8080:80/udp", False),
        ("8081:80", False),
        ("80", False),
        ("8080-8081:80", False),
        ("53:53/udp", True),
        ("127.0.0.1:53:53/udp", True),
        ("0.0.0.0:9090:90", False),
        ("[::]:9090:90", True),
        ("9090:90", True),
    ],
)
def test_a_port_that_is_taken(tmp_path: Path, port: str, taken: bool) -> None:
    found = told(tmp_path, f'ports: ["{port}"]')
    assert len(found) == taken and all("5 error host-port-taken" in one for one in found)


def test_the_holder_is_named_if_it_can_be(tmp_path: Path) -> None:
    assert told(tmp_path, 'ports: ["8080:80", "53:53/udp"]') == [
        "5 error host-port-taken: port 8080/tcp is in use: nginx (pid 77) listens on 127.0.0.1",
        "5 error host-port-taken: port 53/udp is in use: a process of another user listens on 0.0.0.0",
    ]


def test_the_stacks_own_ports_are_not_told(tmp_path: Path) -> None:
    assert not told(tmp_path, 'ports: ["8080:80"]', own=frozenset({(8080, "tcp")}))
    assert told(tmp_path, 'ports: ["8080:80"]', own=frozenset({(8080, "udp")}))


def test_a_service_that_no_profile_enables_takes_nothing(tmp_path: Path) -> None:
    assert not told(tmp_path, 'ports: ["8080:80"]\nprofiles: [debug]')


@pytest.mark.parametrize(
    ("volume", "level"),
    [
        ("/srv/here:/data", ""),
        ("/srv/gone:/data", "warning"),
        ("{type: bind, source: /srv/gone, target: /data}", "error"),
        ("data:/data", ""),
        ("/data", ""),
        ("{type: bind, source: /srv/gone, target: /data, bind: {create_host_path: false}}", "error"),
        ("{type: bind, source: /srv/gone, target: /data, bind: {create_host_path: true}}", "warning"),
        ("{type: tmpfs, target: /data}", ""),
    ],
)
def test_a_folder_that_is_not_there(tmp_path: Path, volume: str, level: str) -> None:
    found = told(tmp_path, f"volumes:\n  - {volume}", networks="volumes: {data: {}}\n")
    assert [one.split()[:3] for one in found] == ([["6", level, "host-bind-source-missing:"]] if level else [])


@pytest.mark.parametrize(
    ("service", "count"),
    [
        ("mem_limit: 1g", 0),
        ("mem_limit: 3g", 1),
        ("mem_reservation: 3g", 1),
        ("cpus: 2", 0),
        ("cpus: 2.5", 1),
        ("deploy: {resources: {limits: {memory: 4g, cpus: '8'}}}", 2),
    ],
)
def test_more_than_the_machine_has(tmp_path: Path, service: str, count: int) -> None:
    found = told(tmp_path, service)
    assert len(found) == count and all("warning host-resources" in one for one in found)


def test_what_the_kernel_lacks(tmp_path: Path) -> None:
    assert told(tmp_path, "pids_limit: 100\ncpu_shares: 5") == [
        "5 error host-kernel-feature: pids_limit needs cgroup pids: not on this kernel"
    ]


@pytest.mark.parametrize(
    ("subnet", "taken"),
    [
        ("10.1.2.0/24", "10.1.0.0/16"),
        ("10.0.0.0/8", "10.1.0.0/16"),
        ("10.2.0.0/16", ""),
        ("172.30.0.0/16", ""),
        ("192.168.0.0/16", "192.168.9.0/24"),
        ("fd00::/64", ""),
    ],
)
def test_a_subnet_that_the_machine_reaches_otherwise(tmp_path: Path, subnet: str, taken: str) -> None:
    networks = f"    networks: [n]\nnetworks:\n  n:\n    ipam: {{config: [{{subnet: '{subnet}'}}]}}\n"
    found = told(tmp_path, "", networks=networks)
    assert len(found) == bool(taken) and all(f"overlaps {taken}" in one and "host-subnet-taken" in one for one in found)


def test_a_broken_stack_is_looked_at_as_far_as_it_goes(tmp_path: Path) -> None:
    broken = "ports: 8080\nvolumes: {a: b}\nmem_limit: lots\ncpus: x\npids_limit: 5"
    assert "host-kernel-feature" in "".join(told(tmp_path, broken))


def test_each_facility_is_one_that_can_be_probed() -> None:
    assert set(preflight._NEEDS.values()) <= {one.name for one in probes()}


def test_this_machine_knows_who_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        host = preflight.this_host()
        (found,) = told(tmp_path, f"ports: ['127.0.0.1:{port}:80']", host=replace(host, lacks=HOST.lacks))
    assert f"port {port}/tcp is in use: " in found and f"(pid {os.getpid()})" in found
    assert host.memory_bytes > 1 << 20 and host.cpus >= 1 and host.exists("/") and not host.exists("/no/such/folder")


def test_the_option_looks_at_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_own_ports", lambda stack, options: frozenset())
    with socket.create_server(("127.0.0.1", 0)) as server, installed():
        (tmp_path / "stack.yaml").write_text(f"services:\n  a:\n    image: x\n    ports: ['127.0.0.1:{server.getsockname()[1]}:80']\n")
        assert main.run(["validate"]) == 0
        assert main.run(["validate", "--host"]) == 1
        assert main.run(["validate", "--host", "--ignore", "host-port-taken"]) == 0
    assert "stack.yaml:4:13: error[host-port-taken]" in capsys.readouterr().out


def test_the_stacks_own_ports_are_asked_of_an_engine_that_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from stackrun.cli import engines, project
    from stackrun.errors import Unavailable

    class Engine:
        def __init__(self, listens: bool) -> None:
            self.listens = listens

        def listening(self) -> bool:
            return self.listens

    options = main.parsed("validate", ["--host"])
    asked: list[str] = []

    def containers(_: object, name: str) -> list[dict[str, object]]:
        asked.append(name)
        return [{"Ports": [{"PrivatePort": 80, "Type": "tcp"}, {"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}]}, {"Ports": None}]

    def refuse(_: object, name: str) -> list[dict[str, object]]:
        raise Unavailable("no engine")

    stacks: list[Stack] = []
    (tmp_path / "stack.yaml").write_text("name: shop\nservices: {a: {image: x}}\n")
    with installed():
        validate(StackSource(str(tmp_path), ("stack.yaml",)), extra=lambda stack: stacks.append(stack) or ())
    monkeypatch.setattr(engines, "connect", lambda _: None)
    monkeypatch.setattr(project, "containers", containers)
    monkeypatch.setattr(engines, "chosen", lambda _: Engine(False))
    assert command._own_ports(stacks[0], options) == frozenset() and not asked
    monkeypatch.setattr(engines, "chosen", lambda _: Engine(True))
    assert command._own_ports(stacks[0], options) == {(8080, "tcp")} and asked == ["shop"]
    monkeypatch.setattr(project, "containers", refuse)
    assert command._own_ports(stacks[0], options) == frozenset()
