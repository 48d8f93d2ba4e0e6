from __future__ import annotations

import socket

import pytest

from stackrun.errors import Conflict, InvalidArgument, Unsupported
from stackrun.network.ports import PortRequest, close, holder_of, reserve


def test_a_port_of_the_kernel_s_choice_is_held_until_closed() -> None:
    held = reserve([PortRequest("tcp", "127.0.0.1"), PortRequest("udp", "127.0.0.1")])
    for one in held:
        assert one.host_port > 0
        kind = socket.SOCK_STREAM if one.protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as rival, pytest.raises(OSError, match="in use"):
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            rival.bind(("127.0.0.1", one.host_port))
        with pytest.raises(Conflict, match=f"port {one.host_port}/{one.protocol} on 127.0.0.1 is taken"):
            reserve([PortRequest(one.protocol, "127.0.0.1", one.host_port)])
    close(held)


def test_a_listener_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert holder_of("tcp", "", port).startswith("py")
        assert holder_of("tcp", "127.0.0.2", port) == ""
        assert holder_of("udp", "", port) == ""


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (PortRequest("sctp", "", 80), Unsupported, "sctp"),
        (PortRequest("tcp", "::1", 80), Unsupported, "IPv6"),
        (PortRequest("tcp", "", 90, 80), InvalidArgument, "invalid port range 90-80"),
        (PortRequest("tcp", "", 70000), InvalidArgument, "invalid port 70000"),
        (PortRequest("tcp", "localhost", 80), InvalidArgument, "invalid host address 'localhost'"),
        (PortRequest("tcp", "192.0.2.77", 8080), InvalidArgument, "no address of this host"),
    ],
)
def test_faults(request_: PortRequest, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reserve([request_])
