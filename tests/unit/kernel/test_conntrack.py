"""Which of the kernel's flows count as a connection that somebody still waits on."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

import pytest

from stackrun.kernel import conntrack
from stackrun.kernel.netlink import Reply, Request, attribute, attributes, nested

ESTABLISHED, TIME_WAIT, LAST_ACK, SYN_SENT = 3, 7, 6, 1


def flow(host_port: int, address: str, port: int, state: int) -> Reply:
    """As ctnetlink has one: what was sent, what answers, the state of its TCP connection."""

    def way(kind: int, source: str, source_port: int, destination: str, destination_port: int) -> bytes:
        addresses = nested(1, attribute(1, socket.inet_aton(source)), attribute(2, socket.inet_aton(destination)))
        ports = attribute(2, struct.pack(">H", source_port)), attribute(3, struct.pack(">H", destination_port))
        return nested(kind, addresses, nested(2, attribute(1, b"\x06"), *ports))

    sent, answers = way(1, "127.0.0.1", 50000, "127.0.0.1", host_port), way(2, address, port, "172.20.0.1", 50000)
    return Reply(0x100, b"\x02\0\0\0" + sent + answers + nested(4, nested(1, attribute(1, bytes([state])))), 0)


@dataclass
class Kernel:
    flows: list[Reply]
    asked: list[Request] = field(default_factory=list)

    def dump(self, request: Request) -> list[Reply]:
        self.asked.append(request)
        return self.flows


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (flow(8080, "172.20.0.2", 80, ESTABLISHED), 1),
        (flow(8080, "172.20.0.2", 80, SYN_SENT), 1),
        (flow(8080, "172.20.0.2", 80, LAST_ACK), 0),
        (flow(8080, "172.20.0.2", 80, TIME_WAIT), 0),
        (flow(8080, "172.20.0.3", 80, ESTABLISHED), 0),
        (flow(8081, "172.20.0.2", 80, ESTABLISHED), 1),
        (flow(8080, "172.20.0.2", 81, ESTABLISHED), 0),
        (Reply(0x100, b"\x02\0\0\0", 0), 0),
    ],
)
def test_what_is_under_way_to_a_containers_port_counts(found: Reply, count: int) -> None:
    assert conntrack.count_connections(Kernel([found]), "172.20.0.2", 80) == count  # type: ignore[arg-type]


def test_the_kernel_is_asked_for_this_containers_flows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel([])
    monkeypatch.setattr(conntrack, "_kernel_version", lambda: (5, 8))
    conntrack.count_connections(kernel, "172.20.0.2", 80)  # type: ignore[arg-type]
    asked = attributes(kernel.asked[0].message[20:])
    assert attributes(attributes(asked[2])[1]) == {1: socket.inet_aton("172.20.0.2")}
    assert attributes(attributes(asked[2])[2]) == {1: b"\x06", 2: struct.pack(">H", 80)}
    assert attributes(asked[25]) == {2: struct.pack("=I", 0b011001)}


def test_an_old_kernel_is_asked_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel([])
    monkeypatch.setattr(conntrack, "_kernel_version", lambda: (5, 7))
    conntrack.count_connections(kernel, "172.20.0.2", 80)  # type: ignore[arg-type]
    assert len(kernel.asked[0].message) == 20
