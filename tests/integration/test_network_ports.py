"""Port reservations against real listeners."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from network_lab import here_reaches, isolated

from stackrun.errors import Conflict, PermissionDenied
from stackrun.network.ports import PortRequest, close, reserve

SERVER = """
import socket, sys
tcp = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 53))
print("ready", flush=True)
sys.stdin.read()
"""


@isolated
def test_a_reserved_port_is_taken_for_everybody() -> None:
    held = reserve([PortRequest("tcp", "", 80), PortRequest("udp", "", 53), PortRequest("tcp", "127.0.0.1", 81)])
    for reuse in (0, 1):
        for kind, place in (
            (socket.SOCK_STREAM, ("", 80)),
            (socket.SOCK_DGRAM, ("127.0.0.1", 53)),
            (socket.SOCK_STREAM, ("127.0.0.1", 81)),
        ):
            with socket.socket(socket.AF_INET, kind) as one, pytest.raises(OSError, match="in use"):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
                one.bind(place)
                one.listen()
    with pytest.raises(Conflict, match=r"port 80/tcp on 0\.0\.0\.0 is taken"):
        reserve([PortRequest("tcp", "", 80)])
    assert not here_reaches("127.0.0.1", 80), "nothing listens on it"
    close(held)
    close(reserve([PortRequest("tcp", "", 80)]))


@isolated
def test_all_or_none_and_no_descriptor_left() -> None:
    with socket.create_server(("127.0.0.1", 8081)):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(Conflict, match=rf"port 8081/tcp on 0\.0\.0\.0 is taken by .* \(pid {os.getpid()}\)"):
            reserve([PortRequest("tcp", "", 8080), PortRequest("tcp", "", 8081)])
        assert os.listdir("/proc/self/fd") == before
    close(reserve([PortRequest("tcp", "", 8080), PortRequest("tcp", "", 8081)]))


@isolated
def test_the_holder_is_named_for_ipv6_and_udp_too() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        for request in (PortRequest("tcp", "127.0.0.1", 8080), PortRequest("udp", "", 53)):
            with pytest.raises(Conflict, match=rf"is taken by python\S* \(pid {server.pid}\)"):
                reserve([request])
        close(reserve([PortRequest("udp", "127.0.0.2", 53)]))
        assert server.stdin is not None
        server.stdin.close()


def leave_closed_connections(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port))
    client = socket.create_connection(("127.0.0.1", port))
    connection, _ = listener.accept()
    for one in (connection, client, listener):
        one.close()


@isolated
def test_closed_connections_of_a_server_that_ended_do_not_count() -> None:
    leave_closed_connections(8080)
    assert "TIME-WAIT" in subprocess.run(["ss", "-tan"], capture_output=True, text=True).stdout
    first = reserve([PortRequest("tcp", "", 8080)])
    with pytest.raises(Conflict):
        reserve([PortRequest("tcp", "", 8080)])
    close(first)


@isolated
def test_a_range_gives_its_first_free_ports() -> None:
    with socket.create_server(("127.0.0.1", 9001)):
        request = PortRequest("tcp", "", 9000, 9003)
        held = reserve([request, request, request])
        assert [one.host_port for one in held] == [9000, 9002, 9003]
        with pytest.raises(Conflict, match=r"ports 9000-9003/tcp on 0\.0\.0\.0 are all taken"):
            reserve([request])
        close(held)


@isolated
@pytest.mark.parametrize("used", [False, True], ids=["never used", "just used"])
def test_who_asks_in_the_same_moment_gets_another_port(used: bool) -> None:
    """Threads are switched as often as can be; `used`: connections of a server that has ended are still remembered."""
    if used:
        for port in (9000, 9001):
            leave_closed_connections(port)
    request = PortRequest("tcp", "", 9000, 9001)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as askers:
            for _ in range(500):
                together = threading.Barrier(2)
                asked = [askers.submit(lambda: (together.wait(), reserve([request]))[1]) for _ in range(2)]  # noqa: B023 (over by the next round)
                got = [one for told in asked for one in told.result()]
                assert sorted(one.host_port for one in got) == [9000, 9001]
                close(got)
    finally:
        sys.setswitchinterval(interval)


@isolated
def test_a_low_port_without_the_right() -> None:
    os.setresuid(65534, 65534, 65534)
    with pytest.raises(PermissionDenied, match="port 80/tcp"):
        reserve([PortRequest("tcp", "", 80)])
