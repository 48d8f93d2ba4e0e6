"""A network laboratory: the test in a network namespace of its own, with other machines and containers around it.

A socket belongs to the namespace it was opened in, so one test process plays every machine: `machine.listen(80)`
and `other.connect(address, 80)` are ordinary sockets of two namespaces.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackrun.kernel import netlink, syscalls
from stackrun.network.endpoint import DNS_PORT, RESOLVER_ADDRESS, Endpoint, container_batches
from stackrun.network.networks import Network, Networks

REFUSAL_S = 0.4
"""How long a packet that is dropped is waited for."""


def isolated(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test in a child process with its own network and mount namespaces; its failure is this one's."""

    @functools.wraps(test)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            os._exit(_outcome(test, args, kwargs, writer))
        os.close(writer)
        with os.fdopen(reader) as report:
            text = report.read()
        _, status = os.waitpid(child, 0)
        assert status == 0, f"in its own network namespace:\n{text}"

    return wrapped


def _outcome(test: Callable[..., None], args: Any, kwargs: Any, writer: int) -> int:
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        run("ip link set lo up")
        with Machine.cleaned_up():
            test(*args, **kwargs)
    except BaseException:
        os.write(writer, traceback.format_exc().encode())
        return 1
    sys.stdout.flush()
    return 0


def run(command: str) -> str:
    """A shell command in this namespace; its output."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Machine:
    """A network namespace with a process in it: a container of ours, or another machine."""

    _all: list[Machine] = []

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            os.write(writer, b"x")
            while True:
                signal.pause()
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)
        self.netns_fd = netlink.process_netns(self.pid)
        self.endpoints: tuple[Endpoint, ...] = ()
        self.listeners: list[socket.socket] = []
        Machine._all.append(self)

    @staticmethod
    def cleaned_up() -> Any:
        class Everything:
            def __enter__(self) -> None:
                Machine._all.clear()

            def __exit__(self, *_: object) -> None:
                for machine in Machine._all:
                    machine.stop()

        return Everything()

    def stop(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.netns_fd)
            self.pid = 0

    def do(self, action: Callable[[], Any]) -> Any:
        """Runs something inside, in a thread that ends there."""
        results: list[Any] = []

        def inside() -> None:
            syscalls.setns(self.netns_fd, syscalls.CLONE_NEWNET)
            try:
                results.append((action(), None))
            except Exception as error:
                results.append((None, error))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        value, error = results[0]
        if error is not None:
            raise error
        return value

    def run(self, command: str) -> str:
        return run(f"nsenter -t {self.pid} -n sh -c '{command}'")

    def listen(self, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        def opened() -> socket.socket:
            one = socket.socket(socket.AF_INET, kind)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.settimeout(5)
            one.bind(("0.0.0.0", port))
            if kind == socket.SOCK_STREAM:
                one.listen()
            return one

        listener: socket.socket = self.do(opened)
        self.listeners.append(listener)
        return listener

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        return self.do(lambda: socket.socket(socket.AF_INET, kind))

    def reaches(self, address: str, port: int) -> bool:
        """Whether a TCP connection from here comes about."""
        with self.socket() as one:
            return connects(one, address, port)


class Visited(Machine):
    """The namespace of a process that somebody else started."""

    def __init__(self, pid: int) -> None:
        self.pid = 0
        self.netns_fd = netlink.process_netns(pid)
        self.listeners = []


class Container(Machine):
    """A namespace wired to networks as the engine wires one."""

    def __init__(self, networks: Networks, *joined: Network, name: str = "", taken: set[str] | None = None, dns: bool = False) -> None:
        super().__init__()
        taken = TAKEN if taken is None else taken
        planned = []
        for place, network in enumerate(joined):
            endpoint = networks.plan_endpoint(
                network.network_id, os.urandom(32).hex(), interface=f"eth{place}", taken=taken, default_route=place == 0
            )
            taken.add(endpoint.ipv4_address)
            planned.append(endpoint)
        self.name = name
        self.endpoints = networks.wire(planned, self.pid)
        for protocol, data in container_batches(self.endpoints, dns=dns):
            self.do(lambda protocol=protocol, data=data: send_batch(protocol, data))
        assert networks.settle(self.endpoints)

    @property
    def address(self) -> str:
        return self.endpoints[0].ipv4_address

    def dns_sockets(self) -> list[socket.socket]:
        def opened() -> list[socket.socket]:
            found = []
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                one = socket.socket(socket.AF_INET, kind)
                one.bind((RESOLVER_ADDRESS, DNS_PORT))
                if kind == socket.SOCK_STREAM:
                    one.listen()
                found.append(one)
            return found

        return self.do(opened)


TAKEN: set[str] = set()


def send_batch(protocol: int, data: bytes) -> None:
    """What init does with a batch: send it, read the answers, fail on a negative one."""
    connection = netlink.Connection(protocol)
    try:
        connection.send_raw(data)
    finally:
        connection.close()


def connects(one: socket.socket, address: str, port: int) -> bool:
    one.settimeout(REFUSAL_S)
    try:
        one.connect((address, port))
    except OSError:
        return False
    return True


def here_reaches(address: str, port: int) -> bool:
    with socket.socket() as one:
        return connects(one, address, port)


def neighbour(address: str = "203.0.113.2", here: str = "203.0.113.1") -> Machine:
    """Another machine on this one's network, over which its default route leads too."""
    machine = Machine()
    run(f"ip link add up0 type veth peer name eth0 netns {machine.pid} && ip addr add {here}/24 dev up0 && ip link set up0 up")
    machine.run(f"ip link set lo up && ip addr add {address}/24 dev eth0 && ip link set eth0 up")
    run(f"ip route add default via {address}")
    return machine


def ruleset() -> str:
    """What `nft` itself says there is."""
    return run("nft list ruleset 2>/dev/null")


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def sysctl(path: str) -> str:
    return Path("/proc/sys/net", path).read_text().strip()
